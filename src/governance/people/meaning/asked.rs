//! What an approver is asked: the change, what is claimed of it, what was found so far, and who else must approve.

use crate::api::{Awaiting, QualityMetric, RevisionRef, RolloutKind};
use crate::model::facts::{facts, line, listed};
use crate::model::presets;

use super::super::super::rules::bits;
use super::super::acts::Act;
use super::super::approvals::{named, persons};
use super::{Known, Meaning};

impl Known<'_> {
    /// Tells what is approved, and whether the approval will count.
    pub(super) fn approve(
        &self,
        told: &mut Meaning,
        awaiting: &Awaiting,
        act: &Act,
        revisions: &[RevisionRef],
    ) -> Result<(), String> {
        let by = act.by();
        if awaiting.excluded.iter().any(|author| author == by) {
            return Err(format!("the change is your own ({by}): somebody else must approve it"));
        }
        self.change(told, awaiting, revisions);
        self.people(told, awaiting);
        if let Some(own) = awaiting.have.iter().find(|approved| approved.by == by) {
            told.note(format!(
                "You have approved it already ({}): each person counts once. This approval lasts for as long as it says.",
                own.action
            ));
            return Ok(());
        }
        let have = i32::try_from(awaiting.have.len()).unwrap_or(i32::MAX).saturating_add(1);
        told.note(match awaiting.need.saturating_sub(have) {
            ..=0 => {
                "With yours as many people have approved as are asked for. It goes on when the groups that are asked for are \
                 among them, and everything else that it waits for is there."
                    .to_owned()
            }
            more => format!("After yours {} more must approve.", persons(more)),
        });
        told.note("It is void as soon as anybody changes what was approved.");
        Ok(())
    }

    /// Tells what is rejected, and who can take that back.
    pub(super) fn reject(
        &self,
        told: &mut Meaning,
        digest: &str,
        act: &Act,
        revisions: &[RevisionRef],
    ) -> Result<(), String> {
        if self.status.awaiting.is_some() {
            self.change(told, self.awaited(digest)?, revisions);
        } else {
            told.row("change", digest);
            told.headline = format!(
                "{} {}/{}: the change with this digest gets no traffic, whenever it is asked for until {}",
                act.spec.action,
                self.namespace,
                self.name,
                act.ends()?
            );
            told.note(
                "Nothing awaits approval now. Whether it is the change in progress guardbit says: --wait shows it.",
            );
        }
        self.traffic(told);
        told.note(
            "If its candidate has traffic, that goes to 0 at once. Approvals of it, also of others, are worth nothing while \
             this stands.",
        );
        told.note(format!(
            "To take it back: an approval by {} of the same change, or a retry of its variant.",
            act.by()
        ));
        Ok(())
    }

    /// Tells what changes, and what is known of it.
    fn change(&self, told: &mut Meaning, awaiting: &Awaiting, revisions: &[RevisionRef]) {
        let before = awaiting
            .before
            .known()
            .map_or_else(|| awaiting.before.to_string(), |gate| named(gate).to_owned());
        let to = RevisionRef {
            variant: awaiting.variant.clone(),
            revision: awaiting.revision.clone(),
        };
        told.row("what", format!("{before} of {}", to.describe()));
        told.row("change", &awaiting.change_digest);
        if let Some(kind) = self.status.rollout.as_ref().and_then(|rollout| rollout.kind.known()) {
            told.row("why", reason(kind));
        }
        if let Some(from) = &self.status.stable {
            told.row("from", self.revision(from, revisions));
        }
        told.row("to", self.revision(&to, revisions));
        self.claims(told, &to.variant);
        let rollout = &self.spec.rollout;
        let steps = rollout
            .steps
            .iter()
            .map(|step| format!("{}% for {}", step.weight, step.hold));
        told.row("steps", steps.collect::<Vec<_>>().join(", "));
        let others = facts(rollout)
            .into_iter()
            .filter(|(field, _)| !field.starts_with("steps"));
        told.row("rollout", line(others));
        if let Some(tier) = self.spec.model.risk_tier {
            told.row("risk tier", tier.to_string());
        }
        if let Some(prometheus) = &self.spec.prometheus {
            told.row("prometheus", listed(prometheus));
        }
        for guard in presets::guards(self.spec) {
            let fields = facts(&guard).into_iter().filter(|(field, _)| field != "name");
            told.row("guards", format!("{}: {}", guard.name, line(fields)));
        }
        for guard in &self.status.guards {
            told.row(
                "evidence",
                format!("{} {}: {}", guard.name, guard.verdict, guard.message),
            );
        }
        if self.status.guards.is_empty() {
            told.row("evidence", "none yet");
        }
    }

    /// Tells what its author claims of a variant.
    fn claims(&self, told: &mut Meaning, variant: &str) {
        let Some(variant) = self.variant(variant) else { return };
        told.row("weights", listed(&variant.weights));
        if let Some(quantization) = &variant.quantization {
            told.row("quantization", listed(quantization));
        }
        let calibration = variant.calibration.as_ref().map(listed);
        told.row("calibration", calibration.unwrap_or_else(|| "none is named".to_owned()));
        for metric in variant.validation.iter().flat_map(|validation| &validation.metrics) {
            let QualityMetric {
                name,
                reference,
                measured,
                max_drop,
            } = metric;
            told.row(
                "validation",
                format!("{name}: {measured}, of the reference {reference}, may drop by {max_drop}"),
            );
        }
        if variant.validation.is_none() {
            told.row("validation", "none is named");
        }
    }

    /// Tells who has approved, who must, and whose approval does not count.
    fn people(&self, told: &mut Meaning, awaiting: &Awaiting) {
        told.row(
            "approvals",
            format!("{} must approve, since {}", persons(awaiting.need), awaiting.since.0),
        );
        for approved in &awaiting.have {
            told.row(
                "approvals",
                format!("{} did at {} ({})", approved.by, approved.at.0, approved.action),
            );
        }
        for author in &awaiting.excluded {
            told.row("approvals", format!("{author} is an author of it and does not count"));
        }
        told.row("needs", &awaiting.may);
    }

    /// A revision with its bits, as far as the spec still describes it.
    fn revision(&self, of: &RevisionRef, revisions: &[RevisionRef]) -> String {
        match self.variant(&of.variant).filter(|_| revisions.contains(of)) {
            Some(variant) => format!("{}, {} bits, {}", of.describe(), bits(variant), variant.precision),
            None => format!("{}, which the spec no longer describes", of.describe()),
        }
    }
}

fn reason(kind: RolloutKind) -> &'static str {
    match kind {
        RolloutKind::Climb => "the next variant of the ladder",
        RolloutKind::Lateral => "a new revision of the variant that serves",
        RolloutKind::NewReference => "a new reference",
    }
}
