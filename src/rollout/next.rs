//! What comes next, as a step of an evaluation returns it. Only the plan as a whole writes it into conditions.

use k8s_openapi::jiff::Timestamp;

use super::reason::WaitReason;

/// What a rollout waits for, or what holds it back: a reason for conditions, and a sentence without figures that change
/// at every evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wait {
    pub(super) reason: WaitReason,
    pub(super) message: String,
    /// When it may be over by itself, if that is known.
    pub(super) until: Option<Timestamp>,
}

/// What comes next. It is empty where a decision was taken, or all is settled.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Next {
    /// What is waited for.
    pub(super) wait: Option<Wait>,
    /// What a person must act on.
    pub(super) stalled: Option<Wait>,
    /// Weight for which capacity is built up, beyond the weight that is granted.
    pub(super) build_up: Option<i32>,
    /// Times at which to evaluate again.
    pub(super) alarms: Vec<Timestamp>,
}

impl Wait {
    pub(super) fn new(reason: WaitReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            until: None,
        }
    }

    /// The same, with when it may be over by itself.
    pub(super) fn until(self, until: Option<Timestamp>) -> Self {
        Self { until, ..self }
    }
}

impl Next {
    /// The evaluation waits for this.
    pub(super) fn wait(wait: Wait) -> Self {
        Self {
            alarms: wait.until.into_iter().collect(),
            wait: Some(wait),
            ..Self::default()
        }
    }

    /// A person must act on this.
    pub(super) fn stalled(why: Wait) -> Self {
        Self {
            alarms: why.until.into_iter().collect(),
            stalled: Some(why),
            ..Self::default()
        }
    }

    /// A gate is closed. Some gates open by themselves; for others a person must act.
    pub(super) fn closed(why: Wait) -> Self {
        match why.reason {
            WaitReason::GovernanceUnknown
            | WaitReason::RecordPending
            | WaitReason::Frozen
            | WaitReason::AwaitingSlot
            | WaitReason::AwaitingApproval => Self::wait(why),
            _ => Self::stalled(why),
        }
    }

    /// Adds times at which to evaluate again.
    pub(super) fn at(mut self, alarms: impl IntoIterator<Item = Timestamp>) -> Self {
        self.alarms.extend(alarms);
        self
    }

    /// Adds what a later step found. If both wait, the later wait is reported.
    pub(super) fn and(self, later: Self) -> Self {
        Self {
            wait: later.wait.or(self.wait),
            stalled: later.stalled.or(self.stalled),
            build_up: later.build_up.or(self.build_up),
            alarms: [self.alarms, later.alarms].concat(),
        }
    }
}
