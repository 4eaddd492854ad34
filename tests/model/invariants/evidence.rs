//! What weights rise on: gates, evidence, what is on record.

use guardbit::api::{Action, OnUndecided};
use guardbit::model::read;
use guardbit::rollout::GuardQuery;

use super::{Broken, FRESH, History, Invariant, PATIENCE, Step, is_proven, revision, times};
use crate::world::serving;

impl Step<'_> {
    /// No weight before the gates.
    pub(super) fn no_weight_before_the_gates(&self, history: &History) -> Result<(), Broken> {
        let raised = self
            .plan
            .decisions
            .iter()
            .filter(|d| {
                matches!(
                    d.action.known(),
                    Some(Action::Bootstrapped | Action::Started | Action::Raised)
                )
            })
            .filter(|d| {
                let before = history.weights.get(&revision(&d.variant, &d.revision));
                before.copied().unwrap_or(0) == 0
            });
        for decision in raised {
            let spec = &self.seen.model.spec;
            let at = spec.variants.iter().position(|v| v.name == decision.variant);
            let Some(expires) = at.and_then(|at| read(spec).variants[at].calibration_expires) else {
                continue;
            };
            self.holds(Invariant::GatesComeFirst, self.seen.now <= expires, || {
                format!("{} {} with a stale calibration", decision.action, decision.variant)
            })?;
        }
        Ok(())
    }

    /// The candidate rises above its first step on fresh evidence only.
    pub(super) fn no_rise_without_evidence(&self, history: &History, now: &History) -> Result<(), Broken> {
        let status = &self.plan.status;
        let last = self.last_weights(history);
        for (of, weight) in &self.weights {
            let before = last.get(of).copied().unwrap_or(0);
            if *weight <= before {
                continue;
            }
            let on_trial = self.before.rollout.as_ref().is_some_and(|r| r.candidate == *of);
            if on_trial && *weight <= history.granted {
                // It was granted on what was shown then, and that is on record now.
                continue;
            }
            let first = self.seen.model.spec.rollout.steps[0].weight;
            if on_trial && self.decided(&[Action::Raised, Action::Promoted]) {
                if before == 0 && *weight <= first {
                    continue;
                }
                let scrapes = now.trial.as_ref().map_or(0, |t| t.scrapes);
                let fresh = scrapes >= FRESH && self.shown().is_some() && !self.resumes();
                self.holds(Invariant::RisesNeedEvidence, fresh, || {
                    format!("{} rises from {before}% to {weight}% on {scrapes} scrapes", of.variant)
                })?;
                continue;
            }
            let earned = [&status.stable, &status.reference]
                .into_iter()
                .flatten()
                .any(|r| r == of)
                || (!on_trial && is_proven(status, of));
            self.holds(Invariant::RisesNeedEvidence, earned, || {
                format!("{} rises from {before}% to {weight}% for no reason", of.variant)
            })?;
        }
        Ok(())
    }

    /// No weight before the shadow stage has its pairs, all of them asked since its evidence began.
    pub(super) fn no_weight_before_the_pairs(&self, history: &History) -> Result<(), Broken> {
        let (Some(shadow), Some(rollout)) = (&self.seen.model.spec.rollout.shadow, &self.before.rollout) else {
            return Ok(());
        };
        let of = &rollout.candidate;
        if !self.wants_stage(rollout) || history.first_weight.is_some() || self.weight(of) == 0 {
            return Ok(());
        }
        let began = history.began.unwrap_or(self.now);
        let pairs = self.world.pairs.served(of, began);
        self.holds(
            Invariant::StageComesFirst,
            pairs >= u64::from(shadow.pairs.unsigned_abs()),
            || format!("{} gets its first weight after {pairs} pairs", of.variant),
        )
    }

    /// Pods whose node goes away say nothing of their variant, and pods of two images are no arm.
    pub(super) fn disrupted_pods_decide_nothing(&self) -> Result<(), Broken> {
        use Action::{FellBack, Promoted, Promoting, Raised, RolledBack};
        let Some(seen) = self.on_trial().and_then(|of| self.seen.workloads.get(&serving(of))) else {
            return Ok(());
        };
        let decided = |actions: &[Action]| {
            self.plan
                .decisions
                .iter()
                .find(|d| actions.iter().any(|a| d.action == *a))
        };
        let forbidden: &[Action] = match (seen.disruption.is_some(), seen.image_ids.len()) {
            (true, _) => &[FellBack, Promoted, Promoting, Raised, RolledBack],
            (false, 0..=1) => &[],
            _ => &[Promoted, Promoting, Raised],
        };
        if forbidden.is_empty() {
            return Ok(());
        }
        let decision = decided(forbidden);
        self.holds(Invariant::DisruptionDecidesNothing, decision.is_none(), || {
            format!(
                "{:?} on disrupted or unlike pods",
                decision.and_then(|d| d.action.known())
            )
        })
    }

    /// No data: no promotion, and no rollback before the deadline.
    pub(super) fn no_data_decides_nothing(&self, history: &History) -> Result<(), Broken> {
        let silent = history
            .newest
            .or(history.since)
            .is_none_or(|at| self.now - at > PATIENCE);
        if self
            .shown()
            .is_none_or(|samples| times(&samples.candidate).is_empty() && silent)
        {
            use Action::{FellBack, Promoted, Promoting, RolledBack};
            let decided = self.decided(&[Promoting, Promoted, RolledBack, FellBack]);
            self.holds(Invariant::NoDataDecidesNothing, !decided, || {
                "promoted or rolled back without data".to_owned()
            })?;
        }
        Ok(())
    }

    /// An undecided rollout is given up at its deadline and no earlier. It counts from the shadow stage, where there is
    /// one: no comparer holds that for ever. In no world with a stage the deadline stands still.
    pub(super) fn the_deadline_is_kept(&self, history: &History) -> Result<(), Broken> {
        let Some(rollout) = &self.before.rollout else {
            return Ok(());
        };
        let settings = &self.seen.model.spec.rollout;
        let deadline = settings.deadline.millis().unwrap_or(0) / 1000;
        let passed = |since: Option<i64>| since.is_some_and(|at| self.now - at >= deadline);
        if self.decided(&[Action::Undecided]) {
            let over = passed(history.stage.or(history.first_weight));
            return self.holds(Invariant::DeadlineIsKept, over, || {
                "given up before the deadline".to_owned()
            });
        }
        let waits = settings.on_undecided != OnUndecided::RollBack || self.decided(&[Action::PlanChanged]);
        if waits || rollout.weight > 0 || !passed(history.stage) {
            return Ok(());
        }
        let ended = self.plan.status.rollout.as_ref().map(|r| &r.candidate) != Some(&rollout.candidate);
        self.holds(Invariant::DeadlineIsKept, ended, || {
            format!("{} is held in its stage after the deadline", rollout.candidate.variant)
        })
    }

    /// No interval of evidence counts twice.
    pub(super) fn nothing_counts_twice(&self, history: &History, queries: &[GuardQuery]) -> Result<(), Broken> {
        if self.begins_afresh() || self.tolerance() != history.tolerance {
            return Ok(());
        }
        for query in queries {
            let Some(guard) = self.plan.status.guards.iter().find(|g| g.name == query.guard) else {
                continue;
            };
            let baseline = query.baseline.as_ref().map(|arm| (&arm.revision, guard.baseline));
            for (of, counts) in [(&query.candidate.revision, guard.candidate)]
                .into_iter()
                .chain(baseline)
            {
                if counts.total == 0 {
                    continue;
                }
                let served = self
                    .world
                    .counted(query)
                    .served(of, history.began.map_or(self.now, |at| at.min(self.now)));
                self.holds(
                    Invariant::NothingCountsTwice,
                    counts.total.unsigned_abs() <= served,
                    || {
                        format!(
                            "{} counts {} of {served} requests of {}",
                            query.guard, counts.total, of.variant
                        )
                    },
                )?;
            }
        }
        Ok(())
    }

    /// A decision is on record with its effect; see also [`History::written`].
    pub(super) fn decisions_are_on_record(&self) -> Result<(), Broken> {
        for decision in &self.plan.decisions {
            self.holds(
                Invariant::DecisionsAreRecorded,
                self.plan.status.decisions.contains(decision),
                || format!("{} {} is not on record", decision.action, decision.variant),
            )?;
        }
        Ok(())
    }
}
