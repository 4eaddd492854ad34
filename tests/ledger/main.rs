//! Records of whole rollouts: they verify, nothing of them can be changed without being found, and programs of others read them.

mod bytes;
mod command;
#[path = "../support/commands.rs"]
mod commands;
mod files;
mod forgeries;
mod outside;
mod page;
mod records;
#[path = "../support/page.rs"]
mod shown;
mod splices;
#[path = "../support/told.rs"]
mod told;
mod whole;
#[allow(dead_code)] // Stories of rollouts need more of it than their records do.
#[path = "../rollout/world/mod.rs"]
mod world;
