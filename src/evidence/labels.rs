//! Labels of a series: shared between all holders, and distinguished by a fingerprint that is computed once.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Identity of a series: 48 bits of a SHA-256. A thousand series collide with a chance of 2 in 10⁹.
pub(super) type Fingerprint = u64;

/// Labels by name, including `__name__`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Labels(Arc<Shared>);

/// Names and values in one allocation, because a thousand models hold thousands of series at once.
#[derive(Debug, Default)]
struct Shared {
    /// Name, value, name, value and so on, in the order of the names.
    text: Box<str>,
    /// Where each of them ends.
    ends: Box<[usize]>,
    digest: OnceLock<u64>,
    bucket: OnceLock<Option<Bucket>>,
}

/// What a series of a classic histogram is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// The histogram that it belongs to: the digest of its labels without `le`.
    pub(super) histogram: u64,
    /// Its upper bound.
    pub(super) bound: f64,
}

/// Labels that hold the name of a pod, the one that is nearest to the truth first.
const POD_LABELS: [&str; 4] = ["exported_pod", "k8s.pod.name", "k8s_pod_name", "pod"];

impl Labels {
    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(of, _)| *of == name).map(|(_, value)| value)
    }

    /// Name of the pod that a series is of. A label with another name holds it where somebody hands on what others count:
    /// `pod` is then that of the messenger.
    pub fn pod(&self) -> Option<&str> {
        POD_LABELS.iter().find_map(|name| self.get(name))
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let Shared { text, ends, .. } = &*self.0;
        let begins = [0].into_iter().chain(ends.iter().copied());
        let mut parts = begins
            .zip(ends)
            .map(|(from, to)| text.get(from..*to).unwrap_or_default());
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    /// Values by name.
    pub fn by_name(&self) -> BTreeMap<String, String> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        self.iter().map(owned).collect()
    }

    /// Sets a label.
    pub fn set(&mut self, name: &str, value: &str) {
        let others = self.iter().filter(|(of, _)| *of != name);
        *self = others.chain([(name, value)]).collect();
    }

    /// The bucket and histogram of this series; `None` for a series without a bound.
    pub(super) fn bucket(&self) -> Option<Bucket> {
        let bucket = || {
            let bound = bound(self.get("le")?)?;
            let histogram = digest(self.iter().filter(|(name, _)| *name != "le"));
            Some(Bucket { histogram, bound })
        };
        *self.0.bucket.get_or_init(bucket)
    }

    /// Identity of the series; `role` distinguishes series of different queries that have the same labels.
    pub(super) fn fingerprint(&self, role: u8) -> Fingerprint {
        // An odd factor spreads roles over all bits without collisions between them.
        let digest = self.0.digest.get_or_init(|| digest(self.iter()));
        (digest ^ u64::from(role).wrapping_mul(0x9e37_79b9_7f4b)) & 0xffff_ffff_ffff
    }
}

/// The first 48 bits of a SHA-256 over names and values.
fn digest<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut text = Vec::with_capacity(256);
    for (name, value) in labels {
        // Prometheus 3 writes le="1.0" where older versions wrote le="1": it is the same bucket.
        let bound = if name == "le" {
            bound(value).map(|bound| bound.to_string())
        } else {
            None
        };
        for part in [name, bound.as_deref().unwrap_or(value)] {
            text.extend((part.len() as u64).to_be_bytes());
            text.extend(part.as_bytes());
        }
    }
    let bytes = Sha256::digest(&text);
    bytes.iter().take(6).fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        (&self.0.ends, &self.0.text) == (&other.0.ends, &other.0.text)
    }
}

impl Eq for Labels {}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    /// If a name occurs more than once, its last value counts.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(labels: I) -> Self {
        let labels: Vec<_> = labels.into_iter().collect();
        let by_name: BTreeMap<_, _> = labels.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        let mut text = String::with_capacity(by_name.iter().map(|(n, v)| n.len() + v.len()).sum());
        let mut ends = Vec::with_capacity(2 * by_name.len());
        for part in by_name.into_iter().flat_map(|(name, value)| [name, value]) {
            text.push_str(part);
            ends.push(text.len());
        }
        Self(Arc::new(Shared {
            text: text.into(),
            ends: ends.into(),
            ..Shared::default()
        }))
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(by_name: BTreeMap<String, String>) -> Self {
        by_name.into_iter().collect()
    }
}

impl<N: AsRef<str>, V: AsRef<str>, const LENGTH: usize> From<[(N, V); LENGTH]> for Labels {
    fn from(labels: [(N, V); LENGTH]) -> Self {
        labels.into_iter().collect()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<String, String>::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// The upper bound that an `le` label names; `None` if it names none.
fn bound(le: &str) -> Option<f64> {
    let bound: f64 = le.parse().ok()?;
    (!bound.is_nan()).then(|| rounded(bound))
}

/// A bound to seven significant digits: 0.1 + 0.2 and 0.3 are written by the same hand.
pub(super) fn rounded(bound: f64) -> f64 {
    if !bound.is_finite() {
        return bound;
    }
    // Adding 0 turns -0 into 0.
    format!("{bound:.6e}").parse().unwrap_or(bound) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_however_they_are_written() {
        let cases = [
            ("+Inf", Some(f64::INFINITY)),
            ("Inf", Some(f64::INFINITY)),
            ("0.5", Some(0.5)),
            ("1e-3", Some(0.001)),
            ("1.0", Some(1.0)),
            ("-0", Some(0.0)),
            ("-2", Some(-2.0)),
            ("0.30000000000000004", Some(0.3)),
            ("0.10000000149011612", Some(0.1)),
            ("NaN", None),
            ("", None),
            ("fast", None),
        ];
        for (le, expected) in cases {
            assert_eq!(bound(le), expected, "{le}");
        }
    }

    fn of(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn series_are_told_apart_by_every_label_and_by_role() {
        let all = [
            of(&[]),
            of(&[("a", "bc")]),
            of(&[("ab", "c")]),
            of(&[("a", "b"), ("c", "d")]),
            of(&[("a", "b"), ("c", "")]),
            of(&[("le", "1")]),
            of(&[("le", "2")]),
            of(&[("le", "one")]),
        ];
        let mut seen: Vec<_> = all
            .iter()
            .flat_map(|labels| [0, 1, 2, 255].map(|role| labels.fingerprint(role)))
            .collect();
        assert!(seen.iter().all(|f| *f < 1 << 48));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all.len() * 4);
        assert_eq!(of(&[("le", "1.0")]).fingerprint(3), of(&[("le", "1")]).fingerprint(3));
    }

    #[test]
    fn a_changed_label_changes_the_identity() {
        let one = of(&[("a", "1")]);
        let (before, mut other) = (one.fingerprint(0), one.clone());
        other.set("a", "2");
        assert_eq!((one.fingerprint(0), one.get("a")), (before, Some("1")));
        assert_ne!(other.fingerprint(0), before);
    }
}
