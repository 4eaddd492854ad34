//! Asks Prometheus what the guards want to know, all at one instant.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt};

use crate::api::QuantizedModel;
use crate::evidence::{
    ArmMatcher, ArmSamples, GuardSamples, PromqlError, arm_query, expression_query, histogram_query,
};
use crate::rollout::{Ask, AskedArm, EvidenceProblem, GuardQuery};
use crate::telemetry::Metrics;

use super::prometheus::{Authorization, Credentials, PrometheusClient, PrometheusError};
use super::{Settings, call_opt};

/// How long credentials are kept before the Secret is read again.
const FRESH: Duration = Duration::from_secs(60);

type Key = (String, String, Option<String>);

/// Keeps one client for each server and set of credentials.
pub(super) struct Asker {
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    clients: Mutex<HashMap<Key, (Instant, PrometheusClient)>>,
}

impl Asker {
    pub(super) fn new(client: Client, settings: Settings, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            settings,
            metrics,
            clients: Mutex::default(),
        }
    }

    /// The answers, by guard.
    pub(super) async fn ask(
        &self,
        model: &QuantizedModel,
        queries: &[GuardQuery],
        at: Timestamp,
    ) -> BTreeMap<String, Result<GuardSamples, EvidenceProblem>> {
        if queries.is_empty() {
            return BTreeMap::new();
        }
        let client = match self.client(model).await {
            Ok(client) => client,
            Err(problem) => {
                return queries
                    .iter()
                    .map(|q| (q.guard.clone(), Err(problem.clone())))
                    .collect();
            }
        };
        let asked = queries.iter().map(|query| async {
            let begun = Instant::now();
            let answer = guard(&client, query, at.as_millisecond()).await;
            self.metrics.prometheus_query(begun.elapsed());
            (query.guard.clone(), answer)
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn client(&self, model: &QuantizedModel) -> Result<PrometheusClient, EvidenceProblem> {
        let spec = model.spec.prometheus.as_ref();
        let url = spec
            .and_then(|p| p.url.clone())
            .or_else(|| self.settings.prometheus_url.clone())
            .ok_or_else(|| EvidenceProblem {
                reason: "UrlNotAllowed".to_owned(),
                message: "no Prometheus is named: set spec.prometheus.url, or start guardbit with --prometheus-url"
                    .to_owned(),
            })?;
        let secret = spec.and_then(|p| p.secret_ref.as_ref()).map(|s| s.name.clone());
        let namespace = model.namespace().unwrap_or_default();
        let key = (namespace.clone(), url.clone(), secret.clone());
        if let Some((read, client)) = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && read.elapsed() < FRESH
        {
            return Ok(client.clone());
        }
        let credentials = match &secret {
            Some(name) => self.credentials(&namespace, name).await?,
            None => Credentials::default(),
        };
        let client =
            PrometheusClient::new(&url, &self.settings.allowed, &credentials, self.settings.limits).map_err(problem)?;
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, (Instant::now(), client.clone()));
        Ok(client)
    }

    async fn credentials(&self, namespace: &str, name: &str) -> Result<Credentials, EvidenceProblem> {
        let unreadable = |message: String| EvidenceProblem {
            reason: "SecretUnreadable".to_owned(),
            message,
        };
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = call_opt(format!("read Secret {namespace}/{name}"), secrets.get(name)).await.map_err(|e| {
            unreadable(format!("{e}; guardbit reads a Secret only where a RoleBinding to the ClusterRole guardbit-secret-reader lets it"))
        })?;
        let data = secret
            .ok_or_else(|| {
                unreadable(format!(
                    "Secret {namespace}/{name} does not exist; create it, or remove spec.prometheus.secretRef"
                ))
            })?
            .data
            .unwrap_or_default();
        let text = |key: &str| -> Result<Option<String>, EvidenceProblem> {
            let decode = |ByteString(bytes): &ByteString| {
                String::from_utf8(bytes.clone()).map(|s| s.trim_end_matches(['\r', '\n']).to_owned())
            };
            data.get(key)
                .map(decode)
                .transpose()
                .map_err(|_| unreadable(format!("key {key} of Secret {namespace}/{name} is not text")))
        };
        let authorization = match (text("token")?, text("username")?, text("password")?) {
            (Some(token), ..) => Some(Authorization::Bearer(token)),
            (None, Some(user), Some(password)) => Some(Authorization::Basic { user, password }),
            (None, None, None) => None,
            _ => {
                return Err(unreadable(format!(
                    "Secret {namespace}/{name} has only one of username and password; set both, or token"
                )));
            }
        };
        Ok(Credentials {
            authorization,
            ca_pem: data.get("ca.crt").map(|ByteString(pem)| pem.clone()),
        })
    }
}

fn problem(error: PrometheusError) -> EvidenceProblem {
    EvidenceProblem {
        reason: error.reason().to_owned(),
        message: error.to_string(),
    }
}

fn bad_query(error: PromqlError) -> EvidenceProblem {
    EvidenceProblem {
        reason: "BadQuery".to_owned(),
        message: error.to_string(),
    }
}

async fn guard(client: &PrometheusClient, query: &GuardQuery, at: i64) -> Result<GuardSamples, EvidenceProblem> {
    let candidate = arm(client, &query.ask, &query.candidate.matchers, query.window_ms, at);
    let baseline = async {
        let Some(AskedArm { matchers, .. }) = &query.baseline else {
            return Ok(ArmSamples::default());
        };
        if query.baseline_window_ms > query.window_ms {
            // The past is a help that a trial can do without: an hour of a large arm may be more than the server gives.
            match arm(client, &query.ask, matchers, query.baseline_window_ms, at).await {
                Ok(samples) => return Ok(samples),
                Err(problem) => tracing::info!(
                    guard = query.guard,
                    problem = problem.message,
                    "no history of the baseline"
                ),
            }
        }
        arm(client, &query.ask, matchers, query.window_ms, at).await
    };
    let (candidate, baseline) = tokio::join!(candidate, baseline);
    Ok(GuardSamples {
        candidate: candidate?,
        baseline: baseline?,
    })
}

async fn arm(
    client: &PrometheusClient,
    ask: &Ask,
    matchers: &[ArmMatcher],
    window: u64,
    at: i64,
) -> Result<ArmSamples, EvidenceProblem> {
    match ask {
        Ask::Proportion { part, kind, total } => {
            let total = arm_query(total, matchers, window).map_err(bad_query)?;
            let part = arm_query(part, matchers, window).map_err(bad_query)?;
            // The whole first: a scrape that comes in between then has more of the part, which is cut off, and never less.
            let total = client.samples(&total, at).await.map_err(problem)?;
            let part = client.samples(&part, at).await.map_err(problem)?;
            Ok(ArmSamples::Proportion {
                part,
                total,
                kind: *kind,
            })
        }
        Ask::Histogram { selector } => {
            let query = histogram_query(selector, matchers, window).map_err(bad_query)?;
            Ok(ArmSamples::Histogram(
                client.samples(&query, at).await.map_err(problem)?,
            ))
        }
        Ask::Ratio { numerator, denominator } => {
            let numerator = arm_query(numerator, matchers, window).map_err(bad_query)?;
            let denominator = arm_query(denominator, matchers, window).map_err(bad_query)?;
            let (numerator, denominator) =
                tokio::join!(client.samples(&numerator, at), client.samples(&denominator, at));
            Ok(ArmSamples::Ratio {
                numerator: numerator.map_err(problem)?,
                denominator: denominator.map_err(problem)?,
            })
        }
        Ask::Expression { promql } => {
            let query = expression_query(promql, matchers).map_err(bad_query)?;
            Ok(ArmSamples::Value(client.value(&query, at).await.map_err(problem)?))
        }
    }
}
