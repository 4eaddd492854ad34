//! Replays of recorded metrics: `guardbit simulate`, as a library and as a command.

#[path = "../support/random.rs"]
mod random;
mod trace;

mod command;
mod replays;
