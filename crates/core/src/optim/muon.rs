//! Muon, with AdamW for what is not a hidden matrix.

pub use glassbox_kernels::optim::MuonAdjust;
use glassbox_kernels::optim::{MuonStep, muon_step};

use super::slots::{Rule, Slots, Update, expect_match};
use super::{AdamW, Gradients, Group, Optimizer, check};
use crate::{Error, Param, ParamStore, Result, State, pattern};

/// The rate of the inner AdamW where none is given: that of Jordan's implementation.
const ADAMW_RATE: f64 = 3e-4;

/// Muon (Jordan et al. 2024): momentum whose direction is made nearly orthogonal, for the matrices inside a network:
///
/// ```text
/// b = momentum · b + (1 − momentum) · gradient
/// u = newton_schulz(momentum · b + (1 − momentum) · gradient)      (newton_schulz(b) without Nesterov)
/// w = w · (1 − learning_rate · weight_decay) − learning_rate · √max(1, rows / columns) · u
/// ```
///
/// as PyTorch's `Muon`, except that the iteration runs in the parameters' own type instead of bfloat16. With momentum
/// 0.95, Nesterov, 5 iterations and weight decay 0.1 unless asked for.
///
/// A parameter of more than two dimensions, such as a convolution's, counts as the matrix of its first dimension by all
/// others. Parameters of fewer than two, and those named with [`adamw_for`](Self::adamw_for) (embeddings and the last
/// layer, as the paper advises), are changed by an inner [`AdamW`] with rates of its own: 3 · 10⁻⁴ and PyTorch's
/// defaults, unless [`adamw`](Self::adamw) gives another. A schedule's factor acts on both.
///
/// ```
/// use glassbox_core::optim::{AdamW, Muon};
/// use glassbox_core::{Linear, ParamStore, Seed};
/// let params = ParamStore::new(Seed(1), &candle_core::Device::Cpu);
/// let hidden = Linear::new(8, 8, params.root().pp("hidden"))?;
/// let head = Linear::new(8, 2, params.root().pp("head"))?;
/// let optimizer = Muon::new(&params, 0.02)?.adamw_for("head.*").adamw(AdamW::new(&params, 1e-3)?);
/// # drop((hidden, head, optimizer));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Muon {
    slots: Slots,
    rule: MuonRule,
    adamw: AdamW,
    adamw_patterns: Vec<String>,
}

#[derive(Debug)]
struct MuonRule {
    momentum: f64,
    nesterov: bool,
    ns_steps: usize,
    adjust: MuonAdjust,
}

impl Muon {
    /// PyTorch's defaults with `learning_rate` (0 or more; 0.02 is usual, with [`MuonAdjust::Original`]).
    ///
    /// # Errors
    /// A learning rate out of range. Other settings are checked at the first step.
    pub fn new(params: &ParamStore, learning_rate: f64) -> Result<Self> {
        let rule = MuonRule { momentum: 0.95, nesterov: true, ns_steps: 5, adjust: MuonAdjust::Original };
        let slots = Slots::new("Muon", params, learning_rate, 0.1)?;
        Ok(Self { slots, rule, adamw: AdamW::new(params, ADAMW_RATE)?, adamw_patterns: Vec::new() })
    }

    /// The optimizer of the parameters that Muon leaves out, made with the same [`ParamStore`].
    pub fn adamw(mut self, adamw: AdamW) -> Self {
        self.adamw = adamw;
        self
    }

    /// Leaves parameters whose names match `pattern` (`*` stands for any text) to the inner AdamW. A pattern that matches
    /// nothing is an error at the next step.
    pub fn adamw_for(mut self, pattern: &str) -> Self {
        self.adamw_patterns.push(pattern.to_string());
        self
    }

    /// The share of the last direction that is kept: in [0, 1).
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.rule.momentum = momentum;
        self
    }

    /// Does not look ahead along the momentum.
    pub fn no_nesterov(mut self) -> Self {
        self.rule.nesterov = false;
        self
    }

    /// The number of Newton-Schulz iterations: below 100.
    pub fn ns_steps(mut self, ns_steps: usize) -> Self {
        self.rule.ns_steps = ns_steps;
        self
    }

    /// How the learning rate follows a matrix's shape.
    pub fn adjust(mut self, adjust: MuonAdjust) -> Self {
        self.rule.adjust = adjust;
        self
    }

    /// Sets the weight decay of the matrices outside every group: 0 or more.
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.slots.set_weight_decay(weight_decay);
        self
    }

    /// Gives matrices whose names match `pattern` a rate or decay of their own; see [`AdamW::group`], which does so for
    /// the other parameters.
    pub fn group(mut self, pattern: &str, group: Group) -> Self {
        self.slots.add_group(pattern, group);
        self
    }

    fn is_matrix(&self, param: &Param) -> bool {
        let left_out = self.adamw_patterns.iter().any(|p| pattern::matches(p, param.name()));
        param.shape().rank() >= 2 && !left_out
    }
}

impl Rule for MuonRule {
    fn keeps(&self) -> Vec<&'static str> {
        vec!["momentum"]
    }

    fn check(&self) -> Result<()> {
        check::fraction("Muon", "momentum", self.momentum)?;
        if self.ns_steps >= 100 {
            return Err(Error::invalid("Muon ns_steps", "below 100", self.ns_steps));
        }
        Ok(())
    }

    fn update(&self, update: &Update) -> Result<()> {
        let step = MuonStep {
            lr: update.learning_rate,
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: update.weight_decay,
            ns_steps: self.ns_steps,
            adjust: self.adjust,
        };
        Ok(muon_step(update.param, update.gradient, update.kept("momentum")?, &step)?)
    }
}

impl Optimizer for Muon {
    fn step(&mut self, gradients: &Gradients, factor: f64) -> Result<()> {
        for pattern in &self.adamw_patterns {
            expect_match("Muon `adamw_for`", pattern, self.params())?;
        }
        let pairs = gradients.iter().map(|(param, gradient)| (param.clone(), gradient.clone()));
        let (matrices, others): (Vec<_>, Vec<_>) = pairs.partition(|(param, _)| self.is_matrix(param));
        let (matrices, others) = (Gradients::from_pairs(matrices), Gradients::from_pairs(others));
        // Before the first part changes anything, so that an error leaves both as they were.
        self.adamw.check_step(&others, factor)?;
        self.slots.step(&self.rule, &matrices, factor)?;
        self.adamw.step(&others, factor)
    }

    fn learning_rate(&self) -> f64 {
        self.slots.learning_rate()
    }

    fn params(&self) -> &ParamStore {
        self.slots.params()
    }

    /// Both parts, as `muon.…` and `adamw.…`.
    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.nest("muon", self.slots.state()?);
        state.nest("adamw", self.adamw.state()?);
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.slots.load_state(&self.rule, &state.nested("muon"))?;
        self.adamw.load_state(&state.nested("adamw"))
    }
}
