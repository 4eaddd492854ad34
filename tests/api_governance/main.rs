//! Attacks on who acts, on what is on record, and on who asked: the policies of config/governance on a real API server, with
//! users as the API server knows them; and a guardbit that heeds them.
//!
//! Needs `KUBECONFIG`; `tests/cluster/run-tests.sh` starts a control plane and sets it.

mod acts;
#[path = "../support/admission.rs"]
mod admission;
mod authors;
mod command;
#[path = "../support/commands.rs"]
mod commands;
#[path = "../support/control_plane.rs"]
mod control_plane;
mod evasions;
#[path = "../api_faults/node.rs"]
mod node;
mod records;
#[path = "../support/refusals.rs"]
#[allow(dead_code)]
mod refusals;
mod rollouts;
mod ruled;
#[path = "../support/process.rs"]
mod spawn;
mod stage;
#[path = "../support/told.rs"]
mod told;
