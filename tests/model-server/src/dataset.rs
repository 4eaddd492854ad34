//! The transactions that the fraud scorer is trained, calibrated and tested on.
//!
//! They are generated. A fraud model needs some tens of thousands of held-out rows before drift of a percent can be
//! measured; the tabular sets that ship inside packages are orders of magnitude smaller or of another trade, and one
//! fetched at build time would make the image depend on a download. The generator is a plain latent-factor model:
//!
//! - six hidden traits per transaction (spending, activity, merchant risk, device trust, distance, account age);
//! - 48 features seen by the model: 12 amounts and 12 counters (log-normal, so heavy-tailed as real ones are),
//!   16 behaviour scores (traits plus noise), 6 flags, and time of day and weekend from the event time;
//! - the label follows a non-linear law (interactions, thresholds, a quadratic term) plus noise nobody can learn.
//!
//! Transactions are those that a rule engine has already singled out, so about a third of them are fraud.
//! Any transaction can be made by its number alone: a server answers for the n-th without holding a table.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::numerics::{Random, exp, sigmoid};

/// Number of features in a transaction.
pub const FEATURES: usize = 48;

const TRAITS: usize = 6;
const AMOUNTS: usize = 12;
const COUNTERS: usize = 12;
const SCORES: usize = 16;
const FLAGS: usize = 6;

/// One stretch of the transaction stream.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    seed: u64,
    /// How many transactions the split has.
    pub samples: u64,
    /// Start of the window, RFC 3339.
    pub from: &'static str,
    /// End of the window (exclusive), RFC 3339.
    pub to: &'static str,
    from_unix: u64,
    days: u64,
}

/// What the network learns from.
pub const TRAINING: Split = Split {
    seed: 0x7261_696e,
    samples: 24_576,
    from: "2026-07-01T00:00:00Z",
    to: "2026-10-01T00:00:00Z",
    from_unix: 1_782_864_000,
    days: 92,
};

/// What the ranges of the activations are taken from: later than training, and never trained on.
pub const CALIBRATION: Split = Split {
    seed: 0x6361_6c69,
    samples: 2_048,
    from: "2026-10-01T00:00:00Z",
    to: "2026-11-01T00:00:00Z",
    from_unix: 1_790_812_800,
    days: 31,
};

/// What quality and drift are measured on, and what requests by number are answered from.
pub const HELD_OUT: Split = Split {
    seed: 0x6865_6c64,
    samples: 40_000,
    from: "2026-11-01T00:00:00Z",
    to: "2026-11-15T00:00:00Z",
    from_unix: 1_793_491_200,
    days: 14,
};

/// One transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// The model's inputs, in their own units.
    pub features: [f32; FEATURES],
    /// Whether it turned out to be fraud.
    pub fraud: bool,
}

impl Split {
    /// The transaction with this number; numbers beyond the split wrap around.
    pub fn transaction(&self, number: u64) -> Transaction {
        let index = number % self.samples;
        let event_time = self.from_unix + index * self.days * 86_400 / self.samples;
        generate(&mut Random::for_item(self.seed, index), event_time)
    }

    /// All transactions in order.
    pub fn transactions(&self) -> impl Iterator<Item = Transaction> + '_ {
        (0..self.samples).map(|number| self.transaction(number))
    }

    /// SHA-256 over all features (little-endian `f32`, row by row), hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for transaction in self.transactions() {
            for feature in transaction.features {
                hash.update(feature.to_le_bytes());
            }
        }
        hex::encode(hash.finalize())
    }
}

fn generate(random: &mut Random, event_time: u64) -> Transaction {
    let traits: [f64; TRAITS] = std::array::from_fn(|_| random.normal());
    let [spending, activity, merchant_risk, device_trust, distance, account_age] = traits;

    let hour = (event_time % 86_400) as f64 / 3_600.0;
    // 1 at midnight, 0 at noon.
    let night = (hour - 12.0).abs() / 12.0;
    // The epoch was a Thursday.
    let weekend = f64::from(u8::from((event_time / 86_400 + 3) % 7 >= 5));
    let flags: [bool; FLAGS] = [
        device_trust + 0.5 * random.normal() < -0.8,
        distance + 0.5 * random.normal() > 1.0,
        merchant_risk + 0.6 * random.normal() > 0.9,
        account_age + 0.4 * random.normal() < -1.0,
        activity + 0.7 * random.normal() > 0.7,
        random.uniform() < 0.1,
    ];
    let [new_device, abroad, risky_merchant, new_account, burst, _] = flags.map(|flag| f64::from(u8::from(flag)));

    let law = -1.3
        + 1.0 * merchant_risk
        + 1.4 * new_device * distance.max(0.0)
        + 1.1 * (spending - 0.4).max(0.0) * (1.0 + abroad)
        + 0.6 * (activity * activity - 1.0)
        - 0.8 * account_age * (0.5 + risky_merchant)
        + 0.9 * burst * new_account
        + 0.7 * night * spending
        - 0.5 * device_trust
        + 0.5 * random.normal();
    let fraud = random.uniform() < sigmoid(1.4 * law);

    let mut rows = loadings().iter();
    let mut loaded = |noise: f64, random: &mut Random| {
        let row = rows.next().copied().unwrap_or_default();
        row.iter()
            .zip(&traits)
            .map(|(loading, level)| loading * level)
            .sum::<f64>()
            + noise * random.normal()
    };
    let mut features = [0.0_f32; FEATURES];
    for (index, feature) in features.iter_mut().enumerate() {
        let value = if index < AMOUNTS {
            20.0 * exp(0.7 * loaded(0.4, random))
        } else if index < AMOUNTS + COUNTERS {
            (3.0 * exp(0.6 * loaded(0.4, random))).floor()
        } else if index < AMOUNTS + COUNTERS + SCORES {
            loaded(0.5, random)
        } else if index < AMOUNTS + COUNTERS + SCORES + FLAGS {
            let flag = flags.get(index - AMOUNTS - COUNTERS - SCORES);
            f64::from(u8::from(flag.copied().unwrap_or_default()))
        } else if index == FEATURES - 2 {
            night
        } else {
            weekend
        };
        *feature = value as f32;
    }
    Transaction { features, fraud }
}

/// How strongly each amount, counter and score shows each trait: rows of length one, drawn once from a fixed seed.
fn loadings() -> &'static [[f64; TRAITS]] {
    static LOADINGS: OnceLock<Vec<[f64; TRAITS]>> = OnceLock::new();
    LOADINGS.get_or_init(|| {
        let mut random = Random::new(0x6c6f_6164);
        (0..AMOUNTS + COUNTERS + SCORES)
            .map(|_| {
                let row: [f64; TRAITS] = std::array::from_fn(|_| random.normal());
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row.map(|x| x / length)
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_fixed_by_its_number_and_wraps_around() {
        assert_eq!(HELD_OUT.transaction(17), HELD_OUT.transaction(17 + HELD_OUT.samples));
        assert_ne!(HELD_OUT.transaction(17), HELD_OUT.transaction(18));
        assert_ne!(HELD_OUT.transaction(17).features, CALIBRATION.transaction(17).features);
    }

    #[test]
    fn about_a_third_is_fraud_and_every_feature_varies() {
        let sample: Vec<Transaction> = HELD_OUT.transactions().step_by(4).collect();
        let share = sample.iter().filter(|t| t.fraud).count() as f64 / sample.len() as f64;
        assert!((0.2..0.45).contains(&share), "fraud share {share}");
        let first = sample[0].features;
        for (index, value) in first.iter().enumerate() {
            assert!(
                sample.iter().any(|t| t.features[index] != *value),
                "feature {index} is constant"
            );
            assert!(
                sample.iter().all(|t| t.features[index].is_finite()),
                "feature {index} is not finite"
            );
        }
    }

    #[test]
    fn windows_have_the_length_that_their_dates_say() {
        // Days since the epoch of the three starts and ends, from the civil calendar.
        assert_eq!(TRAINING.from_unix + TRAINING.days * 86_400, CALIBRATION.from_unix);
        assert_eq!(CALIBRATION.from_unix + CALIBRATION.days * 86_400, HELD_OUT.from_unix);
        assert_eq!(TRAINING.from_unix % 86_400, 0);
    }
}
