//! Gathers the questions of many models into few queries.
//!
//! Questions go together if they ask the same of the same server with the same credentials, within a moment. What one
//! query cannot answer for all is asked in halves, and at last one by one, so that a model never suffers from another's
//! question.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join, join_all};
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::evidence::{Batch, BatchedArm, Form, Matrix, fitting, shape};
use crate::rollout::{EvidenceProblem, EvidenceReason};

use super::problem::{bad_query, problem};
use super::{PrometheusClient, PrometheusError};

/// Queries of one batch that run at once.
const AT_ONCE: usize = 4;

/// A cap that has grown to this number of questions is forgotten.
const FORGET_CAP: usize = 128;

/// A server with its credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) url: String,
    /// Namespace and name of the Secret.
    pub(super) secret: Option<(String, String)>,
}

/// A question of a model about one arm.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) form: Form,
    pub(super) selector: String,
    pub(super) arm: BatchedArm,
}

/// Questions that may share a query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    server: Server,
    form: Form,
    selector: String,
    labels: Vec<String>,
    /// Power of two of the window, so that an hour of history is not asked for all because one needs it.
    window: u32,
}

struct Waiting {
    arm: BatchedArm,
    answer: oneshot::Sender<Result<Matrix, EvidenceProblem>>,
}

/// The questions that are being gathered, and what was too much to ask at once.
#[derive(Clone, Default)]
pub(super) struct Batcher {
    waiting: Arc<Mutex<HashMap<Kind, Vec<Waiting>>>>,
    /// How many questions of a kind go together, where that is fewer than fit.
    caps: Arc<Mutex<HashMap<Kind, usize>>>,
}

impl Batcher {
    /// Answers a question, which may wait for others for as long as `gather`.
    pub(super) async fn ask(
        &self,
        server: &Server,
        client: &PrometheusClient,
        question: Question,
        gather: Duration,
    ) -> Result<Matrix, EvidenceProblem> {
        let Question { form, selector, arm } = question;
        let Some(labels) = shape(&arm.matchers) else {
            return alone(client, form, &selector, &arm).await;
        };
        let kind = Kind {
            server: server.clone(),
            form,
            selector,
            labels,
            window: arm.through.abs_diff(arm.after).max(1).ilog2(),
        };
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { arm, answer };
        if self.is_first(&kind, waiting) {
            let (batcher, client) = (self.clone(), client.clone());
            tokio::spawn(async move {
                tokio::time::sleep(gather).await;
                batcher.answer(&client, &kind).await;
            });
        }
        answered.await.unwrap_or_else(|_| Err(dropped()))
    }

    fn is_first(&self, kind: &Kind, waiting: Waiting) -> bool {
        let mut gathered = self.waiting.lock();
        let others = gathered.entry(kind.clone()).or_default();
        others.push(waiting);
        others.len() == 1
    }

    /// Answers all questions of a kind that were gathered, in as many queries as it takes.
    async fn answer(&self, client: &PrometheusClient, kind: &Kind) {
        let gathered = self.waiting.lock().remove(kind);
        let cap = self.caps.lock().get(kind).copied();
        let (mut waiting, mut parts) = (gathered.unwrap_or_default(), Vec::new());
        while !waiting.is_empty() {
            let arms: Vec<_> = waiting.iter().map(|w| w.arm.clone()).collect();
            let fit = fitting(&arms).min(cap.unwrap_or(usize::MAX));
            let rest = waiting.split_off(fit.min(waiting.len()));
            parts.push(std::mem::replace(&mut waiting, rest));
        }
        let most = parts.iter().map(Vec::len).max().unwrap_or_default();
        let fewest = AtomicUsize::new(usize::MAX);
        stream::iter(parts)
            .for_each_concurrent(AT_ONCE, |part| together(client, kind, part, &fewest))
            .await;
        self.learn(kind, most, fewest.into_inner());
    }

    /// Lowers the cap after a query that was too large, and raises it a little after one that went well.
    fn learn(&self, kind: &Kind, most: usize, failed: usize) {
        let mut caps = self.caps.lock();
        match caps.get(kind).copied() {
            _ if failed <= most => drop(caps.insert(kind.clone(), (failed / 2).max(1))),
            Some(cap) if cap >= FORGET_CAP => drop(caps.remove(kind)),
            Some(cap) => drop(caps.insert(kind.clone(), cap + 1)),
            None => {}
        }
    }
}

/// Answers with one query, or else by halves. `fewest` is lowered to the smallest number that was too many.
fn together<'a>(
    client: &'a PrometheusClient,
    kind: &'a Kind,
    mut waiting: Vec<Waiting>,
    fewest: &'a AtomicUsize,
) -> BoxFuture<'a, ()> {
    async move {
        if waiting.len() <= 1 {
            join_all(waiting.into_iter().map(|Waiting { arm, answer }| async move {
                // There is no receiver any more when the process ends.
                let _ = answer.send(alone(client, kind.form, &kind.selector, &arm).await);
            }))
            .await;
            return;
        }
        match query(client, kind, &waiting).await {
            Ok(answers) => {
                for (Waiting { answer, .. }, matrix) in waiting.into_iter().zip(answers) {
                    let _ = answer.send(Ok(matrix));
                }
            }
            Err(Failed::ForAll(problem)) => {
                for Waiting { answer, .. } in waiting {
                    let _ = answer.send(Err(problem.clone()));
                }
            }
            // The error may name other models, so it is reported to none of them.
            Err(Failed::ForSome) => {
                fewest.fetch_min(waiting.len(), Ordering::Relaxed);
                let rest = waiting.split_off(waiting.len() / 2);
                join(
                    together(client, kind, waiting, fewest),
                    together(client, kind, rest, fewest),
                )
                .await;
            }
        }
    }
    .boxed()
}

/// Why a query gave no answer.
enum Failed {
    /// No question would get an answer.
    ForAll(EvidenceProblem),
    /// Some of the questions may get an answer.
    ForSome,
}

async fn query(client: &PrometheusClient, kind: &Kind, waiting: &[Waiting]) -> Result<Vec<Matrix>, Failed> {
    let arms: Vec<_> = waiting.iter().map(|w| w.arm.clone()).collect();
    let at = arms.iter().map(|arm| arm.through).max().unwrap_or_default();
    let batch = Batch::of(kind.form, &kind.selector, arms, at).map_err(|_| Failed::ForSome)?;
    match client.samples(batch.query(), at).await {
        Ok(answer) => Ok(batch.split(answer)),
        Err(error @ (PrometheusError::Unreachable { .. } | PrometheusError::Unauthorized { .. })) => {
            Err(Failed::ForAll(problem(error)))
        }
        Err(_) => Err(Failed::ForSome),
    }
}

async fn alone(
    client: &PrometheusClient,
    form: Form,
    selector: &str,
    arm: &BatchedArm,
) -> Result<Matrix, EvidenceProblem> {
    let window = arm.through.abs_diff(arm.after);
    let query = form.query(selector, &arm.matchers, window).map_err(bad_query)?;
    client.samples(&query, arm.through).await.map_err(problem)
}

fn dropped() -> EvidenceProblem {
    EvidenceProblem {
        reason: EvidenceReason::Unreachable,
        message: "the question was dropped because guardbit ends".to_owned(),
    }
}

/// A Prometheus for tests: passes what was asked to `answer`, and replies with the series or the error that it returns.
#[cfg(test)]
pub(super) fn mock(answer: impl Fn(&str) -> Result<Vec<String>, &'static str> + Send + 'static) -> PrometheusClient {
    use std::io::{Read as _, Write as _};

    use super::{AllowedUrls, Credentials, Limits};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let mut asked = String::from_utf8_lossy(&head).into_owned();
            let length = asked
                .to_lowercase()
                .split_once("content-length: ")
                .map_or(0, |(_, rest)| {
                    rest.lines().next().and_then(|n| n.trim().parse().ok()).unwrap_or(0)
                });
            let mut form = vec![0; length];
            let _ = stream.read_exact(&mut form);
            asked.push_str(&String::from_utf8_lossy(&form));
            let (status, body) = match answer(&asked) {
                Ok(series) => {
                    let series = series.join(",");
                    (
                        200,
                        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#),
                    )
                }
                Err(why) => (
                    422,
                    format!(r#"{{"status":"error","errorType":"execution","error":"{why}"}}"#),
                ),
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    let allowed = AllowedUrls::parse([&url]).unwrap();
    PrometheusClient::new(&url, &allowed, &Credentials::default(), Limits::default()).unwrap()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::evidence::{ArmMatcher, MatcherOp};

    const GATHER: Duration = Duration::from_millis(50);

    fn question(model: &str) -> Question {
        Question {
            form: Form::Counter,
            selector: "requests".to_owned(),
            arm: BatchedArm {
                matchers: vec![ArmMatcher {
                    label: "model".to_owned(),
                    op: MatcherOp::Equal,
                    value: model.to_owned(),
                }],
                after: 0,
                through: 60_000,
            },
        }
    }

    /// A server that has a series of every model that it is asked for, and refuses queries that ask for `bad`.
    fn server() -> (PrometheusClient, Receiver<String>) {
        let (asked, questions) = channel();
        let client = mock(move |query| {
            let _ = asked.send(query.to_owned());
            if query.contains("bad") {
                return Err("bad series");
            }
            let models = (0..300)
                .map(|i| format!("m{i:03}"))
                .filter(|model| query.contains(model.as_str()));
            let series = |model: String| {
                format!(r#"{{"metric":{{"__name__":"requests","model":"{model}"}},"values":[[30,"1"]]}}"#)
            };
            Ok(models.map(series).collect())
        });
        (client, questions)
    }

    fn models(answer: &Result<Matrix, EvidenceProblem>) -> Result<Vec<&str>, EvidenceReason> {
        let matrix = answer.as_ref().map_err(|problem| problem.reason)?;
        Ok(matrix.series.iter().filter_map(|s| s.labels.get("model")).collect())
    }

    #[tokio::test]
    async fn one_query_serves_many_models_and_each_gets_its_own() {
        let (client, asked) = server();
        let (batcher, server) = (Batcher::default(), Server::default());
        let names: Vec<String> = (0..300).map(|i| format!("m{i:03}")).collect();
        let answers = join_all(names.iter().map(|m| batcher.ask(&server, &client, question(m), GATHER))).await;
        for (name, answer) in names.iter().zip(&answers) {
            assert_eq!(models(answer), Ok(vec![name.as_str()]));
        }
        assert!(asked.try_iter().count() <= 3);
    }

    #[tokio::test]
    async fn a_question_that_cannot_be_answered_fails_alone_and_its_words_stay_its_own() {
        let (client, asked) = server();
        let (batcher, server) = (Batcher::default(), Server::default());
        let names = ["m000", "m001", "bad", "m002", "m003", "m004", "m005", "m006"];
        let answers = join_all(names.map(|m| batcher.ask(&server, &client, question(m), GATHER))).await;
        for (name, answer) in names.iter().zip(&answers) {
            match *name {
                "bad" => assert_eq!(models(answer), Err(EvidenceReason::BadQuery)),
                name => assert_eq!(models(answer), Ok(vec![name])),
            }
        }
        let problem = answers[2].as_ref().unwrap_err();
        assert!(!problem.message.contains("m00"), "{}", problem.message);
        assert_eq!(asked.try_iter().count(), 7, "all, two halves, two quarters, two alone");
    }

    #[tokio::test]
    async fn what_was_too_much_at_once_is_asked_in_smaller_parts_from_then_on() {
        let (asked, questions) = channel();
        let client = mock(move |query| {
            let several = query.contains("%7C");
            let _ = asked.send(several);
            if several {
                Err("too many samples")
            } else {
                Ok(Vec::new())
            }
        });
        let (batcher, server) = (Batcher::default(), Server::default());
        let all = async || {
            join_all(["m000", "m001", "m002", "m003"].map(|m| batcher.ask(&server, &client, question(m), GATHER))).await
        };
        assert!(all().await.iter().all(Result::is_ok));
        assert_eq!(
            questions.try_iter().filter(|several| *several).count(),
            3,
            "four, two and two"
        );
        assert!(all().await.iter().all(Result::is_ok));
        assert_eq!(questions.try_iter().collect::<Vec<_>>(), [false; 4]);
    }

    #[tokio::test]
    async fn questions_with_other_credentials_never_share_a_query() {
        let (client, asked) = server();
        let batcher = Batcher::default();
        let with = |secret: &str| Server {
            url: "http://prometheus".to_owned(),
            secret: Some(("risk".to_owned(), secret.to_owned())),
        };
        let (one, other) = (with("a"), with("b"));
        let (first, second) = join(
            batcher.ask(&one, &client, question("m000"), GATHER),
            batcher.ask(&other, &client, question("m001"), GATHER),
        )
        .await;
        assert_eq!((models(&first), models(&second)), (Ok(vec!["m000"]), Ok(vec!["m001"])));
        let asked: Vec<_> = asked.try_iter().collect();
        assert_eq!(asked.len(), 2);
        assert!(
            asked.iter().all(|q| q.contains("m000") != q.contains("m001")),
            "{asked:?}"
        );
    }
}
