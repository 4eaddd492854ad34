//! Whole rollouts on a real cluster, with real pods, a real gateway, a real Prometheus and real load. Every test asserts what
//! the weights were *and* what the backends counted, and that no request failed but those that a server was told to fail.
//!
//! `tests/cluster/run-tests.sh full` starts the cluster and sets the environment that [`stage`] reads.

mod acts;
#[path = "../support/admission.rs"]
mod admission;
mod backtest;
mod changes;
mod climbs;
mod comparer;
#[path = "../support/control_plane.rs"]
#[allow(dead_code)] // run-tests.sh has applied the CRDs.
mod control_plane;
mod failures;
mod governed;
mod guardbit;
mod harms;
mod ledger;
mod mirror;
mod outages;
mod pairs;
mod placebo;
mod prometheus;
mod promql;
mod registry;
mod samples;
mod service;
#[path = "../support/process.rs"]
mod spawn;
mod stage;
mod users;
mod weights;
