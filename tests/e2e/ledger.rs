//! What happened: weights as the HTTPRoute held them, answers as they came back, both over time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use model_server::load::{Counts, Load};

/// Share of traffic by variant, in percent.
pub type Weights = BTreeMap<String, i64>;

/// A gateway takes this long to follow its route, at most.
const SETTLE: Duration = Duration::from_millis(2000);

/// Stretches shorter than this say too little.
const TELLING: Duration = Duration::from_millis(2000);

/// Written by the watches of a [`crate::stage::Stage`].
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    weights: Vec<(Instant, Weights)>,
    counts: Vec<(Instant, Counts)>,
    ended: Option<Instant>,
}

impl Ledger {
    /// The weights are these from now on.
    pub fn weights_are(&self, weights: Weights) {
        let mut pages = self.0.lock().unwrap();
        if pages.weights.last().is_none_or(|(_, last)| *last != weights) {
            pages.weights.push((Instant::now(), weights));
        }
    }

    /// The load ends: what comes after says nothing of shares.
    pub fn end(&self) {
        self.0.lock().unwrap().ended = Some(Instant::now());
    }

    /// Shares begin to count now: before, the gateway was not told of the weights.
    pub fn shares_count_from_now(&self) {
        let mut pages = self.0.lock().unwrap();
        if let Some((_, last)) = pages.weights.last().cloned() {
            pages.weights = vec![(Instant::now(), last)];
        }
    }

    /// Reads the counts of a load ten times a second.
    pub async fn follow(self, load: Load) {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            let counts = load.counts();
            self.0.lock().unwrap().counts.push((Instant::now(), counts));
        }
    }

    /// The weights that a variant had, one after the other.
    pub fn weights_of(&self, variant: &str) -> Vec<i64> {
        let pages = self.0.lock().unwrap();
        let mut of: Vec<i64> = pages
            .weights
            .iter()
            .map(|(_, w)| w.get(variant).copied().unwrap_or(0))
            .collect();
        of.dedup();
        of
    }

    /// The weights that stand now.
    pub fn weights(&self) -> Weights {
        self.0
            .lock()
            .unwrap()
            .weights
            .last()
            .map(|(_, w)| w.clone())
            .unwrap_or_default()
    }

    /// Everything that is known of the weights, for messages.
    pub fn story(&self) -> String {
        let pages = self.0.lock().unwrap();
        let Some((begun, _)) = pages.weights.first() else {
            return "no weights were ever seen".to_owned();
        };
        let line = |(at, w): &(Instant, Weights)| format!("{:7.1} s  {w:?}\n", (*at - *begun).as_secs_f64());
        pages.weights.iter().map(line).collect()
    }

    /// In every stretch of unchanged weights each variant answered its share, as far as chance allows (five standard
    /// deviations), and pinned requests were answered in full precision. At least `stretches` of them must be telling.
    pub fn assert_traffic_followed_weights(&self, stretches: usize) {
        let pages = self.0.lock().unwrap();
        let ends = pages
            .weights
            .iter()
            .skip(1)
            .map(|(at, _)| *at)
            .chain([pages.ended.unwrap_or_else(Instant::now)]);
        let mut told = 0;
        for ((from, weights), to) in pages.weights.iter().zip(ends) {
            let within = |(at, _): &&(Instant, Counts)| *at >= *from + SETTLE && *at <= to;
            let mut counts = pages.counts.iter().filter(within);
            let Some((first_at, first)) = counts.next() else {
                continue;
            };
            let Some((last_at, last)) = counts.next_back() else {
                continue;
            };
            // No weights: the route is gone.
            if weights.is_empty() || *last_at - *first_at < TELLING {
                continue;
            }
            told += 1;
            let answered = difference(&last.by_variant, &first.by_variant);
            let n: u64 = answered.values().sum();
            let whole: i64 = weights.values().sum();
            assert!(n > 0 && whole > 0, "no traffic at {weights:?}");
            for variant in answered.keys().chain(weights.keys()) {
                let due = weights.get(variant).copied().unwrap_or(0) as f64 / whole as f64;
                let share = answered.get(variant).copied().unwrap_or(0) as f64 / n as f64;
                let allowed = 5.0 * (due * (1.0 - due) / n as f64).sqrt() + 0.005;
                assert!(
                    (share - due).abs() <= allowed,
                    "{variant} answered {share:.3} of {n} requests at {weights:?} (±{allowed:.3})"
                );
            }
            let pinned = difference(&last.pinned_by_variant, &first.pinned_by_variant);
            assert!(
                pinned.len() == 1 && pinned.contains_key("fp32"),
                "pinned requests at {weights:?}: {pinned:?}"
            );
        }
        assert!(told >= stretches, "only {told} stretches were long enough to tell");
    }
}

fn difference(last: &BTreeMap<String, u64>, first: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let minus = |(k, n): (&String, &u64)| (k.clone(), n - first.get(k).copied().unwrap_or(0));
    last.iter().map(minus).filter(|(_, n)| *n > 0).collect()
}
