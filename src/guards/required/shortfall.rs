//! How a guard of a model falls short of one that a policy asks for.

use std::collections::BTreeSet;
use std::fmt;

use super::limit::{Billionths, Limit};

/// One way in which a guard falls short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// It counts other series than the policy names.
    Series {
        /// The field, such as `proportion.bad`.
        field: String,
        /// What the guard counts there; `None` where it has no such field.
        found: Option<String>,
        /// What it may count.
        wanted: BTreeSet<String>,
    },
    /// It tolerates more.
    Tolerance {
        /// The field of its kind, such as `latency`.
        kind: String,
        /// What it tolerates.
        found: Vec<(Limit, Billionths)>,
        /// What it may tolerate, of which one is enough.
        most: Vec<(Limit, Billionths)>,
    },
}

/// "proportion.bad is `x`: write `y`", and "latency.tolerance.slowdown is 1.5: write 1.25 at the most".
impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series { field, found, wanted } => {
                let found = found.as_ref().map_or("missing".to_owned(), |text| format!("`{text}`"));
                write!(f, "{field} is {found}: write {}", any_of(wanted))
            }
            Self::Tolerance { kind, found, most } => {
                let found: Vec<_> = found.iter().map(|of| is(kind, *of, "is")).collect();
                let most: Vec<_> = most.iter().map(|of| is(kind, *of, "of at most")).collect();
                write!(f, "{}: write {}", found.join(" and "), most.join(", or "))
            }
        }
    }
}

fn is(kind: &str, (limit, amount): (Limit, Billionths), verb: &str) -> String {
    format!("{kind}.{} {verb} {}", limit.field(), limit.told(amount))
}

/// "`a`", and "one of `a`, `b`".
pub(super) fn any_of(texts: &BTreeSet<String>) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| format!("`{text}`")).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        _ => format!("one of {}", quoted.join(", ")),
    }
}
