//! Waits until guardbit says what an action brings about.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;

use crate::api::{ActState, PrecisionAction, PrecisionActionStatus};

/// An action that was followed.
pub(super) struct Followed {
    /// As it was seen last.
    pub(super) newest: Option<PrecisionAction>,
    /// Why it has no effect, or none yet.
    pub(super) end: Result<(), String>,
}

/// Follows an action until guardbit has taken it into account or found that it has no effect. Each state that it comes to
/// is said.
pub(super) async fn follow(
    actions: Api<PrecisionAction>,
    name: &str,
    longest: Duration,
    mut say: impl FnMut(&str),
) -> Followed {
    let (mut newest, mut problem) = (None, None);
    let watching = async {
        let mut events = pin!(watch_object(actions, name).default_backoff());
        let mut said = String::new();
        loop {
            match events.next().await {
                Some(Ok(Some(action))) => {
                    let status = newest.insert(action).status.as_ref();
                    let now = status
                        .map(|status| format!("{}: {}", status.state, status.message))
                        .unwrap_or_default();
                    if now != said {
                        say(&now);
                        said = now;
                    }
                    if let Some(end) = status.and_then(end) {
                        return end;
                    }
                }
                Some(Ok(None)) => return Err("somebody has deleted it".to_owned()),
                Some(Err(error)) => problem = Some(error.to_string()),
                None => return Err("the API server tells no more of it".to_owned()),
            }
        }
    };
    let end = tokio::time::timeout(longest, watching).await;
    let end = end.unwrap_or_else(|_| Err(not_in_time(longest, newest.as_ref(), problem.as_deref())));
    Followed {
        newest,
        end: end.map_err(|why| format!("{name} was created; {why}")),
    }
}

/// Whether the action has had an effect, once that is certain.
fn end(status: &PrecisionActionStatus) -> Option<Result<(), String>> {
    match status.state.known()? {
        ActState::InForce | ActState::Used => Some(Ok(())),
        ActState::Inert | ActState::Lapsed | ActState::Lifted => Some(Err(format!(
            "it has no effect, for it is {}: {}",
            status.state, status.message
        ))),
        ActState::Waiting => None,
    }
}

fn not_in_time(longest: Duration, newest: Option<&PrecisionAction>, problem: Option<&str>) -> String {
    match (newest.and_then(|action| action.status.as_ref()), problem) {
        (Some(status), _) => format!("after {longest:?} it is still {}: {}", status.state, status.message),
        (None, Some(problem)) => format!("what guardbit says of it could not be watched: {problem}"),
        (None, None) => {
            format!("guardbit has said nothing of it in {longest:?}: is it running, and does it watch this namespace?")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Word;

    #[test]
    fn it_ends_when_the_effect_is_certain() {
        let of = |state: Word<ActState>| {
            end(&PrecisionActionStatus {
                state,
                message: "why".to_owned(),
                record: None,
            })
        };
        for state in [ActState::InForce, ActState::Used] {
            assert_eq!(of(state.into()), Some(Ok(())), "{state}");
        }
        for state in [ActState::Inert, ActState::Lapsed, ActState::Lifted] {
            let why = format!("it has no effect, for it is {state}: why");
            assert_eq!(of(state.into()), Some(Err(why)), "{state}");
        }
        for word in [Word::Known(ActState::Waiting), Word::Unknown("Doubtful".to_owned())] {
            assert_eq!(of(word.clone()), None, "{word}");
        }
    }
}
