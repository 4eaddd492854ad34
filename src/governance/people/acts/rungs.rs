//! The ladder as acts see it.

use crate::api::{QuantizedModelStatus, RevisionRef};

/// A variant of the ladder, as far as acts are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung<'a> {
    /// Its name.
    pub variant: &'a str,
    /// Whether traffic may be held there: it is proven in its present identity, or what serves is a proven revision of it.
    pub proven: bool,
}

/// The rungs of a model whose variants have these identities, safest first.
pub fn rungs<'a>(revisions: &'a [RevisionRef], status: &QuantizedModelStatus) -> Vec<Rung<'a>> {
    let is_proven = |of: &RevisionRef| {
        let mut proven = status.proven.iter();
        proven.any(|proven| proven.variant == of.variant && proven.revision == of.revision)
    };
    let serves = status.stable.as_ref().filter(|stable| is_proven(stable));
    let rung = |of: &'a RevisionRef| Rung {
        variant: &of.variant,
        proven: is_proven(of) || serves.is_some_and(|stable| stable.variant == of.variant),
    };
    revisions.iter().map(rung).collect()
}

/// Where a RollBack that names no variant sends traffic: to stable while a candidate is on trial, else to the next safer proven
/// variant.
pub fn fallback<'a>(rungs: &[Rung<'a>], status: &'a QuantizedModelStatus) -> &'a str {
    let stable = status.stable.as_ref().map(|stable| stable.variant.as_str());
    if let (Some(stable), Some(_)) = (stable, &status.rollout) {
        return stable;
    }
    let at = stable.and_then(|stable| rungs.iter().position(|rung| rung.variant == stable));
    let safer = rungs[..at.unwrap_or(0)].iter().rev().find(|rung| rung.proven);
    safer.or(rungs.first()).map_or("", |rung| rung.variant)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn revision(variant: &str, digit: &str) -> RevisionRef {
        RevisionRef {
            variant: variant.to_owned(),
            revision: format!("v1:{}", digit.repeat(64)),
        }
    }

    fn status(proven: &[&RevisionRef], stable: &RevisionRef) -> QuantizedModelStatus {
        let proven: Vec<_> = proven
            .iter()
            .map(|of| json!({"variant": of.variant, "revision": of.revision, "at": "2026-11-28T10:00:00Z", "by": "Promotion"}))
            .collect();
        serde_json::from_value(json!({"stable": stable, "proven": proven})).unwrap()
    }

    #[test]
    fn traffic_is_held_where_something_is_proven_also_by_an_older_revision_that_serves() {
        let (fp32, int8, int4) = (revision("fp32", "1"), revision("int8", "2"), revision("int4", "3"));
        let before = revision("int8", "9");
        let ladder = [fp32.clone(), int8, int4];
        let proven = |status: &QuantizedModelStatus| {
            let rungs = rungs(&ladder, status);
            rungs.iter().map(|rung| rung.proven).collect::<Vec<_>>()
        };
        assert_eq!(proven(&status(&[&fp32], &fp32)), [true, false, false]);
        assert_eq!(proven(&status(&[&fp32, &before], &before)), [true, true, false]);
        assert_eq!(proven(&status(&[&fp32, &before], &fp32)), [true, false, false]);
        assert_eq!(proven(&status(&[&fp32], &before)), [true, false, false]);
    }

    #[test]
    fn without_a_candidate_traffic_falls_to_the_next_safer_proven_variant() {
        let (fp32, int8, int4) = (revision("fp32", "1"), revision("int8", "2"), revision("int4", "3"));
        let ladder = [fp32.clone(), int8.clone(), int4.clone()];
        for (proven, stable, to) in [
            (vec![&fp32, &int8, &int4], &int4, "int8"),
            (vec![&fp32, &int4], &int4, "fp32"),
            (vec![&fp32], &fp32, "fp32"),
        ] {
            let status = status(&proven, stable);
            assert_eq!(fallback(&rungs(&ladder, &status), &status), to);
        }
        assert_eq!(fallback(&[], &QuantizedModelStatus::default()), "");
    }
}
