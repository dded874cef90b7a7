//! Adam and AdamW.

use glassbox_kernels::optim::{AdamStep, adam_step};

use super::slots::{Rule, Slots, Update, optimizer};
use super::{Gradients, check};
use crate::{ParamStore, Result};

/// Adam (Kingma and Ba 2015), as PyTorch's `Adam`, with t a parameter's steps so far:
///
/// ```text
/// g = gradient + weight_decay · w
/// m = beta1 · m + (1 − beta1) · g
/// v = beta2 · v + (1 − beta2) · g²
/// w = w − learning_rate · (m / (1 − beta1^t)) / (√(v / (1 − beta2^t)) + eps)
/// ```
///
/// With betas 0.9 and 0.999, eps 10⁻⁸ and no weight decay unless asked for.
#[derive(Debug)]
pub struct Adam {
    slots: Slots,
    rule: AdamRule,
}

/// AdamW (Loshchilov and Hutter 2019), as PyTorch's `AdamW`: [`Adam`] whose weight decay shrinks the weights themselves
/// instead of entering the gradient: `w = w · (1 − learning_rate · weight_decay)` before the step.
///
/// With betas 0.9 and 0.999, eps 10⁻⁸ and weight decay 0.01 unless asked for.
///
/// ```
/// use glassbox_core::optim::{AdamW, Group};
/// use glassbox_core::{Linear, Optimizer, ParamStore, Seed};
/// let params = ParamStore::new(Seed(42), &candle_core::Device::Cpu);
/// let layer = Linear::new(3, 2, params.root())?;
/// let optimizer = AdamW::new(&params, 1e-3)?
///     .betas(0.9, 0.95)
///     .weight_decay(0.1)
///     .group("*bias", Group { weight_decay: Some(0.0), ..Group::default() });
/// assert_eq!(optimizer.learning_rate(), 1e-3);
/// # drop(layer);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AdamW {
    slots: Slots,
    rule: AdamRule,
}

#[derive(Debug)]
struct AdamRule {
    who: &'static str,
    beta1: f64,
    beta2: f64,
    eps: f64,
    amsgrad: bool,
    decoupled: bool,
}

impl AdamRule {
    fn new(who: &'static str, decoupled: bool) -> Self {
        Self { who, beta1: 0.9, beta2: 0.999, eps: 1e-8, amsgrad: false, decoupled }
    }
}

macro_rules! adam {
    ($name:ident, $decoupled:literal, $weight_decay:literal) => {
        impl $name {
            /// PyTorch's defaults with `learning_rate` (0 or more).
            ///
            /// # Errors
            /// A learning rate out of range. Other settings are checked at the first step.
            pub fn new(params: &ParamStore, learning_rate: f64) -> Result<Self> {
                let who = stringify!($name);
                let slots = Slots::new(who, params, learning_rate, $weight_decay)?;
                Ok(Self { slots, rule: AdamRule::new(who, $decoupled) })
            }

            /// The shares of the mean gradient and of the mean squared gradient that are kept at each step: in [0, 1).
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                (self.rule.beta1, self.rule.beta2) = (beta1, beta2);
                self
            }

            /// What is added to the denominator: 0 or more.
            pub fn eps(mut self, eps: f64) -> Self {
                self.rule.eps = eps;
                self
            }

            /// Divides by the largest v so far instead of the last (Reddi et al. 2018).
            pub fn amsgrad(mut self) -> Self {
                self.rule.amsgrad = true;
                self
            }
        }

        optimizer!($name);
    };
}

adam!(Adam, false, 0.0);
adam!(AdamW, true, 0.01);

impl AdamW {
    /// Fails where [`step`](crate::Optimizer::step) would, before it changes anything.
    pub(super) fn check_step(&self, gradients: &Gradients, factor: f64) -> Result<()> {
        self.slots.check_step(&self.rule, gradients, factor)
    }
}

impl Rule for AdamRule {
    fn keeps(&self) -> Vec<&'static str> {
        if self.amsgrad { vec!["m", "v", "max_v"] } else { vec!["m", "v"] }
    }

    fn check(&self) -> Result<()> {
        check::fraction(self.who, "beta1", self.beta1)?;
        check::fraction(self.who, "beta2", self.beta2)?;
        check::non_negative(self.who, "eps", self.eps).map(drop)
    }

    fn update(&self, update: &Update) -> Result<()> {
        let max_v = if self.amsgrad { Some(update.kept("max_v")?) } else { None };
        let step = AdamStep {
            lr: update.learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: update.weight_decay,
            decoupled: self.decoupled,
            step: update.step,
        };
        Ok(adam_step(update.param, update.gradient, update.kept("m")?, update.kept("v")?, max_v, &step)?)
    }
}
