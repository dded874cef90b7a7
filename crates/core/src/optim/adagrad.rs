//! Adagrad.

use glassbox_kernels::optim::{AdagradStep, adagrad_step};

use super::check;
use super::slots::{Rule, Slots, Update, optimizer};
use crate::{ParamStore, Result};

/// Adagrad (Duchi et al. 2011), as PyTorch's `Adagrad`, with t a parameter's steps so far:
///
/// ```text
/// g = gradient + weight_decay · w
/// s = s + g²
/// w = w − learning_rate / (1 + (t − 1) · lr_decay) · g / (√s + eps)
/// ```
///
/// With eps 10⁻¹⁰ and no weight decay or rate decay, s from 0, unless asked for.
#[derive(Debug)]
pub struct Adagrad {
    slots: Slots,
    rule: AdagradRule,
}

#[derive(Debug)]
struct AdagradRule {
    lr_decay: f64,
    initial_accumulator: f64,
    eps: f64,
}

impl Adagrad {
    /// PyTorch's defaults with `learning_rate` (0 or more; PyTorch's is 0.01).
    ///
    /// # Errors
    /// A learning rate out of range. Other settings are checked at the first step.
    pub fn new(params: &ParamStore, learning_rate: f64) -> Result<Self> {
        let rule = AdagradRule { lr_decay: 0.0, initial_accumulator: 0.0, eps: 1e-10 };
        Ok(Self { slots: Slots::new("Adagrad", params, learning_rate, 0.0)?, rule })
    }

    /// How fast the rate falls with a parameter's steps: 0 or more.
    pub fn lr_decay(mut self, lr_decay: f64) -> Self {
        self.rule.lr_decay = lr_decay;
        self
    }

    /// What the sum of squares starts from: 0 or more.
    pub fn initial_accumulator(mut self, value: f64) -> Self {
        self.rule.initial_accumulator = value;
        self
    }

    /// What is added to the denominator: 0 or more.
    pub fn eps(mut self, eps: f64) -> Self {
        self.rule.eps = eps;
        self
    }
}

impl Rule for AdagradRule {
    fn keeps(&self) -> Vec<&'static str> {
        vec!["sum"]
    }

    fn initial(&self) -> f64 {
        self.initial_accumulator
    }

    fn check(&self) -> Result<()> {
        check::non_negative("Adagrad", "lr_decay", self.lr_decay)?;
        check::non_negative("Adagrad", "initial_accumulator", self.initial_accumulator)?;
        check::non_negative("Adagrad", "eps", self.eps).map(drop)
    }

    fn update(&self, update: &Update) -> Result<()> {
        let step = AdagradStep {
            lr: update.learning_rate,
            lr_decay: self.lr_decay,
            eps: self.eps,
            weight_decay: update.weight_decay,
            step: update.step,
        };
        Ok(adagrad_step(update.param, update.gradient, update.kept("sum")?, &step)?)
    }
}

optimizer!(Adagrad);
