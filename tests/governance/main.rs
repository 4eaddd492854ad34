//! What policies ask for: how they are read, which models they select, how several become one, and where a model falls short.

mod freezes;
mod guards;
mod merge;
mod reading;
mod rules;
mod scene;
