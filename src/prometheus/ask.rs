//! Asks Prometheus what the guards need to know, all at one instant.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt};
use parking_lot::Mutex;

use crate::api::{LONGEST_MESSAGE, QuantizedModel, plain};
use crate::apiserver::call_opt;
use crate::evidence::{
    ArmMatcher, ArmSamples, BatchedArm, BucketForm, Form, GuardSamples, Matrix, Shown, native_histogram_query,
};
use crate::model::interval;
use crate::rollout::{AskedArm, EvidenceProblem, EvidenceReason, GuardQuery};
use crate::telemetry::Metrics;

use super::access::{Permitted, check_permitted};
use super::batch::{Batcher, Question, Server};
use super::problem::{bad_query, problem};
use super::{AllowedUrls, Authorization, Credentials, Limits, PrometheusClient};

/// Longest time that a question waits for those of other models.
const GATHER: Duration = Duration::from_millis(100);

/// Longest wait for gauges that are shown. They decide nothing, so what is counted must not wait for them.
const SHOWN: Duration = Duration::from_secs(2);

/// How long credentials are kept before the Secret is read again.
const FRESH: Duration = Duration::from_secs(60);

/// The servers that may be asked, and the limits.
#[derive(Clone, Debug)]
pub struct Servers {
    /// The server of models that name none.
    pub usual: Option<String>,
    /// The servers that models may name.
    pub allowed: AllowedUrls,
    /// Limits of one question.
    pub limits: Limits,
}

/// Asks Prometheus for models, with one client for each server and set of credentials.
pub struct Asker {
    client: Client,
    servers: Servers,
    metrics: Arc<Metrics>,
    clients: Mutex<HashMap<Server, (Instant, PrometheusClient)>>,
    batcher: Batcher,
}

/// A server, and how it is asked for one model.
struct Asking<'a> {
    server: Server,
    client: PrometheusClient,
    batcher: &'a Batcher,
    /// How long questions are gathered.
    gather: Duration,
}

impl Asker {
    /// Asks these servers; Secrets are read with `client`.
    pub fn new(client: Client, servers: Servers, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            servers,
            metrics,
            clients: Mutex::default(),
            batcher: Batcher::default(),
        }
    }

    /// URL of the server that a model asks, if there is one.
    pub fn url_of(&self, model: &QuantizedModel) -> Option<String> {
        let own = model.spec.prometheus.as_ref().and_then(|p| p.url.clone());
        own.or_else(|| self.servers.usual.clone())
    }

    /// The answers, by guard. Policies narrow which servers may be asked.
    pub async fn ask(
        &self,
        model: &QuantizedModel,
        queries: &[GuardQuery],
        at: Timestamp,
        by_policies: Option<&Permitted>,
    ) -> BTreeMap<String, Result<GuardSamples, EvidenceProblem>> {
        if queries.is_empty() {
            return BTreeMap::new();
        }
        let asking = match self.client(model, by_policies).await {
            Ok((server, client)) => Asking {
                server,
                client,
                batcher: &self.batcher,
                gather: (interval(&model.spec) / 50).min(GATHER),
            },
            Err(problem) => {
                return queries
                    .iter()
                    .map(|q| (q.guard.clone(), Err(problem.clone())))
                    .collect();
            }
        };
        let asked = queries.iter().map(|query| async {
            let begun = Instant::now();
            let answer = guard(&asking, query, at.as_millisecond()).await;
            self.metrics.prometheus_query(begun.elapsed());
            (query.guard.clone(), answer)
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn client(
        &self,
        model: &QuantizedModel,
        by_policies: Option<&Permitted>,
    ) -> Result<(Server, PrometheusClient), EvidenceProblem> {
        let spec = model.spec.prometheus.as_ref();
        let url = self.url_of(model).ok_or_else(|| EvidenceProblem {
            reason: EvidenceReason::UrlNotAllowed,
            message: "no Prometheus is named: set spec.prometheus.url, or start guardbit with --prometheus-url"
                .to_owned(),
        })?;
        if let Some(permitted) = by_policies {
            check_permitted(&url, permitted).map_err(problem)?;
        }
        let secret = spec.and_then(|p| p.secret_ref.as_ref()).map(|s| s.name.clone());
        let namespace = model.namespace().unwrap_or_default();
        let server = Server {
            url: url.clone(),
            secret: secret.clone().map(|name| (namespace.clone(), name)),
        };
        if let Some((read, client)) = self.clients.lock().get(&server)
            && (secret.is_none() || read.elapsed() < FRESH)
        {
            return Ok((server, client.clone()));
        }
        if let Some(reference) = spec.and_then(|p| p.secret_ref.as_ref()).filter(|s| !s.is_name()) {
            return Err(EvidenceProblem {
                reason: EvidenceReason::SecretUnreadable,
                message: plain(
                    &format!(
                        "{:?} is no name of a Secret: prometheus.secretRef names one in the namespace of the model",
                        reference.name
                    ),
                    LONGEST_MESSAGE,
                ),
            });
        }
        let credentials = match &secret {
            Some(name) => self.credentials(&namespace, name).await?,
            None => Credentials::default(),
        };
        let client =
            PrometheusClient::new(&url, &self.servers.allowed, &credentials, self.servers.limits).map_err(problem)?;
        self.clients
            .lock()
            .insert(server.clone(), (Instant::now(), client.clone()));
        Ok((server, client))
    }

    async fn credentials(&self, namespace: &str, name: &str) -> Result<Credentials, EvidenceProblem> {
        let unreadable = |message: String| EvidenceProblem {
            reason: EvidenceReason::SecretUnreadable,
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
            tenant: text("tenant")?,
            ca_pem: data.get("ca.crt").map(|ByteString(pem)| pem.clone()),
        })
    }
}

impl Asking<'_> {
    /// Raw samples of one arm: of a counter, a gauge or a classic histogram.
    async fn samples(
        &self,
        form: Form,
        selector: &str,
        matchers: &[ArmMatcher],
        window_ms: u64,
        at: i64,
    ) -> Result<Matrix, EvidenceProblem> {
        let arm = BatchedArm {
            matchers: matchers.to_vec(),
            after: at.saturating_sub_unsigned(window_ms),
            through: at,
        };
        let question = Question {
            form,
            selector: selector.to_owned(),
            arm,
        };
        self.batcher
            .ask(&self.server, &self.client, question, self.gather)
            .await
    }
}

/// Asks for what is counted and, beside it, for what is only shown.
async fn guard(asking: &Asking<'_>, query: &GuardQuery, at: i64) -> Result<GuardSamples, EvidenceProblem> {
    let (counted, shown) = tokio::join!(counted(asking, query, at), shown(asking, query, at));
    let mut samples = counted?;
    samples.candidate.show(shown);
    Ok(samples)
}

/// Gauges of the arm on trial that are shown; none of those that cannot be had.
async fn shown(asking: &Asking<'_>, query: &GuardQuery, at: i64) -> Shown<Matrix> {
    let Some(Shown { lines, spent }) = query.shown else {
        return Shown::default();
    };
    let (lines, spent) = tokio::join!(gauge(asking, query, lines, at), gauge(asking, query, spent, at));
    Shown { lines, spent }
}

/// A gauge of the arm on trial; nothing if it cannot be had.
async fn gauge(asking: &Asking<'_>, query: &GuardQuery, name: &str, at: i64) -> Matrix {
    let asked = asking.samples(Form::Counter, name, &query.candidate.matchers, query.window_ms, at);
    match tokio::time::timeout(SHOWN, asked).await {
        Ok(Ok(matrix)) => matrix,
        Ok(Err(problem)) => {
            tracing::debug!(guard = query.guard, name, problem = problem.message, "not shown");
            Matrix::default()
        }
        Err(_) => {
            tracing::debug!(guard = query.guard, name, "not shown in time");
            Matrix::default()
        }
    }
}

/// Asks for the form of histogram that was counted so far, at first for the classic one. If an arm has no series in it,
/// asks for the other form as well. Both arms are counted in the form that more of them have.
async fn counted(asking: &Asking<'_>, query: &GuardQuery, at: i64) -> Result<GuardSamples, EvidenceProblem> {
    let form = query.form.unwrap_or(BucketForm::Classic);
    let samples = arms(asking, query, form, at).await?;
    let have_series = |samples: &GuardSamples| {
        let arms = [&samples.candidate, &samples.baseline];
        arms.into_iter().filter(|arm| arm.form().is_some()).count()
    };
    let asked = 1 + usize::from(query.baseline.is_some());
    let is_histogram = query.asks.iter().any(|asked| asked.form() == Form::Histogram);
    if !is_histogram || have_series(&samples) == asked {
        return Ok(samples);
    }
    match arms(asking, query, form.other(), at).await {
        Ok(others) if have_series(&others) > have_series(&samples) => Ok(others),
        Err(problem) if have_series(&samples) == 0 => Err(problem),
        Ok(_) | Err(_) => Ok(samples),
    }
}

async fn arms(
    asking: &Asking<'_>,
    query: &GuardQuery,
    form: BucketForm,
    at: i64,
) -> Result<GuardSamples, EvidenceProblem> {
    let candidate = arm(asking, query, form, &query.candidate, query.window_ms, at);
    let baseline = async {
        let Some(asked) = &query.baseline else {
            return Ok(ArmSamples::default());
        };
        if query.baseline_window_ms > query.window_ms {
            // A trial can do without the past, and an hour of a large arm may be more than the server gives.
            match arm(asking, query, form, asked, query.baseline_window_ms, at).await {
                Ok(samples) => return Ok(samples),
                Err(problem) => tracing::info!(
                    guard = query.guard,
                    problem = problem.message,
                    "no history of the baseline"
                ),
            }
        }
        arm(asking, query, form, asked, query.window_ms, at).await
    };
    let (candidate, baseline) = tokio::join!(candidate, baseline);
    Ok(GuardSamples {
        candidate: candidate?,
        baseline: baseline?,
    })
}

async fn arm(
    asking: &Asking<'_>,
    query: &GuardQuery,
    form: BucketForm,
    AskedArm { matchers, .. }: &AskedArm,
    window: u64,
    at: i64,
) -> Result<ArmSamples, EvidenceProblem> {
    let mut answers = ArmSamples::default();
    // They are asked one after the other, because a kind of guard puts first what must be asked for first.
    for asked in &query.asks {
        match (asked.form(), form) {
            (Form::Histogram, BucketForm::Native) => {
                let query = native_histogram_query(&asked.text, matchers, window).map_err(bad_query)?;
                answers.insert_native(asking.client.natives(&query, at).await.map_err(problem)?);
            }
            (Form::Expression, _) => {
                let query = asked.form().query(&asked.text, matchers, window).map_err(bad_query)?;
                let value = asking.client.value(&query, at).await.map_err(problem)?;
                answers.insert(asked.role, value);
            }
            (Form::Counter | Form::Histogram, _) => {
                let samples = asking.samples(asked.form(), &asked.text, matchers, window, at).await?;
                answers.insert(asked.role, samples);
            }
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::api::RevisionRef;
    use crate::evidence::{MatcherOp, Role};
    use crate::guards::Selector;

    /// A server that has these series: `(arm, form)`. Returns its client, and the forms in which it was asked.
    fn server(has: &'static [(&'static str, &'static str)]) -> (PrometheusClient, Receiver<&'static str>) {
        let (asked, questions) = channel();
        let client = super::super::batch::mock(move |query| {
            let form = if query.contains("query=d_bucket") {
                "classic"
            } else {
                "native"
            };
            let _ = asked.send(form);
            let of = |arm: &str| match form {
                "classic" => {
                    format!(r#"{{"metric":{{"__name__":"d_bucket","le":"+Inf","arm":"{arm}"}},"values":[[1,"1"]]}}"#)
                }
                _ => format!(
                    r#"{{"metric":{{"__name__":"d","arm":"{arm}"}},"histograms":[[1,{{"count":"0","sum":"0"}}]]}}"#
                ),
            };
            let arms = has
                .iter()
                .filter(|(arm, in_form)| *in_form == form && query.contains(arm));
            Ok(arms.map(|(arm, _)| of(arm)).collect())
        });
        (client, questions)
    }

    fn latency(form: Option<BucketForm>) -> GuardQuery {
        let arm = |name: &str| AskedArm {
            revision: RevisionRef::default(),
            matchers: vec![crate::evidence::ArmMatcher {
                label: "arm".to_owned(),
                op: MatcherOp::Equal,
                value: name.to_owned(),
            }],
        };
        GuardQuery {
            guard: "latency".to_owned(),
            asks: vec![Selector {
                role: Role::Buckets,
                field: "latency.histogram",
                text: "d".to_owned(),
            }],
            shown: None,
            form,
            candidate: arm("candidate"),
            baseline: Some(arm("baseline")),
            window_ms: 60_000,
            baseline_window_ms: 60_000,
        }
    }

    #[tokio::test]
    async fn native_histograms_are_asked_for_where_classic_ones_are_missing_and_then_first() {
        use BucketForm::{Classic, Native};
        const CLASSIC: [(&str, &str); 2] = [("candidate", "classic"), ("baseline", "classic")];
        const NATIVE: [(&str, &str); 2] = [("candidate", "native"), ("baseline", "native")];
        const BOTH: [(&str, &str); 4] = [CLASSIC[0], CLASSIC[1], NATIVE[0], NATIVE[1]];
        const NEW_CANDIDATE: [(&str, &str); 3] = [CLASSIC[1], NATIVE[0], NATIVE[1]];
        const IDLE_CANDIDATE: [(&str, &str); 2] = [CLASSIC[1], NATIVE[1]];
        for (name, has, before, form, questions) in [
            ("classic", &CLASSIC[..], None, Some(Classic), 1),
            ("native", &NATIVE[..], None, Some(Native), 3),
            ("native, as before", &NATIVE[..], Some(Native), Some(Native), 2),
            ("both", &BOTH[..], None, Some(Classic), 1),
            ("both, and native so far", &BOTH[..], Some(Native), Some(Native), 2),
            (
                "only native on the candidate",
                &NEW_CANDIDATE[..],
                None,
                Some(Native),
                3,
            ),
            (
                "no requests on the candidate yet",
                &IDLE_CANDIDATE[..],
                None,
                Some(Classic),
                3,
            ),
            ("native until now", &CLASSIC[..], Some(Native), Some(Classic), 3),
            ("neither", &[], None, None, 3),
        ] {
            let (client, asked) = server(has);
            let batcher = Batcher::default();
            let asking = Asking {
                server: Server::default(),
                client,
                batcher: &batcher,
                gather: Duration::ZERO,
            };
            let samples = guard(&asking, &latency(before), 1_000).await.unwrap();
            assert_eq!(samples.form(), form, "{name}");
            let forms = [samples.candidate.form(), samples.baseline.form()];
            assert!(
                forms.iter().flatten().all(|of_arm| Some(*of_arm) == form),
                "{name}: {forms:?}"
            );
            assert_eq!(asked.try_iter().count(), questions, "{name}");
        }
    }

    #[tokio::test]
    async fn gauges_are_asked_for_beside_what_is_counted_and_a_server_without_them_fails_nothing() {
        let of = |name: &str| format!(r#"{{"metric":{{"__name__":"{name}","arm":"candidate"}},"values":[[1,"17"]]}}"#);
        let shows = |query: &str| query.contains("query=lines") || query.contains("query=spent");
        let refused = super::super::batch::mock(move |query| match shows(query) {
            true => Err("no such thing"),
            false => Ok(vec![of("d")]),
        });
        let answered = super::super::batch::mock(move |query| Ok(vec![of(if shows(query) { "lines" } else { "d" })]));
        for (client, lines) in [(refused, Vec::<u32>::new()), (answered, vec![17])] {
            let batcher = Batcher::default();
            let asking = Asking {
                server: Server::default(),
                client,
                batcher: &batcher,
                gather: Duration::ZERO,
            };
            let mut query = latency(None);
            query.asks[0].role = Role::Total;
            query.shown = Some(Shown {
                lines: "lines",
                spent: "spent",
            });
            let samples = guard(&asking, &query, 1_000).await.unwrap();
            assert_eq!(samples.candidate.lines(0), lines);
            assert_eq!(samples.candidate.counted().count(), 1, "what is counted is there");
        }
    }
}
