//! The best validation of a run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Progress, Score};

/// The best validation so far, by one of its scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The score's name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Whether larger is better.
    pub higher_is_better: bool,
    /// The step after which it was measured.
    pub step: u64,
    /// The epoch in which it was measured.
    pub epoch: u64,
}

impl Best {
    /// The validation that `progress` stands at, as the best one.
    pub(super) fn new(score: &Score, progress: &Progress) -> Self {
        let Score { name, value, higher_is_better } = score.clone();
        Self { name, value, higher_is_better, step: progress.step, epoch: progress.epoch }
    }

    /// Whether `score` is better than this by more than `min_change`.
    pub(super) fn is_beaten_by(&self, score: &Score, min_change: f64) -> bool {
        let gain = if self.higher_is_better { score.value - self.value } else { self.value - score.value };
        gain > min_change
    }
}

impl fmt::Display for Best {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.4} at epoch {}", self.name, self.value, self.epoch)
    }
}
