//! Steps, clocks and error rates of a rollout.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Duration, Fraction};

/// Steps, clocks and error rates of a rollout.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Variant that takes all traffic on the first install, recorded as proven by declaration; the reference when left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub bootstrap: Option<String>,
    /// Time between two evaluations of the metrics; at least 1s.
    #[serde(default = "RolloutSpec::interval")]
    pub interval: Duration,
    /// What a pod does in its first seconds is no evidence: its samples count from when it has been ready (a
    /// candidate's: ready and with traffic) for this long. `"30s"` suits servers that compile or fill caches with their
    /// first requests. Where series do not tell pods apart, and for queries, the candidate's count from when the pods
    /// of a step are warm.
    #[serde(default = "RolloutSpec::warm_up")]
    pub warm_up: Duration,
    /// Judges a candidate's answers before it gets its first weight. It needs an `agreement` guard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// Weights that a candidate climbs through before it is promoted.
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19].all(i, i >= self.size() || self[i].weight > self[i - 1].weight)")
        .message("the weights of steps must rise"))]
    #[serde(default = "RolloutSpec::steps")]
    pub steps: Vec<Step>,
    /// How long a candidate may wait for its pods to become ready: for a node, for an image, for weights to load.
    #[serde(default = "RolloutSpec::schedule_deadline")]
    pub schedule_deadline: Duration,
    /// How long a rollout may take, from its first weight. It stands still while paused, and while a person is asked.
    #[serde(default = "RolloutSpec::deadline")]
    pub deadline: Duration,
    /// What happens when the deadline passes without a verdict.
    #[serde(default)]
    pub on_undecided: OnUndecided,
    /// Where traffic goes when a promoted variant turns out harmful.
    #[serde(default)]
    pub on_harm: OnHarm,
    /// Share of traffic, in percent, that stays on the reference as the control arm.
    #[schemars(range(min = 0, max = 50))]
    #[serde(default = "RolloutSpec::holdout")]
    pub holdout: i32,
    /// How long the old stable keeps its capacity after a promotion.
    #[serde(default = "RolloutSpec::keep_warm")]
    pub keep_warm: Duration,
    /// Largest probability that a rollout of a tolerable candidate is rolled back.
    #[serde(default = "RolloutSpec::false_rollback")]
    pub false_rollback: Fraction,
    /// Largest probability that a candidate beyond a tolerance is promoted.
    #[serde(default = "RolloutSpec::false_promotion")]
    pub false_promotion: Fraction,
    /// What the next variant must be better at than stable before it is promoted. A new revision of the same variant
    /// and a new reference need not be better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benefit: Option<Benefit>,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            bootstrap: None,
            interval: Self::interval(),
            warm_up: Self::warm_up(),
            shadow: None,
            steps: Self::steps(),
            schedule_deadline: Self::schedule_deadline(),
            deadline: Self::deadline(),
            on_undecided: OnUndecided::default(),
            on_harm: OnHarm::default(),
            holdout: Self::holdout(),
            keep_warm: Self::keep_warm(),
            false_rollback: Self::false_rollback(),
            false_promotion: Self::false_promotion(),
            benefit: None,
        }
    }
}

/// A stage at weight 0, in which pairs of answers are counted and no user is answered by the candidate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// Pairs of answers after which it ends, unless harm is found before.
    #[schemars(range(min = 1, max = 100_000))]
    pub pairs: i32,
}

// Each default has a function of its own, because the schema passes each of them to the API server.
impl RolloutSpec {
    fn interval() -> Duration {
        "15s".into()
    }

    fn warm_up() -> Duration {
        "30s".into()
    }

    fn steps() -> Vec<Step> {
        [(5, "5m"), (25, "10m"), (50, "10m")]
            .map(|(weight, hold)| Step {
                weight,
                hold: hold.into(),
            })
            .into()
    }

    fn schedule_deadline() -> Duration {
        "30m".into()
    }

    fn deadline() -> Duration {
        "4h".into()
    }

    fn holdout() -> i32 {
        5
    }

    fn keep_warm() -> Duration {
        "30m".into()
    }

    fn false_rollback() -> Fraction {
        "5%".into()
    }

    fn false_promotion() -> Fraction {
        "5%".into()
    }
}

/// One weight of a rollout.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Share of traffic for the candidate, in percent.
    #[schemars(range(min = 1, max = 99))]
    pub weight: i32,
    /// How long the weight is held at least.
    pub hold: Duration,
}

/// By how much a candidate must be better than stable, at what one guard counts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Benefit {
    /// Name of the guard: one that compares the candidate with stable and counts what is better when there is less of
    /// it.
    #[schemars(length(min = 1, max = 32))]
    pub guard: String,
    /// Share by which it must be better, above 0. Proportion: the share of bad events is lower by it. Latency: the mean
    /// latency is, where a request counts with the middle of its bucket, and one beyond the largest edge that the guard
    /// watches (the bucket bound next above the baseline's p99) with that edge. Both are shown as health is: a
    /// candidate that is not so much better is promoted with a probability of at most `falsePromotion`, however often
    /// it is evaluated. Ratio: the candidate's is lower by it in each of the last `of` polls, a plain rule.
    pub at_least: Fraction,
}

/// What happens when the deadline passes without a verdict.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnUndecided {
    /// The candidate goes to 0; it is not rejected.
    #[default]
    RollBack,
    /// The weights stay as they are, and evaluations go on.
    Hold,
    /// The weights stay as they are and a person is asked (`AwaitingApproval`). The evidence goes on: on the last step
    /// a candidate that turns out healthy is promoted, and a harmful one is rolled back at once.
    Escalate,
}

/// Where traffic goes when a promoted variant turns out harmful.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnHarm {
    /// To the next safer proven variant, else to the reference.
    #[default]
    SaferVariant,
    /// To the reference.
    Reference,
}
