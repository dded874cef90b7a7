//! Schedules that are a formula of the step and little else.

use super::{span, steps_before};
use crate::optim::{Schedule, check};
use crate::{Progress, Result};

/// The optimizer's own learning rate, at every step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Constant;

impl Schedule for Constant {
    fn rate(&self, base: f64, _: &Progress) -> Result<f64> {
        Ok(base)
    }
}

/// `rate = base · gamma^⌊t / step_size⌋` with t the steps taken before; PyTorch's `StepLR`.
#[derive(Clone, Copy, Debug)]
pub struct StepDecay {
    step_size: u64,
    gamma: f64,
}

impl StepDecay {
    /// Multiplies the rate by `gamma` (0 or more) every `step_size` steps (1 or more).
    pub fn new(step_size: u64, gamma: f64) -> Self {
        Self { step_size, gamma }
    }
}

impl Schedule for StepDecay {
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64> {
        let step_size = check::count("StepDecay", "step_size", self.step_size)?;
        let gamma = check::non_negative("StepDecay", "gamma", self.gamma)?;
        Ok(base * gamma.powf((steps_before(progress) / step_size) as f64))
    }
}

/// `rate = base · gamma^(number of milestones reached)`; PyTorch's `MultiStepLR`. A milestone m is reached once m steps
/// have been taken, so that the first changed step is m + 1.
#[derive(Clone, Debug)]
pub struct MultiStep {
    milestones: Vec<u64>,
    gamma: f64,
}

impl MultiStep {
    /// Multiplies the rate by `gamma` (0 or more) at each of `milestones`, in steps and in any order.
    pub fn new(milestones: impl Into<Vec<u64>>, gamma: f64) -> Self {
        Self { milestones: milestones.into(), gamma }
    }
}

impl Schedule for MultiStep {
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64> {
        let gamma = check::non_negative("MultiStep", "gamma", self.gamma)?;
        let reached = self.milestones.iter().filter(|&&m| m <= steps_before(progress)).count();
        Ok(base * gamma.powf(reached as f64))
    }
}

/// `rate = base · gamma^t` with t the steps taken before; PyTorch's `ExponentialLR`.
#[derive(Clone, Copy, Debug)]
pub struct Exponential {
    gamma: f64,
}

impl Exponential {
    /// Multiplies the rate by `gamma` (0 or more) after every step.
    pub fn new(gamma: f64) -> Self {
        Self { gamma }
    }
}

impl Schedule for Exponential {
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64> {
        Ok(base * check::non_negative("Exponential", "gamma", self.gamma)?.powf(steps_before(progress) as f64))
    }
}

/// `rate = base · (1 − min(t, T) / T)^power` with t the steps taken before and T the number of steps; PyTorch's
/// `PolynomialLR`. Power 1 is the linear decay to 0.
#[derive(Clone, Copy, Debug)]
pub struct Polynomial {
    power: f64,
    total_steps: Option<u64>,
}

impl Polynomial {
    /// A decay over the whole run with the given `power` (0 or more).
    pub fn new(power: f64) -> Self {
        Self { power, total_steps: None }
    }

    /// The number of steps over which it decays; the run's where this is not called.
    pub fn total_steps(mut self, total_steps: u64) -> Self {
        self.total_steps = Some(total_steps);
        self
    }
}

impl Schedule for Polynomial {
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64> {
        let power = check::non_negative("Polynomial", "power", self.power)?;
        let total = span("Polynomial", self.total_steps, progress)?;
        let left = 1.0 - steps_before(progress).min(total) as f64 / total as f64;
        Ok(base * left.powf(power))
    }
}

/// `rate = base · min(s / w, √(w / s))` at step s = 1, 2, … with w the warm-up: a linear rise to `base` at step w, then a
/// fall with the root of the step (Vaswani et al. 2017, section 5.3).
///
/// The paper's rate is d_model^−0.5 · min(s^−0.5, s · w^−1.5): the same curve, whose peak is 1 / √(d_model · w) instead
/// of the optimizer's own rate.
#[derive(Clone, Copy, Debug)]
pub struct InverseSqrt {
    warmup_steps: u64,
}

impl InverseSqrt {
    /// A peak at step `warmup_steps` (1 or more).
    pub fn new(warmup_steps: u64) -> Self {
        Self { warmup_steps }
    }
}

impl Schedule for InverseSqrt {
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64> {
        let warmup = check::count("InverseSqrt", "warmup_steps", self.warmup_steps)? as f64;
        let step = progress.step.max(1) as f64;
        Ok(base * (step / warmup).min((warmup / step).sqrt()))
    }
}
