//! Metrics of every model. They are kept small, because there may be ten thousand models, and are written out only when
//! scraped.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::api::{
    ActKind, ActState, Action, ApprovalGate, Condition, GuardStatus, QuantizedModelStatus, Role, Verdict, condition,
};
use crate::guards::{GuardReport, Numbers};

/// Roles whose weights are reported.
const ROLES: [Role; 3] = [Role::Stable, Role::Candidate, Role::Reference];

const VERDICTS: [Verdict; 4] = [Verdict::Healthy, Verdict::Harmful, Verdict::Undecided, Verdict::NoData];

/// What is reported of every guard: name, meaning, and the number.
const FIGURES: [Figure; 4] = [
    (
        "guard_evidence",
        "Evidence of harm of a guard; harmful at guardbit_guard_evidence_threshold.",
        |numbers| numbers.evidence,
    ),
    (
        "guard_evidence_threshold",
        "Where evidence of harm is enough.",
        |numbers| numbers.threshold,
    ),
    (
        "guard_health",
        "Evidence of health of a guard; healthy at guardbit_guard_health_threshold.",
        |numbers| numbers.health,
    ),
    (
        "guard_health_threshold",
        "Where evidence of health is enough.",
        |numbers| numbers.health_threshold,
    ),
];

type Figure = (&'static str, &'static str, fn(&Numbers) -> f64);

/// All models, by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Models(Mutex<Namespaces>);

type Namespaces = BTreeMap<Box<str>, BTreeMap<Box<str>, Told>>;

/// What is reported of one model.
#[derive(Debug, Default)]
struct Told {
    /// Weights in percent, in the order of [`ROLES`]; `None` before the first status.
    weights: Option<[i64; ROLES.len()]>,
    /// Their statuses, in the order of [`condition::ALL`].
    conditions: [Option<i8>; condition::ALL.len()],
    /// Time in seconds since 1970.
    calibration_expires: Option<i64>,
    guards: Box<[ToldGuard]>,
    decisions: Vec<(Action, u64)>,
    /// Boxed, because few models have records.
    records: Option<Box<Records>>,
    /// Boxed, because few models are governed.
    governed: Option<Box<Governed>>,
}

/// What is reported of what policies ask of a model, and of what people want of it.
#[derive(Debug, Default, PartialEq)]
struct Governed {
    /// How many acts of each kind are in each state, in the order in which they are told.
    acts: Vec<((ActKind, ActState), i64)>,
    /// What awaits approval, and since when, in seconds since 1970.
    awaiting: Option<(Option<ApprovalGate>, i64)>,
    /// Where it falls short of rules that hold, and of those that are only told; `None` where no policy selects it.
    findings: Option<[i64; 2]>,
    /// Whether a policy freezes it.
    frozen: Option<bool>,
}

/// What is reported of the records of a model.
#[derive(Debug, Default)]
struct Records {
    /// Records that this process has written.
    written: u64,
    pending: i64,
    /// Records that exist; `None` until they were counted.
    kept: Option<i64>,
}

#[derive(Debug)]
struct ToldGuard {
    name: Box<str>,
    /// The numbers as they were judged last; `None` until this process has judged the guard.
    numbers: Option<Numbers>,
    /// `None` if this release does not know the word.
    verdict: Option<Verdict>,
}

impl Models {
    /// Counts a decision that was carried out.
    pub(super) fn decided(&self, namespace: &str, name: &str, action: Action) {
        self.change(namespace, name, |told| {
            match told.decisions.iter_mut().find(|(known, _)| *known == action) {
                Some((_, count)) => *count += 1,
                None => told.decisions.push((action, 1)),
            }
        });
    }

    /// Counts a record that was written.
    pub(super) fn recorded(&self, namespace: &str, name: &str) {
        self.change(namespace, name, |told| {
            let records = told.records.get_or_insert_default();
            records.written += 1;
            records.kept = records.kept.map(|kept| kept + 1);
        });
    }

    /// Notes how many records of a model exist.
    pub(super) fn records_kept(&self, namespace: &str, name: &str, kept: usize) {
        let kept = i64::try_from(kept).unwrap_or(i64::MAX);
        self.change(namespace, name, |told| {
            told.records.get_or_insert_default().kept = Some(kept)
        });
    }

    /// Notes that so many records of a model were deleted.
    pub(super) fn records_deleted(&self, namespace: &str, name: &str, deleted: usize) {
        let deleted = i64::try_from(deleted).unwrap_or(i64::MAX);
        self.change(namespace, name, |told| {
            if let Some(records) = &mut told.records {
                records.kept = records.kept.map(|kept| kept - deleted);
            }
        });
    }

    /// Notes how many records of a model are pending.
    pub(super) fn records_pending(&self, namespace: &str, name: &str, pending: usize) {
        let pending = i64::try_from(pending).unwrap_or(i64::MAX);
        self.change(namespace, name, |told| {
            told.records.get_or_insert_default().pending = pending
        });
    }

    /// Notes what became of the acts of a model, and whether a policy freezes it.
    pub(super) fn people(&self, namespace: &str, name: &str, acts: &[(ActKind, ActState)], frozen: Option<bool>) {
        let mut counts: Vec<((ActKind, ActState), i64)> = Vec::new();
        for act in acts {
            match counts.iter_mut().find(|(known, _)| known == act) {
                Some((_, count)) => *count += 1,
                None => counts.push((*act, 1)),
            }
        }
        self.change(namespace, name, |told| {
            told.govern(|governed| (governed.acts, governed.frozen) = (counts, frozen));
        });
    }

    /// Notes what a model's spec says.
    pub(super) fn calibration_expires(&self, namespace: &str, name: &str, at: Option<Timestamp>) {
        let expires = at.map(Timestamp::as_second);
        self.change(namespace, name, |told| told.calibration_expires = expires);
    }

    /// Notes what a model's status says, and how its guards were judged.
    pub(super) fn status(&self, namespace: &str, name: &str, status: &QuantizedModelStatus, judged: &[GuardReport]) {
        let weight = |role| {
            let arms = status.arms.iter().filter(|a| a.role == role);
            arms.map(|a| i64::from(a.weight)).sum()
        };
        self.change(namespace, name, |told| {
            told.weights = Some(ROLES.map(weight));
            told.guards = status.guards.iter().map(|guard| told.guard(guard, judged)).collect();
            told.govern(|governed| {
                let awaiting = status.awaiting.as_ref();
                governed.awaiting = awaiting.map(|of| (of.before.known(), of.since.0.as_second()));
                governed.findings = status.policy.as_ref().map(|policy| {
                    [true, false].map(|enforced| {
                        let of_kind = policy.findings.iter().filter(|found| found.enforced == enforced);
                        i64::try_from(of_kind.count()).unwrap_or(i64::MAX)
                    })
                });
            });
        });
        self.conditions(namespace, name, &status.conditions);
    }

    /// Notes the conditions of a model.
    pub(super) fn conditions(&self, namespace: &str, name: &str, conditions: &[Condition]) {
        let truth_of = |kind| {
            let condition = conditions.iter().find(|c| c.type_ == kind)?;
            Some(truth(&condition.status))
        };
        self.change(namespace, name, |told| {
            told.conditions = condition::ALL.map(truth_of);
        });
    }

    /// Forgets how the guards of a model were judged: its figures of before would look like those of now.
    pub(super) fn forget_guards(&self, namespace: &str, name: &str) {
        self.change(namespace, name, |told| told.guards = Box::default());
    }

    /// Forgets a model that is gone.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        let mut namespaces = self.lock();
        if let Some(models) = namespaces.get_mut(namespace) {
            models.remove(name);
            if models.is_empty() {
                namespaces.remove(namespace);
            }
        }
    }

    fn change(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Told)) {
        let mut namespaces = self.lock();
        if let Some(told) = namespaces.get_mut(namespace).and_then(|models| models.get_mut(name)) {
            return change(told);
        }
        let models = namespaces.entry(namespace.into()).or_default();
        change(models.entry(name.into()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, Namespaces> {
        self.0.lock()
    }
}

impl Told {
    /// Changes what is reported of governance. Nothing is kept of a model of which nothing is.
    fn govern(&mut self, change: impl FnOnce(&mut Governed)) {
        let governed = self.governed.get_or_insert_default();
        change(governed);
        if **governed == Governed::default() {
            self.governed = None;
        }
    }

    /// What is to be reported of a guard. The status writes its figures for people, so the numbers are those of its
    /// report. A reconcile that judges nothing leaves them as they are.
    fn guard(&self, guard: &GuardStatus, judged: &[GuardReport]) -> ToldGuard {
        let report = judged.iter().find(|report| report.name == guard.name);
        let before = || self.guards.iter().find(|told| *told.name == *guard.name)?.numbers;
        ToldGuard {
            name: guard.name.as_str().into(),
            numbers: report.map(|report| report.numbers).or_else(before),
            verdict: guard.verdict.known(),
        }
    }
}

/// A series of a model: its labels but namespace and name, and its value.
type Series<V> = (Vec<(&'static str, String)>, V);

/// Writes a family: the series that `series` returns for every model.
fn family<V>(
    mut encoder: MetricEncoder<'_>,
    namespaces: &Namespaces,
    series: impl Fn(&Told) -> Vec<Series<V>>,
    write: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
) -> fmt::Result {
    for (namespace, models) in namespaces {
        for (name, told) in models {
            for (own, value) in series(told) {
                let mut labels = vec![("namespace", &**namespace), ("name", &**name)];
                labels.extend(own.iter().map(|(label, value)| (*label, value.as_str())));
                write(encoder.encode_family(&labels)?, value)?;
            }
        }
    }
    Ok(())
}

impl Collector for Models {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let models = &*self.lock();
        let decisions = |told: &Told| {
            let counts = told.decisions.iter();
            counts
                .map(|(action, n)| (vec![("action", action.to_string())], *n))
                .collect()
        };
        let to = encoder.encode_descriptor("decisions", "Decisions, by action.", None, MetricType::Counter)?;
        family(to, models, decisions, |mut to, n| {
            to.encode_counter::<NoLabelSet, _, f64>(&n, None)
        })?;
        let to = encoder.encode_descriptor("records", "Records that were written.", None, MetricType::Counter)?;
        let written = |told: &Told| {
            told.records
                .iter()
                .map(|records| (Vec::new(), records.written))
                .collect()
        };
        family(to, models, written, |mut to, n| {
            to.encode_counter::<NoLabelSet, _, f64>(&n, None)
        })?;
        let mut gauge = |name, help, series: &dyn Fn(&Told) -> Vec<Series<i64>>| {
            let to = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            family(to, models, series, |mut to, value| to.encode_gauge(&value))
        };
        gauge(
            "guard_verdict",
            "1 for the verdict of a guard, 0 for the others.",
            &|told| {
                let verdicts = told.guards.iter().flat_map(|guard| {
                    VERDICTS.map(|verdict| {
                        let labels = vec![("guard", guard.name.to_string()), ("verdict", verdict.to_string())];
                        (labels, i64::from(guard.verdict == Some(verdict)))
                    })
                });
                verdicts.collect()
            },
        )?;
        gauge(
            "traffic_weight_percent",
            "Share of traffic by role, in percent.",
            &|told| {
                let weights = ROLES.iter().zip(told.weights.into_iter().flatten());
                weights
                    .map(|(role, weight)| (vec![("role", role.to_string())], weight))
                    .collect()
            },
        )?;
        gauge(
            "condition",
            "Conditions of models: 1 is True, 0 is False, -1 is Unknown.",
            &|told| {
                let known = condition::ALL.iter().zip(told.conditions);
                let known =
                    known.filter_map(|(kind, truth)| Some((vec![("type", (*kind).to_owned())], i64::from(truth?))));
                known.collect()
            },
        )?;
        gauge(
            "records_pending",
            "Records of what was decided that do not exist yet.",
            &|told| {
                told.records
                    .iter()
                    .map(|records| (Vec::new(), records.pending))
                    .collect()
            },
        )?;
        gauge("records_kept", "Records that exist.", &|told| {
            let kept = told.records.iter().filter_map(|records| records.kept);
            kept.map(|kept| (Vec::new(), kept)).collect()
        })?;
        gauge(
            "acts",
            "Actions of people that guardbit keeps, by action and state.",
            &|told| {
                let governed = told.governed.iter();
                let acts = governed.flat_map(|governed| &governed.acts);
                acts.map(|((kind, state), count)| {
                    let labels = vec![("action", kind.to_string()), ("state", state.to_string())];
                    (labels, *count)
                })
                .collect()
            },
        )?;
        gauge(
            "awaiting_approval_since_timestamp_seconds",
            "Since when a change awaits approval, by what waits for it.",
            &|told| {
                let governed = told.governed.iter();
                let awaiting = governed.filter_map(|governed| governed.awaiting);
                awaiting
                    .map(|(before, since)| {
                        let before = before.map_or_else(|| "Unknown".to_owned(), |before| before.to_string());
                        (vec![("before", before)], since)
                    })
                    .collect()
            },
        )?;
        gauge(
            "policy_findings",
            "Where a model falls short of policies: of rules that hold, and of those that are only told.",
            &|told| {
                let governed = told.governed.iter();
                let findings = governed.filter_map(|governed| governed.findings).flat_map(|findings| {
                    [true, false]
                        .into_iter()
                        .zip(findings)
                        .map(|(enforced, count)| (vec![("enforced", enforced.to_string())], count))
                });
                findings.collect()
            },
        )?;
        gauge("frozen", "1 while a freeze of a policy holds rises back.", &|told| {
            let governed = told.governed.iter();
            let frozen = governed.filter_map(|governed| governed.frozen);
            frozen.map(|frozen| (Vec::new(), i64::from(frozen))).collect()
        })?;
        gauge(
            "calibration_expiry_timestamp_seconds",
            "When the first calibration up to the target will be older than its maxAge.",
            &|told| {
                told.calibration_expires
                    .map(|at| (Vec::new(), at))
                    .into_iter()
                    .collect()
            },
        )?;
        for (name, help, of) in FIGURES {
            let figures = |told: &Told| {
                let guards = told.guards.iter();
                guards
                    .filter_map(|g| Some((vec![("guard", g.name.to_string())], of(g.numbers.as_ref()?))))
                    .collect()
            };
            let to = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            family(to, models, figures, |mut to, value| to.encode_gauge(&value))?;
        }
        Ok(())
    }
}

/// A condition's status as a number.
fn truth(status: &str) -> i8 {
    match status {
        "True" => 1,
        "False" => 0,
        _ => -1,
    }
}
