//! JSON forms of what an evaluation saw, where serde's own do not fit.

/// A time as text, to the nanosecond.
pub(super) mod instant {
    use k8s_openapi::jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::rollout) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub(in crate::rollout) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A time that may be absent, as text.
pub(super) mod optional_instant {
    use k8s_openapi::jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::rollout) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(|at| at.to_string()).serialize(serializer)
    }

    pub(in crate::rollout) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|at| at.parse().map_err(D::Error::custom)).transpose()
    }
}

/// A time in Unix milliseconds that may be absent, or the end of time. That is a word, because readers of JSON keep no
/// integer exactly that is so large.
pub(super) mod until {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Until {
        At(i64),
        Never(Never),
    }

    #[derive(Serialize, Deserialize)]
    enum Never {
        Never,
    }

    pub(in crate::rollout) fn serialize<S: Serializer>(at: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        let until = at.map(|at| match at {
            i64::MAX => Until::Never(Never::Never),
            at => Until::At(at),
        });
        until.serialize(serializer)
    }

    pub(in crate::rollout) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        let until = Option::<Until>::deserialize(deserializer)?;
        Ok(until.map(|until| match until {
            Until::At(at) => at,
            Until::Never(Never::Never) => i64::MAX,
        }))
    }
}

/// A map whose keys are not strings, as a list of pairs.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::rollout) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(in crate::rollout) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}
