//! What lowers a candidate: harm, and a spec that no longer asks for it.

use guardbit::api::{Action, RevisionRef, RolloutKind, Verdict};
use guardbit::rollout::Order;

use super::{Broken, History, Invariant, Step, counted, times};

impl Step<'_> {
    /// After harm the candidate is at 0, or a former stable at what its fallback cannot carry yet.
    pub(super) fn harm_is_answered(&self, history: &History, now: &History) -> Result<(), Broken> {
        let status = &self.plan.status;
        let afresh = self.decided(&[Action::PlanChanged, Action::EvidenceReset]) || now.tolerance != self.tolerance();
        let Some(of) = self.on_trial().filter(|_| !afresh && history.since.is_some()) else {
            return Ok(());
        };
        let judged = self.plan.judged.iter().any(|r| r.verdict == Verdict::Harmful);
        if self.shows_harm(history) {
            self.holds(Invariant::HarmIsFound, judged, || {
                format!(
                    "half of what {} answers are errors, and no guard finds harm",
                    of.variant
                )
            })?;
        }
        if !judged {
            return Ok(());
        }
        let Some(stable) = &status.stable else { return Ok(()) };
        let last = history.weights.get(of).copied().unwrap_or(0);
        let allowed = match (self.before.rollout.is_some(), self.ready(stable)) {
            (_, 0) => last,
            (true, _) => 0,
            // After promotion the weight follows the capacity of what traffic falls back to.
            (false, ready) => last.min(100 - 100 * ready / self.full(stable)),
        };
        self.holds(Invariant::HarmIsAnswered, self.weight(of) <= allowed, || {
            format!("{} is harmful and has {}%", of.variant, self.weight(of))
        })
    }

    /// A rejected identity is not tried again unless a person said so since, and never gets more than it has.
    pub(super) fn rejected_stays_out(&self, history: &History) -> Result<(), Broken> {
        let recovered = self.decided(&[Action::Recovered]);
        let on_trial = self.plan.status.rollout.as_ref().map(|r| &r.candidate);
        if let Some(of) = on_trial.filter(|_| !history.rejected.is_empty() && !recovered) {
            self.holds(Invariant::RejectedStaysOut, !history.rejected.contains_key(of), || {
                format!("the rejected {} is tried again", of.variant)
            })?;
        }
        let last = self.last_weights(history);
        for of in history.rejected.keys() {
            let (before, now) = (last.get(of).copied().unwrap_or(0), self.weight(of));
            self.holds(Invariant::RejectedStaysOut, now <= before, || {
                format!("the rejected {} rises from {before}% to {now}%", of.variant)
            })?;
        }
        Ok(())
    }

    /// Whether the samples of this evaluation show, beyond doubt and on their own, that half of the answers are errors.
    pub(super) fn shows_harm(&self, history: &History) -> bool {
        let Some(samples) = self.shown().filter(|_| !self.is_disrupted()) else {
            return false;
        };
        // What was shown before was judged before.
        let since = history.since.max(history.newest).unwrap_or(i64::MAX);
        let both: Vec<_> = times(&samples.baseline)
            .into_iter()
            .filter(|at| times(&samples.candidate).contains(at) && (since..=self.now).contains(at))
            .collect();
        let [candidate, baseline] = [&samples.candidate, &samples.baseline].map(|arm| counted(arm, &both));
        let enough = |(_, total): (f64, f64)| total >= 20_000.0;
        enough(candidate) && enough(baseline) && candidate.0 >= 0.45 * candidate.1 && baseline.0 == 0.0
    }

    /// Lowering the candidate waits for nothing: not for a pause, a policy or a person, and not for the record.
    pub(super) fn lowering_waits_for_nothing(&self, history: &History) -> Result<(), Broken> {
        use Action::{Declined, Demoted, Failed, FellBack, RolledBack, Superseded, TakenBack, Undecided, Withdrawn};
        let given_up = self.decided(&[
            Declined, Demoted, Failed, RolledBack, Superseded, TakenBack, Undecided, Withdrawn,
        ]);
        if given_up || self.decided(&[FellBack]) {
            self.holds(
                Invariant::LoweringComesFirst,
                self.plan.order == Order::LowerFirst,
                || "the candidate is lowered only after the status is written".to_owned(),
            )?;
        }
        let (Some(rollout), Some(stable)) = (&self.before.rollout, &self.before.stable) else {
            return Ok(());
        };
        let of = &rollout.candidate;
        let position = |variant: &str| self.seen.model.spec.variants.iter().position(|v| v.name == variant);
        let beyond =
            rollout.kind == RolloutKind::Climb && position(&of.variant) > Some(self.seen.model.spec.target_index());
        let wanted = !given_up && !beyond && self.in_spec(of) && !self.is_taken_away(rollout);
        if wanted {
            return Ok(());
        }
        let allowed = match self.ready(stable) {
            0 => history.weights.get(of).copied().unwrap_or(0),
            _ => 0,
        };
        self.holds(Invariant::LoweringWaitsForNothing, self.weight(of) <= allowed, || {
            format!(
                "{} is given up, taken back or no longer asked for, and has {}%",
                of.variant,
                self.weight(of)
            )
        })
    }

    pub(super) fn in_spec(&self, of: &RevisionRef) -> bool {
        let spec = &self.seen.model.spec;
        let variant = spec.variants.iter().find(|v| v.name == of.variant);
        variant.is_some_and(|v| guardbit::model::identity::revision(spec, v) == of.revision)
    }
}
