//! Reads a policy: what the API server holds becomes rules, or is known to be unreadable.
//!
//! A policy is read from JSON, because one of a newer release may have fields and words that this release does not know. It
//! is then unreadable as a whole: it still selects models, and says which field cannot be read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::civil::Time;
use serde_json::Value;
use url::Url;

use crate::api::governance::policy::{
    CalibrationRule, FloorRule, Freeze as WrittenFreeze, OnBreach, OnStale, RolloutRule,
};
use crate::api::{AppliesTo, Duration, Fraction, PolicyMode, PrecisionPolicySpec, RiskTier, SpecProblem, WeightsProof};
use crate::guards::{Billionths, Required};
use crate::model::Reader;

use super::applies::selects;
use super::rules::{Asked, Floor, Freeze, Freshness, Limits, Metrics, Records, Rules, When, zone};

/// Largest integer that every reader of JSON keeps exactly: rules go on record.
const LARGEST_INTEGER: i64 = 1 << 53;

/// Longest time that a weekly freeze lasts, in milliseconds.
const WEEK: i64 = 168 * 3_600_000;

/// A policy as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Whether its rules hold.
    pub mode: PolicyMode,
    /// What it asks for, or why it cannot be read.
    pub rules: Result<Rules, Vec<SpecProblem>>,
    applies: AppliesTo,
}

impl Policy {
    /// Reads the spec of a policy.
    pub fn read(name: &str, generation: i64, spec: &Value) -> Self {
        let (mode, applies, rules) = match serde_path_to_error::deserialize::<_, PrecisionPolicySpec>(spec) {
            Ok(written) => {
                let rules = resolve(name, &written);
                (written.mode, written.applies_to, rules)
            }
            Err(error) => {
                let path = error.path().to_string();
                let field = if path == "." {
                    "spec".to_owned()
                } else {
                    format!("spec.{path}")
                };
                let problem = SpecProblem::new(field, error.into_inner().to_string());
                let (mode, applies) = as_far_as_known(spec);
                (mode, applies, Err(vec![problem]))
            }
        };
        Self {
            name: name.to_owned(),
            generation,
            mode,
            rules,
            applies,
        }
    }

    /// Whether it is about a model of this tier in a namespace with these labels. A model without a tier is High.
    pub fn selects(&self, namespace: &BTreeMap<String, String>, tier: Option<RiskTier>) -> bool {
        selects(&self.applies, namespace, tier)
    }

    /// Whether the labels of a namespace decide which models it is about.
    pub fn asks_for_labels(&self) -> bool {
        let selector = self.applies.namespaces.as_ref();
        selector.is_some_and(|of| !of.match_labels.is_empty() || !of.match_expressions.is_empty())
    }
}

/// The mode and the models of a policy that cannot be read as a whole. What is not known of them could only narrow them, so
/// that it may select more models than its author meant, and never fewer.
fn as_far_as_known(spec: &Value) -> (PolicyMode, AppliesTo) {
    let mode = spec
        .get("mode")
        .and_then(|mode| serde_json::from_value(mode.clone()).ok());
    let applies = |field: &str| spec.get("appliesTo")?.get(field).cloned();
    let namespaces = applies("namespaces").and_then(|written| serde_json::from_value(written).ok());
    let risk_tiers = applies("riskTiers").and_then(|written| serde_json::from_value(written).ok());
    let applies = AppliesTo {
        namespaces,
        risk_tiers: risk_tiers.unwrap_or_default(),
    };
    (mode.unwrap_or_default(), applies)
}

/// Reads the strings of a policy.
fn resolve(policy: &str, written: &PrecisionPolicySpec) -> Result<Rules, Vec<SpecProblem>> {
    let mut reading = Reading {
        policy,
        reader: Reader::default(),
    };
    let rules = reading.rules(written);
    reading.reader.finish(rules)
}

/// A policy that is being read.
struct Reading<'a> {
    policy: &'a str,
    reader: Reader,
}

impl Reading<'_> {
    fn rules(&mut self, written: &PrecisionPolicySpec) -> Rules {
        let PrecisionPolicySpec {
            mode: _,
            applies_to: _,
            floor,
            rollout,
            guards,
            calibration,
            validation,
            weights,
            approvals,
            freezes,
            max_in_progress,
            prometheus,
            records,
        } = written;
        let policy = self.policy;
        let asked_floor = floor.as_ref().map(|floor| self.floor(floor)).unwrap_or_default();
        let falls_back = floor
            .as_ref()
            .is_some_and(|floor| floor.on_breach == OnBreach::FallBack);
        let freshness = calibration
            .as_ref()
            .map(|rule| self.calibration(rule))
            .unwrap_or_default();
        let stale_falls_back = calibration
            .as_ref()
            .is_some_and(|rule| rule.on_stale == OnStale::FallBack);
        let required = guards.iter().filter_map(|guard| match Required::read(guard) {
            Ok(required) => Some(Asked::new(required, policy)),
            Err(problems) => {
                self.reader.extend(problems);
                None
            }
        });
        let guards = required.collect();
        let metrics = validation.iter().flat_map(|rule| &rule.metrics).map(|metric| {
            let field = format!("spec.validation.metrics[{}].maxDrop", metric.name);
            let most = Billionths::of(self.reader.share(&field, &metric.max_drop));
            (metric.name.clone(), Asked::new(Reverse(most), policy))
        });
        let validation = Metrics(metrics.collect());
        let verified = weights
            .as_ref()
            .filter(|weights| weights.require == WeightsProof::Verified);
        let keys = verified.map(|weights| {
            let keys = weights.public_keys.iter().map(|key| key.trim().to_owned());
            keys.collect::<BTreeSet<String>>()
        });
        let keys = keys.filter(|keys| !keys.is_empty());
        let freezes: Vec<Freeze> = freezes.iter().filter_map(|freeze| self.freeze(freeze)).collect();
        let urls = prometheus.as_ref().map(|prometheus| self.urls(&prometheus.urls));
        let records = records.as_ref().map(|records| Records {
            keep: Some(Asked::new(self.millis("spec.records.keep", &records.keep), policy)),
            signed: Some(Asked::new(records.signed, policy)),
        });
        Rules {
            falls_back_below: if falls_back {
                asked_floor.clone()
            } else {
                Floor::default()
            },
            floor: asked_floor,
            rollout: rollout
                .as_ref()
                .map(|rollout| self.rollout(rollout))
                .unwrap_or_default(),
            guards,
            falls_back_when_stale: if stale_falls_back {
                freshness.clone()
            } else {
                Freshness::default()
            },
            calibration: freshness,
            validation,
            proof: verified.map(|weights| Asked::new(weights.require, policy)),
            weights: keys.into_iter().map(|keys| Asked::new(keys, policy)).collect(),
            approvals: approvals.iter().map(|rule| Asked::new(rule.clone(), policy)).collect(),
            freezes: freezes.into_iter().map(|freeze| Asked::new(freeze, policy)).collect(),
            slots: max_in_progress.iter().map(|most| Asked::new(*most, policy)).collect(),
            prometheus: urls.into_iter().map(|urls| Asked::new(urls, policy)).collect(),
            records: records.unwrap_or_default(),
        }
    }

    fn floor(&self, written: &FloorRule) -> Floor {
        let methods = (!written.methods.is_empty()).then(|| written.methods.iter().copied().collect());
        Floor {
            min_bits: written.min_bits.map(|bits| Asked::new(bits, self.policy)),
            methods: methods.map(|methods| Asked::new(methods, self.policy)),
        }
    }

    fn rollout(&mut self, written: &RolloutRule) -> Limits {
        let policy = self.policy;
        let RolloutRule {
            max_first_step,
            max_step_rise,
            min_hold,
            min_holdout,
            max_false_rollback,
            min_false_rollback,
            max_false_promotion,
            bootstrap,
        } = written;
        let most = |percent: &Option<i32>| percent.map(|most| Asked::new(Reverse(most), policy));
        let min_hold = min_hold.as_ref().map(|hold| self.millis("spec.rollout.minHold", hold));
        let mut rate = |name: &str, written: &Option<Fraction>| {
            let written = written.as_ref()?;
            let field = format!("spec.rollout.{name}");
            Some(Billionths::of(self.reader.share_where(
                &field,
                written,
                |rate| rate > 0.0,
                "error rate; write a share above 0, such as \"5%\"",
            )))
        };
        let max_false_rollback = rate("maxFalseRollback", max_false_rollback);
        let min_false_rollback = rate("minFalseRollback", min_false_rollback);
        let max_false_promotion = rate("maxFalsePromotion", max_false_promotion);
        Limits {
            max_first_step: most(max_first_step),
            max_step_rise: most(max_step_rise),
            min_hold: min_hold.map(|hold| Asked::new(hold, policy)),
            min_holdout: min_holdout.map(|least| Asked::new(least, policy)),
            max_false_rollback: max_false_rollback.map(|most| Asked::new(Reverse(most), policy)),
            min_false_rollback: min_false_rollback.map(|least| Asked::new(least, policy)),
            max_false_promotion: max_false_promotion.map(|most| Asked::new(Reverse(most), policy)),
            bootstrap: bootstrap.map(|rule| Asked::new(rule, policy)),
        }
    }

    fn calibration(&mut self, written: &CalibrationRule) -> Freshness {
        let max_age = written
            .max_age
            .as_ref()
            .map(|age| self.millis("spec.calibration.maxAge", age));
        Freshness {
            max_age: max_age.map(|age| Asked::new(Reverse(age), self.policy)),
            min_samples: written
                .min_samples
                .map(|least| Asked::new(least.min(LARGEST_INTEGER), self.policy)),
        }
    }

    fn freeze(&mut self, written: &WrittenFreeze) -> Option<Freeze> {
        let WrittenFreeze {
            name,
            days,
            from,
            lasts,
            time_zone,
            between,
        } = written;
        let field = format!("spec.freezes[{name}]");
        let when = match (between, from, lasts, time_zone) {
            (Some(period), None, None, None) if days.is_empty() => {
                let (from, to) = (period.from.0, period.to.0);
                if from >= to {
                    self.reader
                        .refuse(format!("{field}.between"), "ends before it begins; correct from or to");
                }
                When::Between { from, to }
            }
            (None, Some(from), Some(lasts), Some(time_zone)) if !days.is_empty() => When::Weekly {
                days: days.iter().copied().collect(),
                from: self.time(&format!("{field}.from"), from),
                lasts: self.lasts(&format!("{field}.for"), lasts),
                time_zone: self.zone(&format!("{field}.timeZone"), time_zone),
            },
            _ => {
                self.reader.refuse(
                    field,
                    "must have either between, or all of days, from, for and timeZone",
                );
                return None;
            }
        };
        Some(Freeze {
            name: name.clone(),
            when,
        })
    }

    fn time(&mut self, field: &str, written: &str) -> Time {
        written.parse().unwrap_or_else(|_| {
            let problem = format!("{written:?} is no time of day; write hours and minutes, such as \"12:00\"");
            self.reader.refuse(field, problem);
            Time::midnight()
        })
    }

    fn lasts(&mut self, field: &str, written: &Duration) -> i64 {
        let lasts = self.millis(field, written);
        if written.millis().is_ok() && !(1..=WEEK).contains(&lasts) {
            let problem = format!(
                "{:?} is not between 1ms and 168h; write another freeze for a longer time",
                written.0
            );
            self.reader.refuse(field, problem);
        }
        lasts
    }

    fn zone(&mut self, field: &str, written: &str) -> String {
        if zone(written).is_none() {
            let problem = format!(
                "{written:?} is no time zone of the IANA database that this release knows; write one such as \"Europe/Berlin\""
            );
            self.reader.refuse(field, problem);
        }
        written.to_owned()
    }

    fn urls(&mut self, written: &[String]) -> BTreeSet<String> {
        for text in written {
            let plain = Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https") && !text.contains(['@', '?', '#', '%', '\\'])
            });
            if !plain {
                let problem = format!(
                    "{text:?} is no plain http(s) URL; write one such as \"http://prometheus.monitoring:9090\""
                );
                self.reader.refuse("spec.prometheus.urls", problem);
            }
        }
        written.iter().cloned().collect()
    }

    fn millis(&mut self, field: &str, written: &Duration) -> i64 {
        let millis = i64::try_from(self.reader.duration(field, written).as_millis());
        millis.unwrap_or(LARGEST_INTEGER).min(LARGEST_INTEGER)
    }
}
