//! Guards that a policy asks for, and whether a guard of a model is at least as strict.
//!
//! Series are compared as parsed selectors, never as text: a guard on a metric that does not exist would count nothing, and
//! be satisfied. Must not know of policies: `governance` says which guards are asked for, and of whom.

mod limit;
mod shortfall;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::{
    Decimal, Fraction, RequiredAgreement, RequiredFidelity, RequiredGuard, RequiredLatency, RequiredProportion,
    SpecProblem,
};
use crate::evidence::Form;
use crate::evidence::promql::canonical;

use super::Guard;
use super::fields::Fields;

pub use limit::{Billionths, Limit};
pub use shortfall::Shortfall;
use shortfall::any_of;

/// A guard that a policy asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Required {
    /// Its name in the policy. The guard of the model may have another.
    pub name: String,
    /// The field of a guard that its kind is written in.
    kind: String,
    /// The series that may be counted, by the field that names them; any where a field is absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    series: BTreeMap<String, BTreeSet<String>>,
    /// What may be tolerated at the most: all of it holds.
    all: BTreeMap<Limit, Billionths>,
    /// Ways in which the same is limited: one of them is enough, if there are any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    any: BTreeMap<Limit, Billionths>,
}

impl Required {
    /// Reads the strings of a guard that a policy asks for, or returns what is wrong with them.
    pub fn read(written: &RequiredGuard) -> Result<Self, Vec<SpecProblem>> {
        let mut reading = Reading {
            required: Self {
                name: written.name.clone(),
                kind: String::new(),
                series: BTreeMap::new(),
                all: BTreeMap::new(),
                any: BTreeMap::new(),
            },
            fields: Fields::of(&written.name),
        };
        match written {
            RequiredGuard {
                proportion: Some(kind), ..
            } => reading.proportion(kind),
            RequiredGuard {
                latency: Some(kind), ..
            } => reading.latency(kind),
            RequiredGuard {
                fidelity: Some(kind), ..
            } => reading.fidelity(kind),
            RequiredGuard {
                agreement: Some(kind), ..
            } => reading.agreement(kind),
            RequiredGuard {
                name: _,
                proportion: None,
                latency: None,
                fidelity: None,
                agreement: None,
            } => reading.fields.add(
                "",
                "is of no kind; write exactly one of proportion, latency, fidelity and agreement",
            ),
        }
        let Reading { required, fields } = reading;
        if fields.problems.is_empty() {
            Ok(required)
        } else {
            Err(fields.problems)
        }
    }

    /// Whether a guard is of the kind that is asked for.
    pub fn is_of_kind(&self, guard: &Guard) -> bool {
        guard.kind.field() == self.kind
    }

    /// How a guard of this kind falls short; nothing if it is at least as strict.
    pub fn lacks(&self, guard: &Guard) -> Vec<Shortfall> {
        let tolerates: BTreeMap<Limit, Billionths> = guard
            .kind
            .tolerates()
            .into_iter()
            .map(|(limit, amount)| (limit, Billionths::of(amount)))
            .collect();
        let within = |limit: &Limit, most: &Billionths| tolerates.get(limit).is_some_and(|found| found <= most);
        let series = self.series.iter().filter_map(|(field, wanted)| {
            let asked = guard.asks.iter().find(|asked| asked.field == field);
            let found = asked.map(|asked| canonical(asked.form(), &asked.text).unwrap_or_else(|_| asked.text.clone()));
            let counted = found.as_ref().is_some_and(|found| wanted.contains(found));
            (!counted).then(|| Shortfall::Series {
                field: field.clone(),
                found,
                wanted: wanted.clone(),
            })
        });
        let too_much = |limits: &[Limit], most: Vec<(Limit, Billionths)>| Shortfall::Tolerance {
            kind: self.kind.clone(),
            found: limits
                .iter()
                .filter_map(|limit| Some((*limit, *tolerates.get(limit)?)))
                .collect(),
            most,
        };
        let all = self.all.iter().filter(|(limit, most)| !within(limit, most));
        let all = all.map(|(limit, most)| too_much(&[*limit], vec![(*limit, *most)]));
        let mut lacks: Vec<Shortfall> = series.chain(all).collect();
        if !self.any.is_empty() && !self.any.iter().any(|(limit, most)| within(limit, most)) {
            let others = tolerates.keys().copied().filter(|limit| !self.all.contains_key(limit));
            let others: Vec<Limit> = others.collect();
            let most = self.any.iter().map(|(limit, most)| (*limit, *most));
            lacks.push(too_much(&others, most.collect()));
        }
        lacks
    }
}

/// "a guard on fidelity with fidelity.histogram `model_score`, maxTotalVariation of at most 5%".
impl fmt::Display for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let series = self
            .series
            .iter()
            .map(|(field, wanted)| format!("{field} {}", any_of(wanted)));
        let told = |(limit, most): (&Limit, &Billionths)| format!("{} of at most {}", limit.field(), limit.told(*most));
        let all = self.all.iter().map(told);
        let any: Vec<_> = self.any.iter().map(told).collect();
        let any = (!any.is_empty()).then(|| any.join(" or "));
        let parts: Vec<_> = series.chain(all).chain(any).collect();
        write!(f, "a guard on {} with {}", self.kind, parts.join(", "))
    }
}

/// A guard that is being read.
struct Reading {
    required: Required,
    fields: Fields,
}

impl Reading {
    fn proportion(&mut self, written: &RequiredProportion) {
        self.required.kind = "proportion".to_owned();
        if written.bad.is_empty() == written.good.is_empty() {
            self.fields.add(
                "proportion",
                "must have exactly one of bad and good; name the counters of one of them",
            );
        }
        self.series("proportion.bad", Form::Counter, &written.bad);
        self.series("proportion.good", Form::Counter, &written.good);
        if written.total.is_empty() {
            self.fields
                .add("proportion.total", "is empty; name the counters of all events");
        }
        self.series("proportion.total", Form::Counter, &written.total);
        self.absolute("proportion.maxAbsolute", &written.max_absolute);
        self.ratio("proportion.maxRatio", &written.max_ratio);
    }

    fn latency(&mut self, written: &RequiredLatency) {
        self.required.kind = "latency".to_owned();
        if written.histogram.is_empty() {
            self.fields
                .add("latency.histogram", "is empty; name the histograms of latencies");
        }
        self.series("latency.histogram", Form::Histogram, &written.histogram);
        self.absolute("latency.maxAbsolute", &written.max_absolute);
        let usual = Decimal::from("1.25");
        let slowdown = match (&written.max_slowdown, &written.max_ratio) {
            (None, None) => Some(&usual),
            (slowdown, _) => slowdown.as_ref(),
        };
        for (field, limit, most, least) in [
            ("latency.maxSlowdown", Limit::Slowdown, slowdown, 1.0),
            ("latency.maxRatio", Limit::Ratio, written.max_ratio.as_ref(), 0.0),
        ] {
            if let Some(most) = most.and_then(|most| self.factor(field, most, least)) {
                self.required.any.insert(limit, most);
            }
        }
    }

    fn fidelity(&mut self, written: &RequiredFidelity) {
        self.required.kind = "fidelity".to_owned();
        self.series("fidelity.histogram", Form::Histogram, &written.histogram);
        if let Some(most) = self.share("fidelity.maxTotalVariation", &written.max_total_variation) {
            self.required.all.insert(Limit::TotalVariation, most);
        }
    }

    fn agreement(&mut self, written: &RequiredAgreement) {
        self.required.kind = "agreement".to_owned();
        self.absolute("agreement.maxAbsolute", &written.max_absolute);
        self.ratio("agreement.maxRatio", &written.max_ratio);
    }

    /// The series that may be counted in a field; any where none are named.
    fn series(&mut self, field: &str, form: Form, texts: &[String]) {
        for text in texts {
            if let Some(text) = self.fields.value(field, canonical(form, text)) {
                self.required.series.entry(field.to_owned()).or_default().insert(text);
            }
        }
    }

    fn absolute(&mut self, field: &str, most: &Fraction) {
        if let Some(most) = self.share(field, most) {
            self.required.all.insert(Limit::Absolute, most);
        }
    }

    fn ratio(&mut self, field: &str, most: &Decimal) {
        if let Some(most) = self.factor(field, most, 0.0) {
            self.required.all.insert(Limit::Ratio, most);
        }
    }

    fn share(&mut self, field: &str, most: &Fraction) -> Option<Billionths> {
        self.fields.value(field, most.value()).map(Billionths::of)
    }

    /// Reads a factor of `least` or more.
    fn factor(&mut self, field: &str, most: &Decimal, least: f64) -> Option<Billionths> {
        let read = match most.value() {
            Ok(factor) if factor < least => Err(format!("{factor} can be met by no guard; write {least} or more")),
            Ok(factor) => Ok(factor),
            Err(error) => Err(error.to_string()),
        };
        self.fields.value(field, read).map(Billionths::of)
    }
}
