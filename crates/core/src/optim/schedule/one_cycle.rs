//! One rise and one fall.

use super::cosine::anneal;
use super::{span, steps_before};
use crate::optim::{Schedule, check};
use crate::{Error, Progress, Result};

/// A rise from `max_lr / div_factor` to `max_lr` over the first `pct_start` of the steps, then a fall to
/// `max_lr / (div_factor · final_div_factor)`, both along half a cosine (Smith and Topin 2018).
///
/// The values of PyTorch's `OneCycleLR` with its default `three_phase=False`. The optimizer's own rate sets only the
/// proportions between parameter groups, and PyTorch's cycling of the momentum is left out. After the last step the rate
/// stays at its end, where PyTorch raises an error.
#[derive(Clone, Copy, Debug)]
pub struct OneCycle {
    max_lr: f64,
    pct_start: f64,
    div_factor: f64,
    final_div_factor: f64,
    total_steps: Option<u64>,
}

impl OneCycle {
    /// A cycle over the whole run that peaks at `max_lr` (0 or more).
    pub fn new(max_lr: f64) -> Self {
        Self { max_lr, pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4, total_steps: None }
    }

    /// The part of the steps in which the rate rises: 0 to 1, 0.3 where this is not called.
    pub fn pct_start(mut self, pct_start: f64) -> Self {
        self.pct_start = pct_start;
        self
    }

    /// How many times lower than `max_lr` it starts: above 0, 25 where this is not called.
    pub fn div_factor(mut self, div_factor: f64) -> Self {
        self.div_factor = div_factor;
        self
    }

    /// How many times lower than its start it ends: above 0, 10⁴ where this is not called.
    pub fn final_div_factor(mut self, final_div_factor: f64) -> Self {
        self.final_div_factor = final_div_factor;
        self
    }

    /// The number of steps of the cycle; the run's where this is not called.
    pub fn total_steps(mut self, total_steps: u64) -> Self {
        self.total_steps = Some(total_steps);
        self
    }
}

impl Schedule for OneCycle {
    fn rate(&self, _: f64, progress: &Progress) -> Result<f64> {
        let max_lr = check::non_negative("OneCycle", "max_lr", self.max_lr)?;
        let initial = max_lr / check::positive("OneCycle", "div_factor", self.div_factor)?;
        let last = initial / check::positive("OneCycle", "final_div_factor", self.final_div_factor)?;
        if !(0.0..=1.0).contains(&self.pct_start) {
            return Err(Error::invalid("OneCycle pct_start", "a number in [0, 1]", self.pct_start));
        }
        let end = (span("OneCycle", self.total_steps, progress)? - 1) as f64;
        let step = (steps_before(progress) as f64).min(end);
        let peak = self.pct_start * (end + 1.0) - 1.0;
        if step <= peak {
            return Ok(anneal(initial, max_lr, fraction(step, 0.0, peak)));
        }
        Ok(anneal(max_lr, last, fraction(step, peak, end)))
    }
}

/// How far `step` is on the way from `start` to `end`; 1 where the way has no length.
fn fraction(step: f64, start: f64, end: f64) -> f64 {
    if end > start { (step - start) / (end - start) } else { 1.0 }
}
