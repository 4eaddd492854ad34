//! Replays of recorded metrics: `guardbit simulate`, as a library and as a command.

mod flaky;
#[path = "../support/random.rs"]
mod random;
mod trace;

mod command;
mod evidence;
mod outages;
mod pairs;
mod replays;
