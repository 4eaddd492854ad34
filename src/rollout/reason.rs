//! The reasons that conditions and events carry, as data. The name of a variant is its word on the wire: serde writes
//! it, and [`std::fmt::Display`] uses serde's word. So a word is spelled in one place, and control flow compares
//! variants.

use serde::{Deserialize, Serialize};

use crate::api::word::words;

/// Why there is no evidence: the reason of `EvidenceAvailable` while it is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvidenceReason {
    /// Prometheus refused the credentials.
    Unauthorized,
    /// The given credentials cannot be used.
    InvalidCredentials,
    /// The Secret with the credentials cannot be read.
    SecretUnreadable,
    /// Prometheus, or what stands before it, is in trouble.
    ServerError,
    /// Something other than Prometheus answers.
    NotPrometheus,
    /// The answer broke off.
    Truncated,
    /// No complete answer came in time.
    Timeout,
    /// There is no connection.
    Unreachable,
    /// The URL is not allowed, or none is set.
    UrlNotAllowed,
    /// Prometheus does not accept the query.
    BadQuery,
    /// The answer is larger than the limit.
    TooLarge,
    /// Some data may be missing from the answer.
    PartialData,
    /// Prometheus answers, and has no new samples.
    NoSamples,
    /// The samples of an arm cannot be compared with those of the other, or are not what was counted.
    NotComparable,
    /// Requests do not follow the weights, so the counts cannot be trusted.
    TrafficSplit,
    /// After a promotion nothing serves that stable could be compared with.
    NoHoldout,
}

/// What a rollout waits for, or what stops it: the reason of `Progressing`, `Ready` and `Stalled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitReason {
    /// The first variant is being brought up.
    Bootstrapping,
    /// The first variant cannot start.
    CannotStart,
    /// A gate of the variant is closed.
    Gated,
    /// `spec.paused` is set, or a person paused the model.
    Paused,
    /// The route does not carry the weight on record yet.
    Applying,
    /// A pod of an arm is disrupted.
    Disrupted,
    /// The pods of an arm run different images.
    IdentityMismatch,
    /// The gateway refused the route.
    RouteRefused,
    /// Pairs of answers are counted before the first weight.
    Shadowing,
    /// A step is held.
    Holding,
    /// The candidate's pods are cold.
    WarmingUp,
    /// A guard has not seen enough of the step.
    NeedsData,
    /// The evidence of a guard leans towards harm.
    LeansToHarm,
    /// A guard has not shown health yet.
    NotYetHealthy,
    /// The candidate has not been shown to be better yet.
    NoBenefitYet,
    /// Pods are being brought up.
    AwaitingCapacity,
    /// Pods cannot be scheduled.
    Unschedulable,
    /// The API server creates no pods.
    PodsRefused,
    /// People are asked: by a policy, or because the deadline has passed.
    AwaitingApproval,
    /// Traffic moves to another stable revision.
    HandingOver,
    /// The next candidate was judged harmful.
    TargetRejected,
    /// The next candidate was given up.
    CandidateFailed,
    /// The next candidate is tried again later.
    BackingOff,
    /// It is not known what policies ask of the model.
    GovernanceUnknown,
    /// A policy that selects the model cannot be read.
    PolicyUnreadable,
    /// The record of something that was decided does not exist yet.
    RecordPending,
    /// A policy asks for signed records, and there is no key.
    KeyMissing,
    /// The model or the variant falls short of a policy.
    PolicyNotMet,
    /// A freeze of a policy holds.
    Frozen,
    /// As many rollouts as a policy lets be are in progress.
    AwaitingSlot,
    /// A person rolled back, and nothing is tried until that ends.
    TakenBack,
    /// A person rejected the change.
    Declined,
    /// There is no evidence.
    #[serde(untagged)]
    NoEvidence(EvidenceReason),
}

words!(EvidenceReason, WaitReason);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_reason_is_its_name_also_for_one_of_missing_evidence() {
        assert_eq!(WaitReason::NeedsData.to_string(), "NeedsData");
        let missing = WaitReason::NoEvidence(EvidenceReason::TrafficSplit);
        assert_eq!(missing.to_string(), "TrafficSplit");
        assert_eq!(serde_json::to_value(missing).unwrap(), "TrafficSplit");
        assert_eq!(serde_json::from_str::<WaitReason>("\"TrafficSplit\"").unwrap(), missing);
    }
}
