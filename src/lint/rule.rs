//! What identifies a rule: a stable id, how bad a breach is, what it is in a sentence. docs/lint.md explains each;
//! a test holds the two against each other.

use serde::Serialize;

use super::yaml::Position;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It works, and probably not as it was meant.
    Warning,
    /// It is refused, or cannot work.
    Error,
}

impl Severity {
    /// In lower case, as compilers and SARIF write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Never changes.
    pub id: &'static str,
    /// How bad a breach is, unless its message says why it is worse or better.
    pub severity: Severity,
    /// What it finds.
    pub summary: &'static str,
}

/// A breach of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How bad it is.
    pub severity: Severity,
    /// Path of the field, such as `spec.guards[errors].proportion.total`; empty where it is the file.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Finding {
    pub(super) fn new(rule: &'static Rule, field: impl Into<String>, message: String, at: Position) -> Self {
        Self {
            rule,
            severity: rule.severity,
            field: field.into(),
            message,
            line: at.line,
            column: at.column,
        }
    }
}

impl Rule {
    /// Its section of docs/lint.md, without the heading.
    pub fn help(&self) -> &'static str {
        let page = include_str!("../../docs/lint.md");
        let heading = format!("\n## {}\n", self.id);
        let section = page.split(&heading).nth(1).unwrap_or_default();
        section.split("\n## ").next().unwrap_or_default().trim()
    }
}

macro_rules! rules {
    ($($name:ident $severity:ident $id:literal $summary:literal)*) => {
        $(pub(super) static $name: Rule = Rule { id: $id, severity: Severity::$severity, summary: $summary };)*

        /// All rules.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    YAML Error "yaml" "the file is no YAML, or a key stands in it twice"
    SCHEMA Error "schema" "a field is missing, or holds what the API server refuses"
    UNKNOWN_FIELD Error "unknown-field" "a field that the API does not have"
    API_RULE Error "api-rule" "a rule of the API between fields is broken"
    UNUSABLE_VALUE Error "unusable-value" "the API server takes it, and guardbit cannot use it"
    PROMQL Error "promql" "a selector or expression that guardbit cannot ask for"
    ARM_LABEL_IN_SELECTOR Warning "arm-label-in-selector" "a selector names a label that guardbit sets for each arm"
    ARMS_NOT_TOLD_APART Error "arms-not-told-apart" "labels that are the same for every arm"
    WATCHES_NOTHING Warning "watches-nothing" "a guard watches nothing that a quantization can change"
    WRONG_METRIC_TYPE Warning "wrong-metric-type" "a guard counts a metric of another type than it needs"
    LATENCY_UNIT Warning "latency-unit" "the name of a histogram speaks of another unit than its guard"
    BUDGET_BETWEEN_BOUNDS Warning "budget-between-bounds" "a latency budget is no bucket bound of its histogram"
    NEVER_HEALTHY Error "never-healthy" "a tolerance within which health can never be shown"
    AT_LOAD_MISSING Note "at-load-missing" "latency is judged while a canary carries little"
    AT_LOAD_UNREACHABLE Error "at-load-unreachable" "no step brings a candidate pod to the load that atLoad asks for"
    NO_FIDELITY_GUARD Warning "no-fidelity-guard" "a quantized ladder whose outputs nobody compares"
    PAIRS_NOT_ASKED Note "pairs-not-asked" "an agreement guard, and no comparer that asks its pairs"
    PAIRS_NOT_JUDGED Warning "pairs-not-judged" "a comparer, and no guard that judges its pairs"
    PAIRS_BUDGET Warning "pairs-budget" "a budget of pairs that is spent before the last step can end"
    PAIRS_SHADOW Warning "pairs-shadow" "a shadow stage that does not end before the deadline"
    GOLDEN_DIGEST Warning "golden-digest" "the digest of the golden set is a placeholder"
    QUESTIONS_AMONG_REQUESTS Note "questions-among-requests" "a latency guard counts the comparer's questions"
    TOLERANCE_OF_PRECISION Note "tolerance-of-precision" "a tolerance far from what so many bits do to the next token"
    ONLY_PLAIN_RULES Warning "only-plain-rules" "no guard has an error rate"
    SHARE_OF_NOTHING Warning "share-of-nothing" "shareOfArm limits nothing, because no guard counts requests"
    NO_HOLDOUT Warning "no-holdout" "after the promotion there is nothing to compare with"
    DEADLINE_TOO_SHORT Error "deadline-too-short" "the steps take longer than the deadline allows"
    HOLD_SHORTER_THAN_LOOKS Note "hold-shorter-than-looks" "a step is held for longer than its hold says"
    SLOW_TO_DECIDE Warning "slow-to-decide" "with this traffic a good candidate misses the deadline"
    LATENCY_SCALE Note "latency-scale" "how much slower a candidate may be within its tolerance"
    HOLD_WHEN_UNDECIDED Warning "hold-when-undecided" "an undecided candidate keeps its traffic, and nobody is asked"
    LAX_ERROR_RATE Warning "lax-error-rate" "a verdict that is wrong too often"
    CALIBRATION_MISSING Warning "calibration-missing" "a calibrated quantization without its calibration"
    CALIBRATION_STALE Warning "calibration-stale" "a calibration that is, or will be, older than its maxAge"
    CALIBRATION_DATES Warning "calibration-dates" "dates of a calibration that cannot be right"
    VALIDATION_GATE Error "validation-gate" "offline validation dropped by more than it may"
    PRECISION_MISMATCH Warning "precision-mismatch" "precision and quantization say different things"
    QUANTIZED_REFERENCE Warning "quantized-reference" "the reference is quantized itself"
    SAME_WEIGHTS Warning "same-weights" "two variants have the same weights"
    WEIGHTS_NOT_MOUNTED Error "weights-not-mounted" "weights that are to be verified, and that the server would not read there"
    WEIGHTS_WRITABLE Warning "weights-writable" "weights that are to be verified, where the server may write"
    SERVICE_NAME Note "service-name" "the Service has another name than its model"
    SEVERAL_MIRRORS Warning "several-mirrors" "two mirrors on one rule, which not every gateway takes"
    POLICY_FLOOR Error "policy-floor" "a variant of fewer bits, or quantized otherwise, than policies permit"
    POLICY_ROLLOUT Error "policy-rollout" "settings of a rollout that are looser than policies permit"
    POLICY_GUARDS Error "policy-guards" "a guard that policies ask for is missing or too loose"
    POLICY_CALIBRATION Error "policy-calibration" "a calibration that is older or smaller than policies permit"
    POLICY_VALIDATION Error "policy-validation" "offline quality that policies ask for was not shown"
    POLICY_PROMETHEUS Error "policy-prometheus" "a Prometheus server that policies do not permit"
    POLICY_WEIGHTS Note "policy-weights" "weights that must be signed"
    POLICY_WAITS Note "policy-waits" "approvals, freezes and slots that a rollout waits for"
    POLICY_LABELS Warning "policy-labels" "it is not known whether a policy is about the model"
    POLICY_SELECTS_NOTHING Warning "policy-selects-nothing" "a policy that is about none of the models"
    NO_SERIES Error "no-series" "a selector matches no series"
    ARM_LABEL_MISSING Error "arm-label-missing" "series without the label that tells the arms apart"
    LOOKS_WITHOUT_SCRAPES Note "looks-without-scrapes" "guardbit evaluates more often than Prometheus scrapes"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the table of docs/lint.md: id, severity, summary.
    fn rows() -> Vec<(String, String, String)> {
        let page = include_str!("../../docs/lint.md");
        let rows = page.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| [")?.trim_end_matches(" |").split(" | ");
            let id = cells.next()?.split(']').next()?.to_owned();
            Some((id, cells.next()?.to_owned(), cells.next()?.to_owned()))
        });
        rows.collect()
    }

    #[test]
    fn the_page_has_every_rule_and_no_other() {
        let rules: Vec<_> = ALL
            .iter()
            .map(|r| (r.id.to_owned(), r.severity.as_str().to_owned(), r.summary.to_owned()))
            .collect();
        assert_eq!(rows(), rules, "the table of docs/lint.md, in the order of the rules");
        let headings = include_str!("../../docs/lint.md").lines();
        let headings: Vec<_> = headings.filter_map(|line| line.strip_prefix("## ")).collect();
        let ids: Vec<_> = ALL.iter().map(|r| r.id).collect();
        assert_eq!(
            headings.into_iter().filter(|h| !h.contains(' ')).collect::<Vec<_>>(),
            ids
        );
        for rule in ALL {
            assert!(rule.help().len() > 80, "{} has no section that explains it", rule.id);
        }
    }
}
