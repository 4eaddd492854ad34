//! Runs a property on generated inputs for as long as was asked, in batches that a seed repeats.

use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// Inputs of one batch.
const BATCH: u32 = 500;

/// Seconds of each campaign; `make fuzz` sets more.
fn seconds() -> u64 {
    std::env::var("GUARDBIT_FUZZ_SECONDS").map_or(3, |s| s.parse().expect("a number of seconds"))
}

/// First batch: campaigns of another day look elsewhere, and a failure is repeated with the seed that it names.
fn first() -> u64 {
    std::env::var("GUARDBIT_FUZZ_SEED").map_or(0, |s| s.parse().expect("a number"))
}

/// Checks inputs until the time is over; fails with the smallest input that does, and the seed of its batch.
pub fn campaign<S: Strategy>(name: &str, inputs: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let until = Instant::now() + Duration::from_secs(seconds());
    let mut batches = 0;
    while Instant::now() < until || batches == 0 {
        let seed = first() + batches;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases: BATCH,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        if let Err(failure) = runner.run(&inputs, &check) {
            panic!("{name}, GUARDBIT_FUZZ_SEED={seed}: {failure}");
        }
        batches += 1;
    }
    println!("{name}: {} inputs, no failure", batches * u64::from(BATCH));
}
