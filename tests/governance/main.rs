//! What policies ask for: how they are read, which models they select, how several become one, where a model falls short, and how
//! they are tested.

mod command;
mod freezes;
mod guards;
mod merge;
mod passages;
mod reading;
mod rules;
mod scene;

#[path = "../support/told.rs"]
mod told;
