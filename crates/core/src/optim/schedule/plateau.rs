//! A rate that follows the validation loss.

use serde::{Deserialize, Serialize};

use crate::optim::{Schedule, check};
use crate::{Progress, Result, State};

/// A reduction smaller than this is not made, as in PyTorch.
const SMALLEST_CHANGE: f64 = 1e-8;

/// Multiplies the rate by `factor` once more than `patience` validations in a row have not brought a validation loss
/// below `best · (1 − threshold)`; PyTorch's `ReduceLROnPlateau` in mode `min` with a relative threshold.
///
/// A validation loss that is not finite counts as no improvement.
#[derive(Clone, Copy, Debug)]
pub struct ReduceOnPlateau {
    factor: f64,
    patience: u64,
    threshold: f64,
    cooldown: u64,
    min_lr: f64,
    seen: Seen,
}

/// What it has observed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Seen {
    best: Option<f64>,
    num_bad: u64,
    cooldown_left: u64,
    num_reductions: u64,
}

impl Default for ReduceOnPlateau {
    fn default() -> Self {
        Self { factor: 0.1, patience: 10, threshold: 1e-4, cooldown: 0, min_lr: 0.0, seen: Seen::default() }
    }
}

impl ReduceOnPlateau {
    /// PyTorch's defaults: factor 0.1, patience 10, threshold 10⁻⁴, no cooldown, minimum 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// What each reduction multiplies the rate by; in [0, 1).
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// How many validations without improvement are accepted in a row.
    pub fn patience(mut self, patience: u64) -> Self {
        self.patience = patience;
        self
    }

    /// The relative improvement that counts as one; in [0, 1).
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// How many validations after a reduction are not counted.
    pub fn cooldown(mut self, cooldown: u64) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// The rate below which it does not go; 0 or more.
    pub fn min_lr(mut self, min_lr: f64) -> Self {
        self.min_lr = min_lr;
        self
    }

    fn improves(&self, loss: f64) -> bool {
        loss.is_finite() && self.seen.best.is_none_or(|best| loss < best * (1.0 - self.threshold))
    }
}

impl Schedule for ReduceOnPlateau {
    fn rate(&self, base: f64, _: &Progress) -> Result<f64> {
        let factor = check::fraction("ReduceOnPlateau", "factor", self.factor)?;
        let min_lr = check::non_negative("ReduceOnPlateau", "min_lr", self.min_lr)?;
        check::fraction("ReduceOnPlateau", "threshold", self.threshold)?;
        let mut rate = base;
        for _ in 0..self.seen.num_reductions {
            let next = (rate * factor).max(min_lr);
            if rate - next <= SMALLEST_CHANGE {
                break;
            }
            rate = next;
        }
        Ok(rate)
    }

    fn observe(&mut self, validation_loss: f64) {
        let improves = self.improves(validation_loss);
        let seen = &mut self.seen;
        if improves {
            seen.best = Some(validation_loss);
            seen.num_bad = 0;
        } else {
            seen.num_bad += 1;
        }
        if seen.cooldown_left > 0 {
            seen.cooldown_left -= 1;
            seen.num_bad = 0;
        }
        if seen.num_bad > self.patience {
            *seen = Seen { num_bad: 0, cooldown_left: self.cooldown, num_reductions: seen.num_reductions + 1, ..*seen };
        }
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.put("plateau", &self.seen)?;
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.seen = state.value("plateau")?;
        Ok(())
    }
}
