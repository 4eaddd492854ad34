//! SIGKILL at any moment: the rollout ends as it would have ended.

use std::time::Duration;

use futures::StreamExt;
use guardbit::api::Action;

use crate::stage::setting;

/// A moment of the first 25 s of a rollout, by its seed (splitmix64).
fn moment(seed: u64) -> Duration {
    let mut z = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Duration::from_millis((z ^ (z >> 31)) % 25_000)
}

/// One rollout in which guardbit is killed: healthy where the seed is even, harmful where it is odd.
async fn killed(seed: u64) {
    let healthy = seed.is_multiple_of(2);
    let mut setting = setting(&format!("kill-{seed}")).variants(&["fp32", "int8"]);
    if !healthy {
        setting = setting.env(1, "FAULT_ERROR_RATE", "0.1");
    }
    let mut stage = setting.start().await;
    // The moment is the case itself.
    tokio::time::sleep(moment(seed)).await;
    stage.guardbit.kill_and_restart();
    let weights = if healthy {
        stage.decided(Action::Promoted, "int8").await;
        stage.weights(&[("fp32", 10), ("int8", 90)]).await;
        assert!(stage.status().rejected.is_empty(), "{}", stage.story());
        stage.answered("int8", 600).await;
        stage.ledger.weights_of("int8")
    } else {
        stage.rolled_back("errors").await;
        stage.answered("fp32", 600).await;
        stage.ledger.weights_of("int8")
    };
    let ends = if healthy {
        vec![vec![0, 5, 25, 50, 90]]
    } else {
        vec![vec![0, 5, 0], vec![0, 5, 25, 0], vec![0, 5, 25, 50, 0]]
    };
    assert!(ends.contains(&weights), "seed {seed}: {}", stage.story());
    let status = stage.status();
    assert!(status.failed.is_empty(), "seed {seed}: {}", stage.story());
    let unexpected = |d: &guardbit::api::Decision| {
        matches!(
            d.action.known(),
            Some(Action::EvidenceReset | Action::Recovered | Action::Withdrawn)
        )
    };
    assert!(
        !status.decisions.iter().any(unexpected),
        "seed {seed}: {}",
        stage.story()
    );
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_kill_at_a_random_moment_of_ten_rollouts_changes_no_end() {
    futures::stream::iter(0..10).for_each_concurrent(3, killed).await;
}
