//! Something that policies ask for, and the strictest of what several ask for.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Something that policies ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asked<T> {
    /// What they ask for. Of two the greater is the stricter; numbers of which it is not are reversed.
    pub what: T,
    /// Names of the policies that ask for it.
    pub by: BTreeSet<String>,
}

impl<T> Asked<T> {
    /// Something that one policy asks for.
    pub(in crate::governance) fn new(what: T, policy: &str) -> Self {
        Self {
            what,
            by: BTreeSet::from([policy.to_owned()]),
        }
    }
}

/// The stricter of two, with all policies that ask for it.
pub(super) fn strictest<T: Ord>(one: Option<Asked<T>>, other: Option<Asked<T>>) -> Option<Asked<T>> {
    match (one, other) {
        (Some(mut one), Some(other)) => match one.what.cmp(&other.what) {
            Ordering::Greater => Some(one),
            Ordering::Less => Some(other),
            Ordering::Equal => {
                one.by.extend(other.by);
                Some(one)
            }
        },
        (one, other) => one.or(other),
    }
}

/// What both permit, with all policies that narrow it.
pub(super) fn common<T: Ord>(
    one: Option<Asked<BTreeSet<T>>>,
    other: Option<Asked<BTreeSet<T>>>,
) -> Option<Asked<BTreeSet<T>>> {
    match (one, other) {
        (Some(mut one), Some(other)) => {
            one.what.retain(|permitted| other.what.contains(permitted));
            one.by.extend(other.by);
            Some(one)
        }
        (one, other) => one.or(other),
    }
}

/// Whether nothing is asked for, so that a rule of a newer release does not change the digests of others.
pub(super) fn nothing<T: Default + PartialEq>(rule: &T) -> bool {
    *rule == T::default()
}
