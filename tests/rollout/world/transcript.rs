//! What happened in a world, in lines that people read: the golden files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use guardbit::api::{Condition, RetiringReason, RevisionRef};
use guardbit::model::identity::{self, Purpose};
use guardbit::rollout::{Order, Plan};

use super::World;

impl World {
    /// Writes down what changed.
    pub(super) fn note(&mut self, plan: &Plan) {
        let t = self.now.duration_since(self.start).as_secs();
        let clock = format!("{}:{:02}:{:02}", t / 3600, t / 60 % 60, t % 60);
        for decision in &plan.decisions {
            let first = if plan.order == Order::LowerFirst {
                " (lowered before it is recorded)"
            } else {
                ""
            };
            let _ = writeln!(
                self.transcript,
                "{clock}  * {} {}: {}{first}",
                decision.action, decision.variant, decision.why
            );
        }
        let names: BTreeSet<_> = plan.decisions.iter().map(|d| d.action.to_string()).collect();
        for event in plan.events.iter().filter(|e| {
            !names.contains(&e.reason.to_string()) && !plan.decisions.iter().any(|d| e.note.ends_with(&d.why))
        }) {
            let _ = writeln!(self.transcript, "{clock}  ! {}: {}", event.reason, event.note);
        }
        let state = self.state(plan);
        if state != self.shown {
            let _ = writeln!(self.transcript, "{clock}    {state}");
            self.shown = state;
        }
    }

    fn state(&self, plan: &Plan) -> String {
        let mut out = format!(
            "{:<13}",
            self.status.phase.as_ref().map(ToString::to_string).unwrap_or_default()
        );
        let mut names = self.names();
        let weights: Vec<_> = match &plan.route {
            Some(route) if self.spec.traffic.gateway.is_some() => route
                .weights
                .iter()
                .map(|(r, w)| format!("{} {w}%", names(r)))
                .collect(),
            _ => self
                .status
                .arms
                .iter()
                .filter(|a| a.weight > 0)
                .map(|a| format!("{} {}%", a.variant, a.weight))
                .collect(),
        };
        let _ = write!(out, " traffic [{}]", weights.join(", "));
        let pods: Vec<_> = plan
            .workloads
            .iter()
            .filter(|(_, w)| w.replicas != Some(0))
            .map(|(key, w)| {
                let ready = self.workloads.get(key).map_or(0, |w| w.ready);
                let kind = match key.purpose {
                    Purpose::Serving => "",
                    Purpose::Pinned => "pinned ",
                    Purpose::Shadow => "shadow ",
                };
                format!(
                    "{kind}{} {ready}/{}",
                    names(&key.revision),
                    w.replicas.map_or("auto".into(), |r| r.to_string())
                )
            })
            .collect();
        let _ = write!(out, " pods [{}]", pods.join(", "));
        let (of_model, of_policies) = (
            ["Ready", "Stalled", "EvidenceAvailable", "FallbackCapacity"],
            ["PolicyBreached", "CalibrationFresh"],
        );
        for kind in of_model.into_iter().chain(of_policies) {
            if let Some(Condition { status, reason, .. }) = self.status.conditions.iter().find(|c| c.type_ == kind) {
                let usual = if ["Stalled", "PolicyBreached"].contains(&kind) {
                    "False"
                } else {
                    "True"
                };
                if status != usual {
                    let _ = write!(out, " {kind}={status}({reason})");
                }
            }
        }
        let waits = self.status.conditions.iter().find(|c| c.type_ == "Progressing");
        let for_people = ["AwaitingApproval", "AwaitingSlot", "Frozen", "TakenBack"];
        if let Some(c) = waits.filter(|c| for_people.contains(&c.reason.as_str())) {
            let _ = write!(out, " waits({})", c.reason);
        }
        if self
            .status
            .retiring
            .iter()
            .any(|r| r.reason == RetiringReason::KeepWarm)
        {
            out.push_str(" warm");
        }
        out
    }

    /// Names for people: the variant, with a mark where there are two revisions of it.
    fn names(&self) -> impl FnMut(&RevisionRef) -> String + use<> {
        let current: BTreeMap<String, String> = self
            .spec
            .variants
            .iter()
            .map(|v| (v.name.clone(), identity::revision(&self.spec, v)))
            .collect();
        move |r: &RevisionRef| {
            if current.get(&r.variant) == Some(&r.revision) {
                r.variant.clone()
            } else {
                format!("{}(old)", r.variant)
            }
        }
    }
}
