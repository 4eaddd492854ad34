//! rollout (under construction).
