//! Whether users' requests have moved to where a promoted variant is weak.
//!
//! After a promotion a comparer may ask, in turn by chance, questions of the golden set and requests that the gateway
//! mirrors. The golden set stays as it is. So where users' requests are answered otherwise more often than its questions,
//! the inputs have moved; where both are, what serves has changed.
//!
//! The two shares are held against each other, in the same intervals and on the same two servers, by the guard's tolerance:
//! the two-sample test of a share, at an error rate of its own. The other way would be to hold each of them against the
//! tolerance by itself. It would take it for evidence that nothing was found of the golden set, and a set and users that
//! both lie near the tolerance for a move. How often the reference answers otherwise than itself is not taken off: it is
//! not known for each source.
//!
//! Every finding begins the test anew, so that its counts are those of the recent past, and the end of a move shows. A
//! detector that drops earlier starts finds no more than it did with them, so it has no more false alarms.
//!
//! Nothing here moves traffic. The guard does, by the pairs of both sources together.

use std::collections::BTreeMap;

use crate::api::{RevisionRef, Verdict};
use crate::evidence::{ArmSamples, Counts, GuardSamples, Observed, Poll, Role, Series};
use crate::guards::{Agreement, GuardReport, Kind, Suite, SuiteConfig};
use crate::judge::{Regime, Tolerance, text};

use super::heard::GuardHeard;

/// Label of the comparer's series that says where a question comes from.
const SOURCE: &str = "source";

/// Its value for questions of the golden set.
const GOLDEN: &str = "golden";

/// Its value for users' requests.
const MIRROR: &str = "mirror";

/// How far the golden set alone must be on the way to harm, where all pairs together have arrived, to be named as well. Where
/// only users' requests differ, it is at the beginning.
const ALSO: f64 = 1.0 / 3.0;

/// Why a guard found harm, where users' requests have moved, in words that go on with its sentence.
pub(super) const INPUTS_MOVED: &str = "; users' requests are answered otherwise more often than the golden set, so \
     the inputs have moved: calibrate anew on recent inputs";

/// Why a guard found harm, where the golden set is answered otherwise as well.
pub(super) const SERVING_CHANGED: &str = "; the golden set alone is answered otherwise more often as well, so what \
     serves has changed, and not the inputs";

/// What is known about users' requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rollout) enum Finding {
    /// None of them are compared.
    NotCompared,
    /// Nothing is known that was not known before.
    Open,
    /// They are answered as alike as questions of the golden set, within the tolerance.
    AsGolden,
    /// They are answered otherwise more often than questions of the golden set, beyond the tolerance.
    Moved {
        /// Pairs of users' requests since the last finding, and those among them that differ.
        users: Counts,
        /// Pairs of the golden set.
        golden: Counts,
    },
}

/// A test that is stored among those of the guards, under a name that no guard can have. It has no part in their verdict.
struct Aside {
    name: String,
    config: SuiteConfig,
}

impl Aside {
    fn new(name: String, tolerance: Tolerance, regime: Regime) -> Self {
        let guards = BTreeMap::from([(name.clone(), Kind::Agreement(Agreement { tolerance }))]);
        Self {
            name,
            config: SuiteConfig { guards, regime },
        }
    }

    fn observe(&self, suite: &mut Suite, poll: &Poll) {
        suite.observe(&self.config, &self.name, poll);
    }

    fn report(&self, suite: &Suite) -> Option<GuardReport> {
        suite.reports(&self.config).pop()
    }

    fn begin_anew(&self, suite: &mut Suite) {
        suite.recall(&self.config, &self.name, &[]);
    }
}

/// The tests of the pairs of one guard, by source.
pub(super) struct Inputs {
    /// The guard.
    guard: String,
    /// Users' requests, held against the golden set.
    apart: Aside,
    /// The golden set alone; `None` where the tolerance is one beside the reference's own share, which is not known for it.
    golden: Option<Aside>,
}

impl Inputs {
    /// The tests of the first guard that counts pairs; `None` in a rollout, and without such a guard.
    pub(super) fn of(config: &SuiteConfig) -> Option<Self> {
        let regime = match config.regime {
            Regime::Rollout { .. } => return None,
            guarding @ Regime::Guarding { .. } => guarding,
        };
        let mut guards = config.guards.iter();
        let (guard, agreement) = guards.find_map(|(name, kind)| Some((name, kind.as_agreement()?)))?;
        let Tolerance { ratio, absolute } = agreement.tolerance;
        let beside_golden = Tolerance {
            ratio: ratio.max(1.0),
            absolute,
        };
        let is_fixed = ratio == 0.0;
        Some(Self {
            guard: guard.clone(),
            apart: Aside::new(format!("{guard}/inputs"), beside_golden, regime),
            golden: is_fixed.then(|| Aside::new(format!("{guard}/golden"), agreement.tolerance, regime)),
        })
    }

    /// The samples of users' requests and of the golden set as those of two arms, with the name of their cursor; `None` where
    /// there are none of either, or of another guard.
    pub(super) fn apart(&self, guard: &str, samples: &GuardSamples) -> Option<(&str, GuardSamples)> {
        if !self.is_of(guard) {
            return None;
        }
        let of = |source: &str| samples.candidate.only(|labels| labels.get(SOURCE) == Some(source));
        let apart = GuardSamples {
            candidate: of(MIRROR),
            baseline: of(GOLDEN),
        };
        let is_there = |arm: &ArmSamples| arm.get(Role::Total).is_some_and(|matrix| !matrix.series.is_empty());
        (is_there(&apart.candidate) && is_there(&apart.baseline)).then_some((self.apart.name.as_str(), apart))
    }

    /// Feeds what was heard of the guards to the tests.
    pub(super) fn observe(&self, suite: &mut Suite, heard: &BTreeMap<String, GuardHeard>) -> Finding {
        let mut found = None;
        for poll in heard.get(&self.guard).map_or(&[][..], |heard| &heard.by_source) {
            if let (Some(alone), Observed::Proportion { baseline, .. }) = (&self.golden, &poll.observed) {
                let observed = Observed::Proportion {
                    candidate: *baseline,
                    baseline: Counts::default(),
                };
                alone.observe(suite, &Poll { observed, ..*poll });
            }
            self.apart.observe(suite, poll);
            let Some(report) = self.apart.report(suite) else {
                continue;
            };
            found = match report.verdict {
                Verdict::Harmful => Some(Finding::Moved {
                    users: report.candidate,
                    golden: report.baseline,
                }),
                Verdict::Healthy => Some(Finding::AsGolden),
                Verdict::Undecided | Verdict::NoData => continue,
            };
            self.apart.begin_anew(suite);
        }
        found.unwrap_or_else(|| self.stands(suite))
    }

    /// What is known without anything new.
    pub(super) fn stands(&self, suite: &Suite) -> Finding {
        if suite.listens(&self.apart.name) {
            Finding::Open
        } else {
            Finding::NotCompared
        }
    }

    /// Whether these are the pairs of a guard.
    pub(super) fn is_of(&self, guard: &str) -> bool {
        self.guard == guard
    }

    /// Whether the golden set alone is answered otherwise beyond the tolerance, where all pairs together are.
    pub(super) fn golden_differs(&self, suite: &Suite) -> bool {
        let report = self.golden.as_ref().and_then(|alone| alone.report(suite));
        report.is_some_and(|report| report.harm_progress >= ALSO)
    }
}

/// Whether the comparers that were scraped have counted any pair of a user's request; `None` where none of them is to.
/// They count from 0, so it says nothing of when that was.
pub(super) fn are_mirrored(samples: &GuardSamples) -> Option<bool> {
    let pairs = &samples.candidate.get(Role::Total)?.series;
    let is_there = |series: &&Series| series.labels.get(SOURCE) == Some(MIRROR) && !series.samples.is_empty();
    let mut of_users = pairs.iter().filter(is_there).peekable();
    of_users.peek()?;
    Some(of_users.any(|series| series.samples.iter().any(|(_, pairs)| *pairs > 0.0)))
}

/// The finding that users' requests have moved, in a sentence.
pub(in crate::rollout) fn moved_in_words(stable: &RevisionRef, users: Counts, golden: Counts) -> String {
    let told = |Counts { n, x }: Counts| {
        let share = text::share(Counts { n, x });
        format!("{} of {} ({share})", text::number(x), text::number(n))
    };
    format!(
        "{} answers users' requests otherwise than the reference in {}, and questions of the golden set in {}: the inputs have \
         moved to where its quantization is weak; calibrate it anew on recent inputs, and renew the golden set",
        stable.describe(),
        told(users),
        told(golden)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARDING: Regime = Regime::Guarding {
        polls_between_false_alarms: 518_400.0,
    };

    fn config(tolerance: Tolerance, regime: Regime) -> SuiteConfig {
        SuiteConfig {
            guards: BTreeMap::from([("agreement".to_owned(), Kind::Agreement(Agreement { tolerance }))]),
            regime,
        }
    }

    /// What is found in so many polls of ten pairs of each source, of which these shares differ.
    fn findings(
        inputs: &Inputs,
        suite: &mut Suite,
        polls: std::ops::Range<i64>,
        (users, golden): (f64, f64),
    ) -> Vec<Finding> {
        let counts = |share: f64, i: i64| {
            let by = |i: i64| (share * 10.0 * i as f64).floor() as u64;
            Counts {
                n: 10,
                x: by(i + 1) - by(i),
            }
        };
        let found = polls.map(|i| {
            let poll = Poll {
                from: i * 15_000,
                through: (i + 1) * 15_000,
                observed: Observed::Proportion {
                    candidate: counts(users, i),
                    baseline: counts(golden, i),
                },
            };
            let counted = GuardHeard {
                by_source: vec![poll],
                ..GuardHeard::default()
            };
            inputs.observe(suite, &BTreeMap::from([("agreement".to_owned(), counted)]))
        });
        found.collect()
    }

    fn moves(findings: &[Finding]) -> bool {
        findings.iter().any(|found| matches!(found, Finding::Moved { .. }))
    }

    #[test]
    fn only_a_difference_between_users_requests_and_the_golden_set_is_a_move() {
        let fixed = Tolerance {
            ratio: 0.0,
            absolute: 0.05,
        };
        for (users, golden, moved) in [
            (0.01, 0.01, false),
            (0.20, 0.01, true),
            (0.06, 0.03, false),
            (0.20, 0.20, false),
            (0.01, 0.20, false),
            (0.40, 0.15, true),
        ] {
            let inputs = Inputs::of(&config(fixed, GUARDING)).unwrap();
            let mut suite = Suite::default();
            let before = findings(&inputs, &mut suite, 0..200, (0.01, 0.01));
            assert!(before.contains(&Finding::AsGolden) && !moves(&before), "{before:?}");
            let found = findings(&inputs, &mut suite, 200..400, (users, golden));
            assert_eq!(moves(&found), moved, "{users} against {golden}: {found:?}");
            let after = findings(&inputs, &mut suite, 400..1_000, (0.01, 0.01));
            let last = after.iter().rfind(|found| **found != Finding::Open);
            assert_eq!(last, Some(&Finding::AsGolden), "what has ended shows");
        }
    }

    #[test]
    fn the_counts_of_a_finding_are_those_since_the_one_before() {
        let fixed = Tolerance {
            ratio: 0.0,
            absolute: 0.05,
        };
        let inputs = Inputs::of(&config(fixed, GUARDING)).unwrap();
        let mut suite = Suite::default();
        findings(&inputs, &mut suite, 0..200, (0.01, 0.01));
        let found = findings(&inputs, &mut suite, 200..400, (0.2, 0.01));
        let moved = found.iter().find_map(|found| match found {
            Finding::Moved { users, golden } => Some((*users, *golden)),
            _ => None,
        });
        let (users, golden) = moved.unwrap();
        assert!(users.n < 1_500 && users.n == golden.n, "{users:?} {golden:?}");
        assert!(users.x > 5 * golden.x, "{users:?} {golden:?}");
    }

    #[test]
    fn the_golden_set_is_named_where_it_is_answered_otherwise_itself() {
        let fixed = Tolerance {
            ratio: 0.0,
            absolute: 0.05,
        };
        let inputs = Inputs::of(&config(fixed, GUARDING)).unwrap();
        for (users, golden, differs) in [
            (0.01, 0.01, false),
            (0.20, 0.01, false),
            (0.20, 0.04, false),
            (0.20, 0.20, true),
            (0.01, 0.20, true),
        ] {
            let mut suite = Suite::default();
            findings(&inputs, &mut suite, 0..200, (0.01, 0.01));
            findings(&inputs, &mut suite, 200..250, (users, golden));
            assert_eq!(inputs.golden_differs(&suite), differs, "{users} and {golden}");
        }
    }

    #[test]
    fn users_requests_are_watched_after_a_promotion_and_beside_the_references_own_noise() {
        let rollout = Regime::Rollout {
            false_rollback: 0.05,
            false_promotion: 0.05,
        };
        let relative = Tolerance {
            ratio: 1.5,
            absolute: 0.0,
        };
        assert!(Inputs::of(&config(relative, rollout)).is_none());
        let inputs = Inputs::of(&config(relative, GUARDING)).unwrap();
        assert!(
            inputs.golden.is_none(),
            "what the reference does by itself is not known for the golden set"
        );
        let mut suite = Suite::default();
        assert_eq!(inputs.stands(&suite), Finding::NotCompared);
        assert!(!moves(&findings(&inputs, &mut suite, 0..200, (0.11, 0.1))));
        assert!(moves(&findings(&inputs, &mut suite, 200..400, (0.3, 0.1))));
    }
}
