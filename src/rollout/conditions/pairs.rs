//! Conditions about what is compared: whether users' requests are mirrored to the comparer, and whether they have moved to where
//! the quantization is weak.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::SignedDuration;

use crate::api::condition;
use crate::rollout::capacity::Mirroring;
use crate::rollout::evaluation::Evaluation;
use crate::rollout::evidence::{Evidence, Finding, moved_in_words};
use crate::rollout::plan::{Event, Reason};

use super::{Truth, set};

/// Users' requests have moved.
const ANSWERS_DIFFER: &str = "MirroredAnswersDiffer";

/// Users' requests have not moved.
const AS_ON_THE_GOLDEN_SET: &str = "AsOnTheGoldenSet";

/// A mirror stands in the route, and no pair of a user's request comes.
const NOTHING_COMES: &str = "NothingComes";

/// How long a mirror may bring nothing before it is said.
const QUIET: SignedDuration = SignedDuration::from_mins(15);

impl Evaluation<'_> {
    /// Sets the condition that says whether users' requests have moved, where any were ever compared. Its messages have no
    /// figures that change at every evaluation.
    pub(super) fn inputs_condition(&mut self, conditions: &mut Vec<Condition>) {
        let kind = condition::INPUTS_MOVED;
        let before = conditions.iter().find(|c| c.type_ == kind);
        let evidence = self.evidence.as_ref();
        let found = evidence.map(|evidence| (evidence.users_requests(), evidence.candidate()));
        let (truth, reason, message) = match (found, before) {
            (None | Some((Finding::NotCompared, _)), None) => return,
            (None | Some((Finding::NotCompared, _)), Some(_)) => {
                let message = "no users' requests are compared with the reference now";
                (Truth::False, "NotCompared", message.to_owned())
            }
            // What was found stays until something else is.
            (Some((Finding::Open | Finding::Moved { .. }, _)), Some(c)) if c.reason == ANSWERS_DIFFER => {
                (Truth::True, ANSWERS_DIFFER, c.message.clone())
            }
            (Some((Finding::Open, _)), Some(c)) if c.reason == AS_ON_THE_GOLDEN_SET => {
                (Truth::False, AS_ON_THE_GOLDEN_SET, c.message.clone())
            }
            (Some((Finding::Open, _)), _) => {
                let message = "too few users' requests were compared with the reference yet";
                (Truth::False, "NeedsPairs", message.to_owned())
            }
            (Some((Finding::AsGolden, _)), _) => {
                let message = "users' requests are answered as alike as the golden set: the inputs have not moved";
                (Truth::False, AS_ON_THE_GOLDEN_SET, message.to_owned())
            }
            (Some((Finding::Moved { users, golden }, stable)), _) => {
                (Truth::True, ANSWERS_DIFFER, moved_in_words(stable, users, golden))
            }
        };
        let news = set(conditions, self.seen, kind, truth, reason, &message);
        if news && truth == Truth::True {
            let reason = Reason::InputsMoved;
            self.events.push(Event { reason, note: message });
        }
    }

    /// Sets the condition that says whether requests are mirrored to the comparer, where the spec asks for it.
    pub(super) fn mirroring_condition(&self, mirroring: &Mirroring, conditions: &mut Vec<Condition>) {
        let (truth, reason, message) = match mirroring {
            Mirroring::NotAsked => {
                conditions.retain(|c| c.type_ != condition::MIRRORING);
                return;
            }
            Mirroring::NothingCompared => (
                Truth::Unknown,
                "NothingCompared",
                "no comparer is ready that requests could be mirrored to".to_owned(),
            ),
            Mirroring::Percent { percent, .. } if self.is_silent(conditions) => (
                Truth::Unknown,
                NOTHING_COMES,
                format!(
                    "the gateway is to mirror {percent}% of the requests, and the comparer has counted no pair of them: \
                     the gateway leaves the filter out without a word, no user asks, or \
                     guardbit_mirrored_dropped_total counts what cannot be compared"
                ),
            ),
            Mirroring::Percent { percent, .. } => (
                Truth::True,
                "AsPlanned",
                format!("the gateway is to mirror {percent}% of the requests, and has nothing against it"),
            ),
            Mirroring::Refused { why, .. } => (
                Truth::False,
                "GatewayRefuses",
                format!(
                    "{why}; the route is written without a mirror until spec.comparer.mirror or spec.traffic.gateway is changed"
                ),
            ),
        };
        set(conditions, self.seen, condition::MIRRORING, truth, reason, &message);
    }

    /// Whether a mirror has brought nothing for so long that it has to be said. Where nothing is known now, what was
    /// said before stays.
    fn is_silent(&self, conditions: &[Condition]) -> bool {
        let Some(before) = conditions.iter().find(|c| c.type_ == condition::MIRRORING) else {
            return false;
        };
        let is_said = before.reason == NOTHING_COMES;
        let stands = before.status == Truth::True.as_str();
        match self.evidence.as_ref().and_then(Evidence::mirrored) {
            None => is_said,
            Some(true) => false,
            Some(false) => is_said || stands && self.now.duration_since(before.last_transition_time.0) >= QUIET,
        }
    }
}
