//! The forecast of a rollout that has begun: one sentence for status, computed beside the reconciles.
//!
//! It never delays a reconcile and never causes a write: it is computed off the executor, one at a time in the whole
//! process, with a rest after each that is longer than the work, and goes along with the next status that is written
//! anyway. A forecast that waits for its turn holds no samples, only what was made of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::api::{QuantizedModelStatus, RolloutStatus};
use crate::foresight::{Begun, Budget};
use crate::rollout::Observation;

/// Time that one forecast may take, on one processor.
const TIME: Duration = Duration::from_millis(200);

/// Most runs of a scene.
const RUNS: u64 = 60;

/// Rest after a forecast, as a multiple of what it took: all forecasts together take at most 1/1000 of one processor.
const REST: u32 = 999;

/// Rollouts that may wait for their turn at once. Others ask again at a later reconcile, which sees less of the past.
const PLACES: usize = 16;

/// Longest sentence, in characters, as the API limits it.
const LONGEST: usize = 512;

/// The forecasts, by model.
pub(super) struct Forecasts {
    turn: Semaphore,
    places: Arc<Semaphore>,
    rest: u32,
    known: Mutex<HashMap<String, Foreseen>>,
}

/// The forecast of one rollout.
struct Foreseen {
    /// The rollout.
    of: Which,
    /// `None` while it is not known yet, or if nothing can be foreseen.
    sentence: Option<String>,
}

/// A rollout under one plan.
#[derive(Clone, Debug, PartialEq)]
struct Which {
    plan_digest: String,
    started_at: i64,
}

impl Which {
    fn of(rollout: &RolloutStatus) -> Self {
        Self {
            plan_digest: rollout.plan_digest.clone(),
            started_at: rollout.started_at.0.as_millisecond(),
        }
    }
}

impl Default for Forecasts {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            places: Arc::new(Semaphore::new(PLACES)),
            rest: REST,
            known: Mutex::default(),
        }
    }
}

impl Forecasts {
    /// Puts the forecast into the next status of a rollout, if there is one; begins it where it can be begun.
    pub(super) fn tell(self: &Arc<Self>, uid: &str, seen: &Observation, next: &mut QuantizedModelStatus) {
        let Some(rollout) = &mut next.rollout else {
            return self.forget(uid);
        };
        if rollout.forecast.is_some() {
            return;
        }
        let of = Which::of(rollout);
        {
            let known = self.known.lock();
            if let Some(foreseen) = known.get(uid).filter(|f| f.of == of) {
                rollout.forecast.clone_from(&foreseen.sentence);
                return;
            }
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return;
        };
        if let Some(begun) = Begun::of(rollout, &next.arms, seen) {
            drop(self.begin(uid.to_owned(), of, begun, place));
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.known.lock().remove(uid);
    }

    /// Waits for its turn, computes the forecast, keeps the sentence, and rests.
    fn begin(self: &Arc<Self>, uid: String, of: Which, begun: Begun, place: OwnedSemaphorePermit) -> JoinHandle<()> {
        let foreseen = Foreseen {
            of: of.clone(),
            sentence: None,
        };
        self.known.lock().insert(uid.clone(), foreseen);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _turn = this.turn.acquire().await;
            if !this.waits(&uid, &of) {
                return;
            }
            let since = Instant::now();
            let sentence = tokio::task::spawn_blocking(move || foresee(&begun)).await;
            let took = since.elapsed();
            this.keep(&uid, &of, sentence.ok().flatten());
            drop(place);
            tokio::time::sleep(took * this.rest).await;
        })
    }

    /// Whether the rollout still goes on as it did when its forecast began.
    fn waits(&self, uid: &str, of: &Which) -> bool {
        let known = self.known.lock();
        known.get(uid).is_some_and(|f| f.of == *of)
    }

    fn keep(&self, uid: &str, of: &Which, sentence: Option<String>) {
        let mut known = self.known.lock();
        if let Some(foreseen) = known.get_mut(uid).filter(|f| f.of == *of) {
            foreseen.sentence = sentence.map(|s| s.chars().take(LONGEST).collect());
        }
    }
}

fn foresee(begun: &Begun) -> Option<String> {
    let since = Instant::now();
    begun.headline(&Budget {
        threads: 1,
        runs: RUNS,
        used: &|| since.elapsed().as_secs_f64() / TIME.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::QuantizedModelSpec;
    use crate::foresight::Traffic;

    fn begun(rps: f64) -> Begun {
        let sample = include_str!("../../tests/testdata/fraud-scorer.yaml");
        let file: serde_json::Value = serde_yaml_ng::from_str(sample).unwrap();
        let spec: QuantizedModelSpec = serde_json::from_value(file["spec"].clone()).unwrap();
        let traffic = Traffic::assumed(&spec, rps, 0.005);
        Begun {
            spec,
            traffic,
            scrape: 15.0,
            control_arm: false,
        }
    }

    fn rollout(at: i64) -> Which {
        Which {
            plan_digest: "sha256:1".to_owned(),
            started_at: at,
        }
    }

    fn restless() -> Arc<Forecasts> {
        Arc::new(Forecasts {
            rest: 0,
            ..Forecasts::default()
        })
    }

    /// Begins a forecast, which has a place.
    fn begin(forecasts: &Arc<Forecasts>, uid: &str, at: i64, rps: f64) -> JoinHandle<()> {
        let place = Arc::clone(&forecasts.places).try_acquire_owned().unwrap();
        forecasts.begin(uid.to_owned(), rollout(at), begun(rps), place)
    }

    fn sentence(forecasts: &Forecasts, uid: &str) -> Option<String> {
        forecasts.known.lock().get(uid).and_then(|f| f.sentence.clone())
    }

    #[tokio::test]
    async fn a_forecast_is_a_sentence_and_a_rollout_that_has_ended_gets_none() {
        let forecasts = restless();
        let first = begin(&forecasts, "a", 1, 200.0);
        let ended = begin(&forecasts, "b", 1, 200.0);
        let again = begin(&forecasts, "c", 1, 200.0);
        forecasts.forget("b");
        let another = begin(&forecasts, "c", 2, 0.0);
        for task in [first, ended, again, another] {
            task.await.unwrap();
        }
        let told = sentence(&forecasts, "a").unwrap();
        assert!(
            told.starts_with("at 200 rps: health ") && told.ends_with("; deadline 4h"),
            "{told}"
        );
        assert_eq!(sentence(&forecasts, "b"), None);
        assert_eq!(
            sentence(&forecasts, "c"),
            None,
            "without traffic, and the one before is over"
        );
    }

    #[tokio::test]
    async fn forecasts_of_many_models_take_turns() {
        let forecasts = restless();
        let turn = forecasts.turn.acquire().await.unwrap();
        let tasks: Vec<_> = (0..PLACES)
            .map(|i| begin(&forecasts, &format!("m{i}"), 1, 200.0))
            .collect();
        assert!(
            Arc::clone(&forecasts.places).try_acquire_owned().is_err(),
            "no more may wait"
        );
        (0..PLACES - 1).for_each(|i| forecasts.forget(&format!("m{i}")));
        tokio::task::yield_now().await;
        assert!(
            tasks.iter().all(|task| !task.is_finished()),
            "somebody else has the turn"
        );
        drop(turn);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(forecasts.places.available_permits(), PLACES);
        assert!(sentence(&forecasts, &format!("m{}", PLACES - 1)).is_some());
    }
}
