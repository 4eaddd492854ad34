//! How requests reach the variants.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::message::says;
use super::quantity::Duration;
use super::variant::PodTemplate;

/// How requests reach the variants: through a Gateway, or through one Service split by ready replicas.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.gateway) != has(self.service)")
    .message("set exactly one of gateway and service"))]
#[x_kube(validation = Rule::new("!has(self.precisionRoutes) || self.precisionRoutes.size() == 0 || has(self.gateway)")
    .message("precisionRoutes needs gateway: one Service cannot tell requests apart by header"))]
pub struct Traffic {
    /// Weighted HTTPRoute of the Gateway API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// One Service over all arms, split by ready replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceTraffic>,
    /// Requests that are pinned to full precision by header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub precision_routes: Vec<PrecisionRoute>,
}

/// How arms get their shares of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// By the weights of a route.
    Weights,
    /// By their ready replicas behind one Service.
    Replicas,
}

impl Traffic {
    /// How arms get their shares: by weights, unless the provider has none.
    pub fn split_by(&self) -> SplitBy {
        match self.service {
            Some(_) => SplitBy::Replicas,
            None => SplitBy::Weights,
        }
    }
}

/// The HTTPRoute that guardbit owns.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Gateways (or listeners of them) to attach to.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentRef>,
    /// Host names of the requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub hostnames: Vec<String>,
    /// Which requests the route takes; all of them when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub matches: Vec<RouteMatch>,
    /// Timeouts of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Filters of the rule, as in an HTTPRoute. They are never set on a single backend: a weight of 0 would then drop
    /// requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub filters: Vec<PodTemplate>,
}

/// A Gateway, or one listener of it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Gateway; that of the model when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Listener of the Gateway; all of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Which requests a route takes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// By path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// By header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub headers: Vec<HeaderMatch>,
    /// By method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
}

/// A path.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.type == 'RegularExpression' || self.value.startsWith('/')")
    .message(says("'path.value \"' + self.value + '\" must start with a slash'")))]
pub struct PathMatch {
    /// How the value is compared.
    #[serde(rename = "type", default)]
    pub kind: PathMatchType,
    /// The path.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// How a path is compared.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatchType {
    /// The whole path.
    Exact,
    /// Its first elements.
    #[default]
    PathPrefix,
    /// A regular expression, in the dialect of the gateway.
    RegularExpression,
}

/// A request method.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Method {
    GET,
    HEAD,
    POST,
    PUT,
    PATCH,
    DELETE,
    OPTIONS,
}

/// A header and its exact value.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Name of the header.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$"))]
    pub name: String,
    /// Its value.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// Timeouts of the rule.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// For the whole request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// For one try at a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<Duration>,
}

/// One Service over all arms. It carries the model's name; the split is by ready replicas.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTraffic {
    /// Lets a step take the share of one whole pod where that is more than the step's weight.
    #[serde(default)]
    pub allow_coarse_steps: bool,
}

/// Requests that are pinned to full precision by header, served by pods of their own.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionRoute {
    /// Name of the route.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Headers of such a request; all must match.
    #[schemars(length(min = 1, max = 8))]
    pub headers: Vec<HeaderMatch>,
    /// What serves it.
    pub serve: Serve,
    /// Pods for it. The largest number among all routes is what is run.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: i32,
}

fn one() -> i32 {
    1
}

/// What serves a pinned request.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Serve {
    /// The reference variant.
    Reference,
}
