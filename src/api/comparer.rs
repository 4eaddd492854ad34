//! The comparer: what asks two arms the same questions, and how their answers are compared.

use std::fmt;
use std::str::FromStr;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Decimal, Fraction};

/// Name of a golden set where none is written.
const FILE: &str = "golden.jsonl";

/// Asks the reference and the revision on trial the same questions, and counts how often their answers differ, which an
/// `agreement` guard judges. guardbit runs it for as long as a trial lasts, as a Deployment of one pod.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.golden) || has(self.mirror)")
    .message("set golden, mirror or both: a comparer without questions compares nothing"))]
pub struct ComparerSpec {
    /// What the model servers speak. Left out: what the server of `preset` speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The questions that both arms are asked. It may be left out beside `mirror`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<GoldenSet>,
    /// Requests of users as questions, beside those of `golden` or instead of them. It needs `traffic.gateway`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorSpec>,
    /// Pairs a second at the most, above 0.
    #[serde(default = "ComparerSpec::rate")]
    pub rate: Decimal,
    /// Share of the requests a second of an arm, such as `"5%"`: `rate` is halved until the arm that has fewer requests gets
    /// no more than that in pairs. It holds a minute after each change of weights, as far as a guard counts requests; a
    /// candidate without weight has none. The comparer is restarted where the rate changes, with a new budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_of_arm: Option<Fraction>,
    /// What may be asked between two arms. Once it is spent, nothing more is asked of them.
    #[serde(default)]
    pub budget: PairBudget,
    /// Share of the pairs that ask the reference twice, which shows its own noise; below 1.
    #[serde(default = "ComparerSpec::control")]
    pub control: Fraction,
    /// Where in an answer the compared value lies, and which values agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerSpec>,
}

// Each default has a function of its own, because the schema passes each of them to the API server.
impl ComparerSpec {
    fn rate() -> Decimal {
        "2".into()
    }

    fn control() -> Fraction {
        "10%".into()
    }
}

/// The protocol that both arms speak.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Completions and chat completions of OpenAI's API: vLLM, SGLang, llama.cpp. The next token is compared.
    OpenAI,
    /// The Open Inference Protocol (V2 REST): Triton, MLServer, KServe. An output tensor is compared.
    OpenInference,
    /// Any JSON answer, such as that of KServe's V1 protocol. The value at a pointer is compared.
    #[serde(rename = "JSON")]
    Json,
    /// Embeddings of OpenAI's API. The direction of the vector is compared.
    Embeddings,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 4] = [Self::OpenAI, Self::OpenInference, Self::Json, Self::Embeddings];

    /// The name, as specs and flags write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAI => "OpenAI",
            Self::OpenInference => "OpenInference",
            Self::Json => "JSON",
            Self::Embeddings => "Embeddings",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = String;

    /// Reads a name in any case. The error names all protocols.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|p| p.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("write one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Questions in JSON lines, from which pairs are drawn: a file in a ConfigMap of the model's namespace, or in an image.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.configMap) != has(self.image)")
    .message("set exactly one of configMap and image: they say where the golden set is"))]
#[x_kube(validation = Rule::new("!has(self.key) || has(self.configMap)")
    .message("key is a key of configMap; with image write file, the path of the golden set in it"))]
#[x_kube(validation = Rule::new("!has(self.file) || has(self.image)")
    .message("file is a path in image; with configMap write key, the key of the golden set in it"))]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct GoldenSet {
    /// Name of the ConfigMap that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub config_map: Option<String>,
    /// Its key in the ConfigMap; `golden.jsonl` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9_][-._A-Za-z0-9]*$"))]
    pub key: Option<String>,
    /// Image that holds it, such as `registry.example/golden:1`. Kubernetes mounts it as an image volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: Option<String>,
    /// Its path in the image, without a slash at the beginning; `golden.jsonl` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z0-9_][-._A-Za-z0-9]*(/[A-Za-z0-9_][-._A-Za-z0-9]*)*$")
    )]
    pub file: Option<String>,
    /// Its digest, as `guardbit golden digest` tells it. A set with another one is refused. In mid-rollout another digest
    /// starts the evidence afresh.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// Path of the questions that name none, such as `/v2/models/fraud/infer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/"))]
    pub path: Option<String>,
}

impl GoldenSet {
    /// Path of the file in what holds it.
    pub fn file(&self) -> &str {
        let written = if self.image.is_some() { &self.file } else { &self.key };
        written.as_deref().unwrap_or(FILE)
    }
}

/// Which requests of users the gateway mirrors to the comparer, for as long as it runs. Users are answered as before; pinned
/// requests are never mirrored. Where the gateway refuses that, the condition `Mirroring` says so.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorSpec {
    /// Percent of the requests. A gateway that knows no percentage mirrors all of them; the comparer asks no more than
    /// `rate`, and drops the others.
    #[schemars(range(min = 1, max = 100))]
    pub percent: i32,
}

/// What may be asked between two arms.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairBudget {
    /// Pairs, those that ask the reference twice among them.
    #[serde(default = "PairBudget::pairs")]
    #[schemars(range(min = 1, max = 2_000_000_000))]
    pub pairs: i64,
    /// Tokens of both arms together, where their answers tell them.
    #[serde(default = "PairBudget::tokens")]
    #[schemars(range(min = 1, max = 2_000_000_000))]
    pub tokens: i64,
}

impl PairBudget {
    fn pairs() -> i64 {
        5_000
    }

    fn tokens() -> i64 {
        5_000_000
    }
}

impl Default for PairBudget {
    fn default() -> Self {
        Self {
            pairs: Self::pairs(),
            tokens: Self::tokens(),
        }
    }
}

/// Where in an answer the compared value lies, and which values agree. What is meant by it depends on the protocol.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerSpec {
    /// JSON pointer (RFC 6901) to the value. OpenInference: the first output of the reference, and the candidate's of the
    /// same name, when left out. JSON needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub pointer: Option<String>,
    /// Largest difference of two numbers that still agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Decimal>,
    /// The number that decides, such as `"0.5"`: numbers on two sides of it do not agree. Embeddings: least cosine of two
    /// vectors that agree; `"0.99"` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Decimal>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_read_by_the_names_that_they_are_written_with() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.name().parse(), Ok(protocol));
            assert_eq!(protocol.name().to_lowercase().parse(), Ok(protocol));
            let written = serde_json::to_value(protocol).unwrap();
            assert_eq!(written, protocol.name());
            assert_eq!(serde_json::from_value::<Protocol>(written).unwrap(), protocol);
        }
        let error = "gRPC".parse::<Protocol>().unwrap_err();
        assert_eq!(error, "write one of OpenAI, OpenInference, JSON, Embeddings");
    }

    #[test]
    fn a_golden_set_has_the_usual_name_where_none_is_written() {
        let of = |set: serde_json::Value| serde_json::from_value::<GoldenSet>(set).unwrap().file().to_owned();
        for (set, file) in [
            (serde_json::json!({"configMap": "c", "digest": ""}), FILE),
            (serde_json::json!({"configMap": "c", "key": "k", "digest": ""}), "k"),
            (serde_json::json!({"image": "i", "digest": ""}), FILE),
            (
                serde_json::json!({"image": "i", "file": "sets/k", "digest": ""}),
                "sets/k",
            ),
        ] {
            assert_eq!(of(set.clone()), file, "{set}");
        }
    }
}
