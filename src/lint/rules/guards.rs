//! Rules on what each guard asks: selectors, metrics, tolerances, budgets.

use crate::api::{ArmLabel, ArmMatchers, Guard, Latency, LatencyUnit, QuantizedModelSpec};
use crate::evidence::promql::{Written, written};
use crate::evidence::{Form, REVISION};
use crate::guards::{self, Selector};
use crate::judge::Tolerance;
use crate::model::presets;

use super::super::document::Model;
use super::super::rule::{
    ARM_LABEL_IN_SELECTOR, ARMS_NOT_TOLD_APART, AT_LOAD_MISSING, BUDGET_BETWEEN_BOUNDS, Finding, LATENCY_UNIT,
    NEVER_HEALTHY, ONLY_PLAIN_RULES, PROMQL, Rule, SHARE_OF_NOTHING, Severity, WATCHES_NOTHING, WRONG_METRIC_TYPE,
};
use super::super::surroundings::Surroundings;
use super::bounds;

/// Beginnings of metrics that describe machines and Kubernetes, and not what a model does.
const NOT_OF_THE_MODEL: [&str; 9] = [
    "node_",
    "kube_",
    "machine_",
    "kubelet_",
    "apiserver_",
    "etcd_",
    "prometheus_",
    "scrape_",
    "ALERTS",
];

/// Part of a name that says in which unit a histogram counts.
const UNITS: [(&str, f64); 6] = [
    ("_milliseconds", 1e-3),
    ("_ms", 1e-3),
    ("_microseconds", 1e-6),
    ("_us", 1e-6),
    ("_nanoseconds", 1e-9),
    ("_seconds", 1.0),
];

pub(super) fn check(model: &Model, surroundings: &Surroundings, out: &mut Vec<Finding>) {
    for guard in &model.spec.guards {
        let mut guard_check = GuardCheck {
            model,
            guard,
            field: format!("spec.guards[{}]", guard.name),
            out,
        };
        guard_check.selectors();
        guard_check.bounds();
        told_apart(
            model,
            &format!("spec.guards[{}].armLabels", guard.name),
            &guard.arm_labels,
            guard_check.out,
        );
        guard_check.tolerance();
        if let Some(latency) = &guard.latency {
            guard_check.latency(latency, surroundings);
        }
    }
    if let Some(prometheus) = &model.spec.prometheus {
        told_apart(model, "spec.prometheus.armLabels", &prometheus.arm_labels, out);
    }
    let all = presets::guards(&model.spec);
    let is_plain_rule = |guard: &Guard| guards::written(guard).is_some_and(|kind| kind.is_plain_rule());
    if all.iter().all(is_plain_rule) {
        let field = if model.spec.guards.is_empty() {
            "spec.preset"
        } else {
            "spec.guards"
        };
        out.push(model.finding(
            &ONLY_PLAIN_RULES,
            field,
            "every guard here is a plain rule of consecutive polls, which has no error rate: falseRollback and falsePromotion hold for none of them; add a proportion, latency or agreement guard".to_owned(),
        ));
    }
    let comparer = model.spec.comparer.as_ref();
    let counts = |guard: &Guard| guards::resolve(guard).is_ok_and(|guard| guard.kind.counts_requests());
    if comparer.is_some_and(|comparer| comparer.share_of_arm.is_some()) && !all.iter().any(counts) {
        out.push(model.finding(
            &SHARE_OF_NOTHING,
            "spec.comparer.shareOfArm",
            "no guard counts the requests of an arm, so nobody knows what its share is, and comparer.rate alone holds; add a proportion guard on errors or a latency guard, or lower comparer.rate".to_owned(),
        ));
    }
}

struct GuardCheck<'a> {
    model: &'a Model,
    guard: &'a Guard,
    field: String,
    out: &'a mut Vec<Finding>,
}

impl GuardCheck<'_> {
    fn add(&mut self, rule: &'static Rule, field: &str, message: String) -> &mut Finding {
        let field = format!("{}.{field}", self.field);
        self.out.push(self.model.finding(rule, &field, message));
        let last = self.out.len() - 1;
        &mut self.out[last]
    }

    fn selectors(&mut self) {
        let constant = guards::written(self.guard).and_then(|guard| guard.constant());
        if let Some((field, why)) = constant {
            self.add(&WATCHES_NOTHING, field, why).severity = Severity::Error;
        }
        for asked in guards::asks(self.guard) {
            match asked.usable().and_then(|()| written(&asked.text)) {
                Ok(written) => self.selector(&asked, &written),
                Err(error) => {
                    self.add(&PROMQL, asked.field, error.to_string());
                }
            }
        }
    }

    fn selector(&mut self, asked: &Selector, selectors: &[Written]) {
        let (field, text, form) = (asked.field, &asked.text, asked.form());
        let foreign = |s: &Written| s.metric.as_deref().is_some_and(not_of_the_model);
        if selectors.is_empty() {
            self.add(
                &WATCHES_NOTHING,
                field,
                format!("`{text}` has no selector: its value is the same whatever a variant does; ask for a metric of the model's pods"),
            );
        } else if selectors.iter().all(foreign) {
            let metric = selectors[0].metric.clone().unwrap_or_default();
            let what = if metric == "up" {
                "says whether a target can be scraped; a pod that cannot start is noticed without it"
            } else {
                "tells of machines or of Kubernetes, not of what the model answers"
            };
            self.add(
                &WATCHES_NOTHING,
                field,
                format!("`{metric}` {what}: no quantization changes it; watch a metric that the model's server counts"),
            );
        }
        let labels = arm_labels(&self.model.spec, self.guard);
        for label in selectors.iter().flat_map(|s| &s.labels) {
            if labels.contains(label) {
                self.add(
                    &ARM_LABEL_IN_SELECTOR,
                    field,
                    format!("`{text}` has a matcher on {label}, which guardbit adds for each arm: with both at once an arm may match nothing; leave it out"),
                );
            } else if form == Form::Histogram && label == "le" {
                self.add(
                    &WRONG_METRIC_TYPE,
                    field,
                    format!("`{text}` has a matcher on le, which leaves one bucket of the histogram; leave it out, and set a budget instead"),
                );
            }
        }
        let name = selectors.first().and_then(|s| s.metric.as_deref()).unwrap_or_default();
        let ending = |endings: &[&str]| endings.iter().find(|e| name.ends_with(**e)).map(|e| (*e).to_owned());
        match form {
            Form::Histogram => {
                if let Some(end) = ending(&["_sum", "_count", "_total"]) {
                    self.add(
                        &WRONG_METRIC_TYPE,
                        field,
                        format!("`{name}` ends in {end} as a counter does, and a histogram is needed: write its name without {end}, as in {}", name.trim_end_matches(end.as_str())),
                    );
                }
            }
            Form::Counter => {
                if let Some(end) = ending(&["_ratio", "_percent", "_bytes", "_celsius", "_info", "_created"]) {
                    self.add(
                        &WRONG_METRIC_TYPE,
                        field,
                        format!("`{name}` ends in {end} as a gauge does, and a counter is needed, which only rises: use a query guard for it, or a counter such as http_requests_total"),
                    );
                }
            }
            Form::Expression => {}
        }
    }

    fn bounds(&mut self) {
        let Ok(guard) = guards::resolve(self.guard) else { return };
        let query = guard.kind.as_query();
        if let Some((min, max)) = query.and_then(|query| query.min.zip(query.max))
            && min > max
        {
            self.add(
                &NEVER_HEALTHY,
                "query.min",
                format!("no value is at least {min} and at most {max}: every candidate would be harmful; exchange min and max"),
            );
        }
    }

    /// A candidate that is as good as its baseline must lie inside the tolerance, or its health can never be shown.
    fn tolerance(&mut self) {
        let Some((field, Tolerance { ratio, absolute })) =
            guards::written(self.guard).and_then(|guard| guard.tolerance())
        else {
            return;
        };
        if absolute <= 0.0 && ratio <= 1.0 {
            let (severity, why) = if ratio >= 1.0 {
                (
                    Severity::Error,
                    "a candidate that is as good as its baseline lies at the very edge".to_owned(),
                )
            } else {
                (
                    Severity::Warning,
                    format!(
                        "only a candidate with less than {ratio} × the baseline's share passes, and any other is rolled back and rejected"
                    ),
                )
            };
            self.add(
                &NEVER_HEALTHY,
                field,
                format!("nothing beyond the baseline is tolerated: {why}; set absolute, such as \"0.5%\" (and rollout.benefit where it must be better)"),
            )
            .severity = severity;
        }
    }

    fn latency(&mut self, latency: &Latency, surroundings: &Surroundings) {
        if latency.at_load.is_none() {
            self.add(
                &AT_LOAD_MISSING,
                "latency",
                "a canary that carries little is always fast: with atLoad: \"80%\" health counts only from polls in which one of its pods carries 80% of what a pod of stable carries".to_owned(),
            );
        }
        let names = written(&latency.histogram).unwrap_or_default();
        let Some(metric) = names.into_iter().next().and_then(|w| w.metric) else {
            return;
        };
        let counted = match latency.unit {
            LatencyUnit::Seconds => 1.0,
            LatencyUnit::Milliseconds => 1e-3,
        };
        let plain = metric.strip_suffix("_bucket").unwrap_or(&metric);
        if let Some((unit, size)) = UNITS.iter().find(|(unit, _)| plain.ends_with(unit))
            && *size != counted
        {
            let help = match *size {
                1e-3 => "set unit: Milliseconds".to_owned(),
                1.0 => "leave unit out".to_owned(),
                _ => "guardbit knows Seconds and Milliseconds; use a histogram in one of them".to_owned(),
            };
            let field = if self.model.writes(&format!("{}.latency.unit", self.field)) {
                "latency.unit"
            } else {
                "latency.histogram"
            };
            self.add(
                &LATENCY_UNIT,
                field,
                format!("`{metric}` ends in {unit}, and the guard takes it for {}: its budget would be read wrongly; {help}", latency.unit),
            );
        }
        let seen = surroundings
            .seen
            .as_ref()
            .and_then(|s| s.guards.get(&self.guard.name)?.get("latency.histogram"));
        let real = seen.map(|m| m.bounds.as_slice()).filter(|b| !b.is_empty());
        if let Some(bounds) = real.or_else(|| bounds::known(&metric)) {
            self.budget(latency, &metric, bounds, counted);
        }
    }

    fn budget(&mut self, latency: &Latency, metric: &str, bounds: &[f64], counted: f64) {
        let Some(budget) = &latency.budget else { return };
        let Ok(within) = budget.within.millis().map(|ms| ms as f64 / 1000.0) else {
            return;
        };
        let seconds: Vec<f64> = bounds.iter().map(|bound| bound * counted).collect();
        if seconds.iter().any(|bound| (bound / within - 1.0).abs() < 1e-6) {
            return;
        }
        let above = seconds.iter().copied().find(|bound| *bound > within);
        let Some(below) = seconds.iter().copied().rfind(|bound| *bound < within) else {
            self.add(
                &BUDGET_BETWEEN_BOUNDS,
                "latency.budget.within",
                format!(
                    "no bucket bound of `{metric}` is at or below {}: the budget cannot be tested; add a bucket there, or write within: {}",
                    budget.within,
                    duration(above.unwrap_or(within))
                ),
            )
            .severity = Severity::Error;
            return;
        };
        let choices: Vec<_> = [Some(below), above].into_iter().flatten().map(duration).collect();
        self.add(
            &BUDGET_BETWEEN_BOUNDS,
            "latency.budget.within",
            format!(
                "{} is no bucket bound of `{metric}`: the budget is tested at {}, the next bound below, which is stricter; write within: {}, or add a bucket at {}",
                budget.within,
                duration(below),
                choices.join(" or "),
                budget.within
            ),
        );
    }
}

/// Labels whose values are the same for every arm give all arms the same series.
fn told_apart(model: &Model, field: &str, labels: &[ArmLabel], out: &mut Vec<Finding>) {
    if !labels.is_empty() && !labels.iter().any(ArmLabel::differs) {
        out.push(model.finding(
            &ARMS_NOT_TOLD_APART,
            field,
            "none of these values differs from arm to arm, so the candidate would be compared with itself; write {deployment}, {service}, {revision} or {pod} into one of them".to_owned(),
        ));
    }
    for label in labels {
        let of_pods = label.label.to_lowercase().contains("pod");
        if of_pods && matches!(label.value.as_str(), "{deployment}" | "{service}") {
            let why = format!(
                "{} holds names of pods, which are longer than that of their Deployment, so no series would match; write {{pod}}, which stands for any pod of the arm",
                label.label
            );
            out.push(Finding {
                severity: Severity::Error,
                ..model.finding(&ARMS_NOT_TOLD_APART, field, why)
            });
        }
    }
}

fn not_of_the_model(metric: &str) -> bool {
    metric == "up" || NOT_OF_THE_MODEL.iter().any(|beginning| metric.starts_with(beginning))
}

/// Labels that guardbit sets for the arms of a guard.
pub(super) fn arm_labels(spec: &QuantizedModelSpec, guard: &Guard) -> Vec<String> {
    if guards::counts_pairs(guard) {
        return vec!["guardbit_model".to_owned(), REVISION.to_owned()];
    }
    let shared = spec.prometheus.as_ref();
    let how = guard
        .arm_matchers
        .or(shared.and_then(|p| p.arm_matchers))
        .unwrap_or_default();
    match how {
        ArmMatchers::Pod => vec!["pod".to_owned()],
        ArmMatchers::Revision => vec![REVISION.to_owned()],
        ArmMatchers::Labels => {
            let labels = match guard.arm_matchers {
                Some(_) => &guard.arm_labels[..],
                None => shared.map_or(&[][..], |p| &p.arm_labels),
            };
            labels.iter().map(|l| l.label.clone()).collect()
        }
    }
}

/// A length of time as the API writes it.
fn duration(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round();
    if millis >= 1000.0 && millis % 1000.0 == 0.0 {
        format!("{}s", millis / 1000.0)
    } else {
        format!("{millis}ms")
    }
}
