//! Lion.

use glassbox_kernels::optim::{LionStep, lion_step};

use super::check;
use super::slots::{Rule, Slots, Update, optimizer};
use crate::{ParamStore, Result};

/// Lion (Chen et al. 2023, arXiv 2302.06675), which PyTorch does not have:
///
/// ```text
/// u = sign(beta1 · m + (1 − beta1) · gradient)
/// m = beta2 · m + (1 − beta2) · gradient
/// w = w · (1 − learning_rate · weight_decay) − learning_rate · u
/// ```
///
/// Every element moves by the same amount, so the paper advises a rate 3 to 10 times lower than AdamW's, and a weight
/// decay as many times higher. With betas 0.9 and 0.99 and no weight decay unless asked for.
#[derive(Debug)]
pub struct Lion {
    slots: Slots,
    rule: LionRule,
}

#[derive(Debug)]
struct LionRule {
    beta1: f64,
    beta2: f64,
}

impl Lion {
    /// The paper's defaults with `learning_rate` (0 or more; 10⁻⁴ is usual).
    ///
    /// # Errors
    /// A learning rate out of range. Other settings are checked at the first step.
    pub fn new(params: &ParamStore, learning_rate: f64) -> Result<Self> {
        let rule = LionRule { beta1: 0.9, beta2: 0.99 };
        Ok(Self { slots: Slots::new("Lion", params, learning_rate, 0.0)?, rule })
    }

    /// The shares of the mean gradient that are kept, in the direction and in what is remembered: in [0, 1).
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        (self.rule.beta1, self.rule.beta2) = (beta1, beta2);
        self
    }
}

impl Rule for LionRule {
    fn keeps(&self) -> Vec<&'static str> {
        vec!["m"]
    }

    fn check(&self) -> Result<()> {
        check::fraction("Lion", "beta1", self.beta1)?;
        check::fraction("Lion", "beta2", self.beta2).map(drop)
    }

    fn update(&self, update: &Update) -> Result<()> {
        let step = LionStep {
            lr: update.learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            weight_decay: update.weight_decay,
        };
        Ok(lion_step(update.param, update.gradient, update.kept("m")?, &step)?)
    }
}

optimizer!(Lion);
