//! Stochastic gradient descent.

use candle_core::{Tensor, Var};

use super::update::{fits, update};
use crate::Result;
use crate::cpu::{Element, by_float};

/// The settings of one [`sgd_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Share of the momentum buffer that is kept, usually in [0, 1).
    pub momentum: f64,
    /// Share of the gradient that is kept out of the momentum buffer.
    pub dampening: f64,
    /// Whether to step by the gradient plus momentum times the buffer.
    pub nesterov: bool,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Whether this is the first step, which puts the gradient itself into the momentum buffer.
    pub first: bool,
}

/// Steps `param` by stochastic gradient descent, as `torch.optim.SGD` does:
/// g = grad + weight_decay · param; b = momentum · b + (1 − dampening) · g (b = g first);
/// param −= lr · (g + momentum · b) with Nesterov, lr · b with momentum, lr · g without.
///
/// # Shapes
/// All as `param`.
///
/// # Errors
/// Where shapes or dtypes disagree, or momentum is not 0 and there is no buffer.
///
/// Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
pub fn sgd_step(param: &Var, grad: &Tensor, momentum_buffer: Option<&Var>, step: &SgdStep) -> Result<()> {
    if step.momentum != 0.0 && momentum_buffer.is_none() {
        candle_core::bail!("sgd: expected a momentum buffer for momentum {}, got none", step.momentum);
    }
    let buffer = momentum_buffer.filter(|_| step.momentum != 0.0);
    let vars: Vec<&Var> = [param].into_iter().chain(buffer).collect();
    if !fits("sgd", &vars, grad)? {
        return composed(param, grad, buffer, step);
    }
    by_float!("sgd", param.dtype(), T => match buffer {
        None => update([param], grad, |[param], grad| plain::<T>(param, grad, step)),
        Some(buffer) => update([param, buffer], grad, |[p, b], grad| with_momentum::<T>(p, b, grad, step)),
    })
}

#[inline(always)]
fn plain<T: Element>(param: &mut [T], grad: &[T], step: &SgdStep) {
    let (lr, decay) = (T::from_f64(step.lr), T::from_f64(step.weight_decay));
    param.iter_mut().zip(grad).for_each(|(p, &g)| *p -= lr * (g + decay * *p));
}

#[inline(always)]
fn with_momentum<T: Element>(param: &mut [T], buffer: &mut [T], grad: &[T], step: &SgdStep) {
    let (lr, decay, momentum) = (T::from_f64(step.lr), T::from_f64(step.weight_decay), T::from_f64(step.momentum));
    let kept = if step.first { T::zero() } else { momentum };
    let added = if step.first { T::one() } else { T::from_f64(1.0 - step.dampening) };
    let (own, ahead) = if step.nesterov { (T::one(), momentum) } else { (T::zero(), T::one()) };
    for ((p, b), &g) in param.iter_mut().zip(buffer).zip(grad) {
        let g = g + decay * *p;
        *b = kept * *b + added * g;
        *p -= lr * (own * g + ahead * *b);
    }
}

pub(super) fn composed(param: &Var, grad: &Tensor, buffer: Option<&Var>, step: &SgdStep) -> Result<()> {
    let value = param.as_detached_tensor();
    let grad = (grad + (&value * step.weight_decay)?)?;
    let direction = match buffer {
        None => grad,
        Some(buffer) => {
            let kept = (buffer.as_detached_tensor() * step.momentum)?;
            let new = if step.first { grad.copy()? } else { (kept + (&grad * (1.0 - step.dampening))?)? };
            buffer.set(&new)?;
            if step.nesterov { (grad + (new * step.momentum)?)? } else { new }
        }
    };
    param.set(&(value - (direction * step.lr)?)?)
}
