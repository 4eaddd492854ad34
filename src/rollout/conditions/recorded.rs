//! The condition that says whether every decision is on record.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::condition;
use crate::rollout::evaluation::Evaluation;
use crate::rollout::observation::Governance;
use crate::rollout::plan::{Event, Reason};

use super::{Truth, set};

/// Every decision is on record, signed.
const SIGNED: &str = "Signed";

/// Every decision is on record, and nothing tells who wrote it.
const UNSIGNED: &str = "Unsigned";

impl Evaluation<'_> {
    /// Sets the condition that says whether every decision is on record, and adds the event of its change. A model of which
    /// nothing goes on record has no such condition.
    pub(super) fn recorded_condition(&mut self, conditions: &mut Vec<Condition>) {
        let (governance, ledger) = (&*self.seen.governance, &*self.seen.ledger);
        let (truth, reason, message) = match (&ledger.problem, &ledger.unsigned) {
            (Some(problem), _) => (Truth::False, problem.reason.to_string(), problem.message.clone()),
            // Until it was tried to write it, nothing is wrong.
            (None, _) if ledger.unwritten_since.is_some() => return,
            // What policies ask is asked again at the next evaluation.
            (None, _) if matches!(governance, Governance::Unknown(_)) => return,
            (None, _) if !governance.records() => return conditions.retain(|c| c.type_ != condition::RECORDED),
            (None, Some(why)) => {
                let message = format!("every decision is on record, and nothing tells who wrote it: {why}");
                (Truth::True, UNSIGNED.to_owned(), message)
            }
            (None, None) => (
                Truth::True,
                SIGNED.to_owned(),
                "every decision is on record, signed".to_owned(),
            ),
        };
        let is_news = set(conditions, self.seen, condition::RECORDED, truth, &reason, &message);
        let event = match truth {
            Truth::False => Reason::NotRecorded,
            _ if reason == UNSIGNED => Reason::Unsigned,
            _ => return,
        };
        if is_news {
            self.events.push(Event {
                reason: event,
                note: message,
            });
        }
    }
}
