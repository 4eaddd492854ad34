//! What the tests of a trial know, without how far samples were counted: everybody who has the polls can repeat it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::{QuantizedModelSpec, QuantizedModelStatus};
use crate::guards::{BenefitTest, Suite};
use crate::model::presets::guards;
use crate::model::{self, identity};

use super::super::ask::suite_config;
use super::super::observation::Seen;
use super::super::trial::on_trial;
use super::benefit::benefit;
use super::feed::Tests;
use super::heard::{GuardHeard, Heard};
use super::inputs::Inputs;
use super::state::{Running, VERSION, opaque};

/// What the tests of a trial know: those of its guards, of their pairs by source, and of its benefit. The test of the
/// split is left out, because it depends on weights; so are the counts of a step, because decisions begin steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestState {
    /// The trial, by what it is judged by.
    epoch: String,
    #[serde(with = "opaque")]
    suite: Suite,
    #[serde(with = "opaque")]
    benefit: Option<BenefitTest>,
}

impl TestState {
    fn of(running: &Running) -> Self {
        let mut suite = running.suite.clone();
        suite.mark_step();
        Self {
            epoch: running.epoch.clone(),
            suite,
            benefit: running.benefit.clone(),
        }
    }

    /// What the tests knew before an evaluation took what it heard; `None` where nothing was on trial.
    pub fn before(heard: &Heard) -> Option<Self> {
        heard.running.as_ref().map(Self::of)
    }

    /// What the tests know by a status, which is that of a plan; `None` where nothing is on trial.
    pub fn after(status: &QuantizedModelStatus) -> Option<Self> {
        let running = Running::stored(status.evidence.as_deref()?);
        running.ok().as_ref().map(Self::of)
    }

    /// Takes what one evaluation heard. It stays as it is where that evaluation had another trial.
    pub fn take(&mut self, seen: &Seen<'_>, heard: &Heard) {
        self.take_all(seen, [&heard.guards]);
    }

    /// Takes what several evaluations heard of the guards, one after the other. They must have judged by the same as
    /// the evaluation that saw this; see [`TestState::judged_by`].
    pub fn take_all<'a>(&mut self, seen: &Seen<'_>, heard: impl IntoIterator<Item = &'a BTreeMap<String, GuardHeard>>) {
        let (spec, status) = (&seen.model.spec, &seen.model.status);
        let settings = model::read(spec).rollout;
        let Some(trial) = on_trial(spec, &settings, status).filter(|trial| trial.epoch == self.epoch) else {
            return;
        };
        let config = suite_config(spec, &trial);
        let inputs = Inputs::of(&config);
        let wanted = benefit(&settings, status.rollout.as_ref());
        let mut tests = Tests {
            config: &config,
            wanted: wanted.as_ref(),
            inputs: inputs.as_ref(),
            suite: &mut self.suite,
            benefit: &mut self.benefit,
        };
        for heard in heard {
            tests.take(heard, |_, _| {});
        }
        self.suite.mark_step();
    }

    /// The trial that it is of. Another trial, or one that is judged by something else, has another.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Whether nothing has been counted yet.
    pub fn is_fresh(&self) -> bool {
        self.suite == Suite::default() && self.benefit.is_none()
    }

    /// SHA-256 of its printed form, in hexadecimal digits.
    pub fn digest(&self) -> String {
        identity::digest(self)
    }

    /// Digest of all in a spec that the tests are judged by. Polls that were taken by another one are not taken again by
    /// this.
    pub fn judged_by(spec: &QuantizedModelSpec) -> String {
        let rollout = &spec.rollout;
        identity::digest(&json!({
            "guards": guards(spec),
            "falseRollback": rollout.false_rollback,
            "falsePromotion": rollout.false_promotion,
            "benefit": rollout.benefit,
            // After a promotion the error rate is one for each poll.
            "interval": rollout.interval,
        }))
    }

    /// Version of its layout.
    pub fn version() -> &'static str {
        VERSION.trim_end_matches(':')
    }
}
