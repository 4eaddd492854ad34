//! The calls that guardbit makes, each with a name that is the same in every run: what is called, on what, to write what.
//! Only the how-manieth call of a name it is differs; together they say at which call a fault strikes.

use http::Method;
use serde_json::Value;

use crate::people::AUTHORS;

/// One call to the API server.
#[derive(Clone, Debug)]
pub struct Call {
    /// Plural name of the resource.
    pub resource: String,
    /// Its name among calls.
    pub name: String,
    /// What it does.
    pub kind: Kind,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads once.
    Read,
    /// Reads on and on.
    Watch,
    /// Writes.
    Write,
}

impl Call {
    /// Whether how long a run takes decides if this call is made: a lease is taken once, and renewed until the run is over.
    pub fn is_by_the_clock(&self, nth: usize) -> bool {
        self.resource == "leases" && nth > 1
    }

    /// The call that a request is.
    pub fn of(method: &Method, path: &str, query: &str, body: &[u8]) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        // api/v1/… or apis/group/version/…, then perhaps namespaces/name/…
        let rest = &parts[if parts[0] == "api" { 2 } else { 3 }.min(parts.len())..];
        let rest = match rest {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        // A group itself says which resources it has.
        let resource = rest.first().copied().unwrap_or("resources").to_owned();
        let object = rest.get(1).map_or(String::new(), |name| format!(" {}", plain(name)));
        let sub = rest.get(2).map_or(String::new(), |sub| format!("/{sub}"));
        let parameter = |key: &str| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(k, _)| k == key)
                .map(|(_, v)| v.into_owned())
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (kind, verb) = match *method {
            Method::GET if parameter("watch").is_some() => (Kind::Watch, "watch".to_owned()),
            Method::GET if object.is_empty() => (Kind::Read, "list".to_owned()),
            Method::GET => (Kind::Read, "get".to_owned()),
            _ => (Kind::Write, method.as_str().to_lowercase()),
        };
        // The one of the lease is drawn by lot.
        let manager = parameter("fieldManager").filter(|m| m.starts_with("guardbit"));
        let manager = manager.map_or(String::new(), |m| format!(" as {m}"));
        let detail = if kind == Kind::Write {
            detail(&resource, &sub, &body)
        } else {
            String::new()
        };
        let page = parameter("limit").filter(|l| l == "1").map_or("", |_| " limit=1");
        let trial = parameter("dryRun").map_or("", |_| " dry run");
        // Events are named by the API server's clock.
        let object = if resource == "events" { String::new() } else { object };
        Self {
            name: format!("{verb} {resource}{sub}{object}{manager}{detail}{page}{trial}"),
            resource,
            kind,
        }
    }
}

/// The name of an object without the hash that ends it.
pub fn plain(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((plain, hash)) if hash.len() == 8 && hash.chars().all(|c| c.is_ascii_hexdigit()) => plain,
        _ => name,
    }
}

/// What is written, as far as it tells calls on the same object apart.
fn detail(resource: &str, sub: &str, body: &Value) -> String {
    match (resource, sub) {
        ("quantizedmodels", "/status") => {
            let status = &body["status"];
            let decisions = status["decisions"].as_array().map_or(&[][..], Vec::as_slice);
            let last = decisions.last().and_then(|d| d["action"].as_str()).unwrap_or("nothing");
            let phase = status["phase"].as_str().unwrap_or("no phase");
            format!(": {phase} after {} decisions, {last}", decisions.len())
        }
        ("quantizedmodels", _) if !body["metadata"]["finalizers"].is_null() => ": finalizers".to_owned(),
        ("quantizedmodels", _) if body["metadata"]["annotations"].get(AUTHORS).is_some() => ": authors".to_owned(),
        ("httproutes", _) => {
            let rule = body["spec"]["rules"].as_array().and_then(|rules| rules.last());
            let backends = rule.and_then(|r| r["backendRefs"].as_array());
            let weight = |b: &Value| format!(" {} {}", plain(b["name"].as_str().unwrap_or_default()), b["weight"]);
            format!(":{}", backends.into_iter().flatten().map(weight).collect::<String>())
        }
        ("deployments", _) if !body["spec"]["replicas"].is_null() => format!(": {}", body["spec"]["replicas"]),
        ("deployments", _) => body["metadata"]["labels"]["guardbit.dev/role"]
            .as_str()
            .map_or(String::new(), |role| format!(": {role}")),
        // What was decided, by action and variant.
        ("precisiondecisions", _) => {
            let summary = body["spec"]["summary"].as_str().unwrap_or_default();
            let words: Vec<_> = summary.split([' ', ':']).take(2).collect();
            format!(": {}", words.join(" "))
        }
        ("precisionactions", "/status") => format!(": {}", body["status"]["state"].as_str().unwrap_or_default()),
        ("events", _) => body["reason"]
            .as_str()
            .map_or(String::new(), |reason| format!(": {reason}")),
        _ => String::new(),
    }
}
