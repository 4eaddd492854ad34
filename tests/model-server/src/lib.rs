//! A real, small model server for guardbit's demo and tests, and the load generator that exercises it.
//!
//! A multilayer perceptron is trained on generated transactions ([`dataset`], [`network`]), quantized to int8 and to a
//! deliberately naive int4 ([`quantized`]), written to files with their provenance ([`artifact`]) and served over HTTP
//! ([`server`]). [`load`] sends bounded traffic and counts what came back.
//!
//! Everything up to the weights files is deterministic on every machine: own random numbers, own exponential, a fixed
//! order of summation.

pub mod artifact;
pub mod dataset;
pub mod faults;
mod infer;
pub mod load;
pub mod network;
pub mod numerics;
pub mod quantized;
pub mod server;
pub mod uses;
