//! Half a cosine down, once or again and again.

use std::f64::consts::PI;

use super::{span, steps_before};
use crate::optim::{Schedule, check};
use crate::{Progress, Result};

/// From `start` to `end` along half a cosine, as `fraction` goes from 0 to 1.
pub(super) fn anneal(start: f64, end: f64, fraction: f64) -> f64 {
    end + (start - end) / 2.0 * (1.0 + (PI * fraction).cos())
}

/// `rate = eta_min + (base − eta_min) · (1 + cos(π · min(t, T) / T)) / 2` with t the steps taken before and T the number
/// of steps (Loshchilov and Hutter 2017, without restarts).
///
/// PyTorch's `CosineAnnealingLR` rises again after T steps; this one stays at `eta_min`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cosine {
    eta_min: f64,
    total_steps: Option<u64>,
}

impl Cosine {
    /// A fall to 0 over the whole run.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rate at the end; 0 or more, 0 where this is not called.
    pub fn eta_min(mut self, eta_min: f64) -> Self {
        self.eta_min = eta_min;
        self
    }

    /// The number of steps over which it falls; the run's where this is not called.
    pub fn total_steps(mut self, total_steps: u64) -> Self {
        self.total_steps = Some(total_steps);
        self
    }
}

impl Schedule for Cosine {
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64> {
        let eta_min = check::non_negative("Cosine", "eta_min", self.eta_min)?;
        let total = span("Cosine", self.total_steps, progress)?;
        Ok(anneal(base, eta_min, steps_before(progress).min(total) as f64 / total as f64))
    }
}

/// The fall of [`Cosine`] again and again: the first over `t_0` steps, each next one `t_mult` times as long (Loshchilov
/// and Hutter 2017); PyTorch's `CosineAnnealingWarmRestarts`.
#[derive(Clone, Copy, Debug)]
pub struct CosineRestarts {
    t_0: u64,
    t_mult: u64,
    eta_min: f64,
}

impl CosineRestarts {
    /// A restart every `t_0` steps (1 or more).
    pub fn new(t_0: u64) -> Self {
        Self { t_0, t_mult: 1, eta_min: 0.0 }
    }

    /// How many times as long each period is as the one before: 1 or more, 1 where this is not called.
    pub fn t_mult(mut self, t_mult: u64) -> Self {
        self.t_mult = t_mult;
        self
    }

    /// The rate at the end of a period; 0 or more, 0 where this is not called.
    pub fn eta_min(mut self, eta_min: f64) -> Self {
        self.eta_min = eta_min;
        self
    }

    /// The steps since the last restart, and the length of the period.
    fn position(&self, mut steps: u64) -> Result<(u64, u64)> {
        let mut period = check::count("CosineRestarts", "t_0", self.t_0)?;
        if check::count("CosineRestarts", "t_mult", self.t_mult)? == 1 {
            return Ok((steps % period, period));
        }
        while steps >= period {
            steps -= period;
            period = period.saturating_mul(self.t_mult);
        }
        Ok((steps, period))
    }
}

impl Schedule for CosineRestarts {
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64> {
        let eta_min = check::non_negative("CosineRestarts", "eta_min", self.eta_min)?;
        let (steps, period) = self.position(steps_before(progress))?;
        Ok(anneal(base, eta_min, steps as f64 / period as f64))
    }
}
