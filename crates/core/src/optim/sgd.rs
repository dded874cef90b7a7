//! Stochastic gradient descent.

use glassbox_kernels::optim::{SgdStep, sgd_step};

use super::check;
use super::slots::{Rule, Slots, Update, optimizer};
use crate::{Error, ParamStore, Result};

/// Stochastic gradient descent with momentum (Sutskever et al. 2013), as PyTorch's `SGD`:
///
/// ```text
/// g = gradient + weight_decay · w
/// b = momentum · b + (1 − dampening) · g      (b = g at a parameter's first step)
/// w = w − learning_rate · b                   (· (g + momentum · b) with Nesterov; · g without momentum)
/// ```
///
/// No momentum, dampening or weight decay unless asked for.
#[derive(Debug)]
pub struct Sgd {
    slots: Slots,
    rule: SgdRule,
}

#[derive(Debug)]
struct SgdRule {
    momentum: f64,
    dampening: f64,
    nesterov: bool,
}

impl Sgd {
    /// Plain gradient descent with `learning_rate` (0 or more).
    ///
    /// # Errors
    /// A learning rate out of range. Other settings are checked at the first step.
    pub fn new(params: &ParamStore, learning_rate: f64) -> Result<Self> {
        let rule = SgdRule { momentum: 0.0, dampening: 0.0, nesterov: false };
        Ok(Self { slots: Slots::new("Sgd", params, learning_rate, 0.0)?, rule })
    }

    /// The share of the last direction that is kept: in [0, 1).
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.rule.momentum = momentum;
        self
    }

    /// The share of the gradient that is kept out of the direction: in [0, 1).
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.rule.dampening = dampening;
        self
    }

    /// Looks ahead along the momentum (Nesterov 1983); needs momentum and no dampening.
    pub fn nesterov(mut self) -> Self {
        self.rule.nesterov = true;
        self
    }
}

impl Rule for SgdRule {
    fn keeps(&self) -> Vec<&'static str> {
        if self.momentum > 0.0 { vec!["momentum"] } else { Vec::new() }
    }

    fn check(&self) -> Result<()> {
        check::fraction("Sgd", "momentum", self.momentum)?;
        check::fraction("Sgd", "dampening", self.dampening)?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            let got = format!("momentum {}, dampening {}", self.momentum, self.dampening);
            return Err(Error::invalid("Sgd with Nesterov", "momentum above 0 and no dampening", got));
        }
        Ok(())
    }

    fn update(&self, update: &Update) -> Result<()> {
        let buffer = if self.momentum > 0.0 { Some(update.kept("momentum")?) } else { None };
        let step = SgdStep {
            lr: update.learning_rate,
            momentum: self.momentum,
            dampening: self.dampening,
            nesterov: self.nesterov,
            weight_decay: update.weight_decay,
            first: update.step == 1,
        };
        Ok(sgd_step(update.param, update.gradient, buffer, &step)?)
    }
}

optimizer!(Sgd);
