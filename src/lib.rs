//! guardbit: governed rollouts of quantized models on Kubernetes.
//!
//! The rollout itself is a pure function, so the same code runs in the controller and in the tests:
//! observe (IO) → `Observation` → `decide` (pure, total) → `Plan` → apply (IO) → record (IO).
//! Arrows point inward only: `controller → manifests, rollout → guards → judge → evidence → api`; `simulate` is another shell around the
//! same core, on recorded data.

/// The release of this guardbit.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

pub mod api;
mod apiserver;
pub mod cli;
pub mod compare;
pub mod controller;
pub mod evidence;
pub mod foresight;
pub mod governance;
pub mod guards;
pub mod judge;
pub mod ledger;
pub mod lint;
pub mod manifests;
pub mod model;
pub mod prometheus;
pub mod report;
pub mod rollout;
pub mod simulate;
pub mod telemetry;
mod watch;
pub mod weights;
