//! Readers of what others wrote, on inputs that nobody would write: recorded metrics, answers of Prometheus,
//! expressions, manifests.
//!
//! A few seconds of each as ordinary tests; `make fuzz` gives each ten minutes. Inputs are made of the parts that the readers
//! know, broken in all ways, and of arbitrary bytes.

mod answers;
mod campaign;
mod manifests;
mod matchers;
mod openmetrics;
