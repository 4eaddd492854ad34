//! What people allow and take back: acts, approvals, and the change that an approval is bound to.
//!
//! Admission pins who somebody is, which only the API server knows. What follows from it is decided here, where the
//! whole state is known and where a record can be decided again. Must not change a weight (`rollout` does).

pub mod acts;
pub mod approvals;
pub mod change;
pub mod meaning;
