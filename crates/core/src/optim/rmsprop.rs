//! RMSprop.

use glassbox_kernels::optim::{RmspropStep, rmsprop_step};

use super::check;
use super::slots::{Rule, Slots, Update, optimizer};
use crate::{ParamStore, Result};

/// RMSprop (Tieleman and Hinton 2012; centred: Graves 2013), as PyTorch's `RMSprop`:
///
/// ```text
/// g = gradient + weight_decay · w
/// v = alpha · v + (1 − alpha) · g²
/// a = alpha · a + (1 − alpha) · g            (centred)
/// d = g / (√v + eps)                         (√(v − a²) where centred)
/// w = w − learning_rate · d                  (with momentum: b = momentum · b + d, w = w − learning_rate · b)
/// ```
///
/// With alpha 0.99, eps 10⁻⁸ and neither momentum, centring nor weight decay unless asked for.
#[derive(Debug)]
pub struct RmsProp {
    slots: Slots,
    rule: RmsPropRule,
}

#[derive(Debug)]
struct RmsPropRule {
    alpha: f64,
    eps: f64,
    momentum: f64,
    centered: bool,
}

impl RmsProp {
    /// PyTorch's defaults with `learning_rate` (0 or more; PyTorch's is 0.01).
    ///
    /// # Errors
    /// A learning rate out of range. Other settings are checked at the first step.
    pub fn new(params: &ParamStore, learning_rate: f64) -> Result<Self> {
        let rule = RmsPropRule { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false };
        Ok(Self { slots: Slots::new("RmsProp", params, learning_rate, 0.0)?, rule })
    }

    /// The share of the mean squared gradient that is kept at each step: in [0, 1).
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.rule.alpha = alpha;
        self
    }

    /// What is added to the denominator: 0 or more.
    pub fn eps(mut self, eps: f64) -> Self {
        self.rule.eps = eps;
        self
    }

    /// The share of the last direction that is kept: in [0, 1).
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.rule.momentum = momentum;
        self
    }

    /// Divides by the gradient's standard deviation instead of its root mean square.
    pub fn centered(mut self) -> Self {
        self.rule.centered = true;
        self
    }
}

impl Rule for RmsPropRule {
    fn keeps(&self) -> Vec<&'static str> {
        let kept = [(true, "v"), (self.centered, "mean"), (self.momentum > 0.0, "momentum")];
        kept.into_iter().filter(|(used, _)| *used).map(|(_, name)| name).collect()
    }

    fn check(&self) -> Result<()> {
        check::fraction("RmsProp", "alpha", self.alpha)?;
        check::fraction("RmsProp", "momentum", self.momentum)?;
        check::non_negative("RmsProp", "eps", self.eps).map(drop)
    }

    fn update(&self, update: &Update) -> Result<()> {
        let mean = if self.centered { Some(update.kept("mean")?) } else { None };
        let buffer = if self.momentum > 0.0 { Some(update.kept("momentum")?) } else { None };
        let step = RmspropStep {
            lr: update.learning_rate,
            alpha: self.alpha,
            eps: self.eps,
            weight_decay: update.weight_decay,
            momentum: self.momentum,
        };
        Ok(rmsprop_step(update.param, update.gradient, update.kept("v")?, buffer, mean, &step)?)
    }
}

optimizer!(RmsProp);
