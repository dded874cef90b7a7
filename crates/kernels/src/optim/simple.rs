//! RMSprop, Adagrad and Lion.

use candle_core::{Tensor, Var};

use super::update::{fits, update};
use crate::Result;
use crate::cpu::{Element, by_float};

/// The settings of one [`rmsprop_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmspropStep {
    /// Learning rate.
    pub lr: f64,
    /// Share of the mean squared gradient that is kept, in [0, 1).
    pub alpha: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Share of the momentum buffer that is kept; it counts where there is a buffer.
    pub momentum: f64,
}

/// Steps `param` by RMSprop, as `torch.optim.RMSprop` does: s = alpha · s + (1 − alpha) · g²; d = g / (√s + eps);
/// with a momentum buffer b = momentum · b + d and param −= lr · b, else param −= lr · d. With `grad_avg` (centered)
/// s − a² takes the place of s, a the running mean of g; where rounding makes that negative it counts as 0, while
/// PyTorch gives NaN.
///
/// # Shapes
/// All as `param`.
///
/// # Errors
/// Where shapes or dtypes disagree.
///
/// Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013, arXiv 1308.0850.
pub fn rmsprop_step(
    param: &Var,
    grad: &Tensor,
    square_avg: &Var,
    momentum_buffer: Option<&Var>,
    grad_avg: Option<&Var>,
    step: &RmspropStep,
) -> Result<()> {
    let vars: Vec<&Var> = [param, square_avg].into_iter().chain(momentum_buffer).chain(grad_avg).collect();
    if !fits("rmsprop", &vars, grad)? {
        return composed_rmsprop(param, grad, square_avg, momentum_buffer, grad_avg, step);
    }
    by_float!("rmsprop", param.dtype(), T => {
        let one = Rmsprop::<T>::new(step);
        match (momentum_buffer, grad_avg) {
            (None, None) => update([param, square_avg], grad, |[param, square], grad| {
                for ((p, s), &g) in param.iter_mut().zip(square).zip(grad) {
                    *p -= one.lr * one.direction(*p, s, None, g);
                }
            }),
            (Some(buffer), None) => update([param, square_avg, buffer], grad, |[param, square, buffer], grad| {
                for (((p, s), b), &g) in param.iter_mut().zip(square).zip(buffer).zip(grad) {
                    *b = one.momentum * *b + one.direction(*p, s, None, g);
                    *p -= one.lr * *b;
                }
            }),
            (None, Some(mean)) => update([param, square_avg, mean], grad, |[param, square, mean], grad| {
                for (((p, s), a), &g) in param.iter_mut().zip(square).zip(mean).zip(grad) {
                    *p -= one.lr * one.direction(*p, s, Some(a), g);
                }
            }),
            (Some(buffer), Some(mean)) => {
                update([param, square_avg, buffer, mean], grad, |[param, square, buffer, mean], grad| {
                    for ((((p, s), b), a), &g) in param.iter_mut().zip(square).zip(buffer).zip(mean).zip(grad) {
                        *b = one.momentum * *b + one.direction(*p, s, Some(a), g);
                        *p -= one.lr * *b;
                    }
                })
            }
        }
    })
}

struct Rmsprop<T> {
    lr: T,
    alpha: T,
    rest: T,
    eps: T,
    penalty: T,
    momentum: T,
}

impl<T: Element> Rmsprop<T> {
    fn new(step: &RmspropStep) -> Self {
        let f = T::from_f64;
        Rmsprop {
            lr: f(step.lr),
            alpha: f(step.alpha),
            rest: f(1.0 - step.alpha),
            eps: f(step.eps),
            penalty: f(step.weight_decay),
            momentum: f(step.momentum),
        }
    }

    #[inline(always)]
    fn direction(&self, p: T, square: &mut T, mean: Option<&mut T>, g: T) -> T {
        let g = g + self.penalty * p;
        *square = self.alpha * *square + self.rest * g * g;
        let spread = match mean {
            None => *square,
            Some(mean) => {
                *mean += self.rest * (g - *mean);
                let variance = *square - *mean * *mean;
                if variance < T::zero() { T::zero() } else { variance }
            }
        };
        g / (spread.sqrt() + self.eps)
    }
}

pub(super) fn composed_rmsprop(
    param: &Var,
    grad: &Tensor,
    square_avg: &Var,
    momentum_buffer: Option<&Var>,
    grad_avg: Option<&Var>,
    step: &RmspropStep,
) -> Result<()> {
    let value = param.as_detached_tensor();
    let grad = (grad + (&value * step.weight_decay)?)?;
    let square = ((square_avg.as_detached_tensor() * step.alpha)? + (grad.sqr()? * (1.0 - step.alpha))?)?;
    square_avg.set(&square)?;
    let spread = match grad_avg {
        None => square,
        Some(grad_avg) => {
            let mean = ((grad_avg.as_detached_tensor() * step.alpha)? + (&grad * (1.0 - step.alpha))?)?;
            grad_avg.set(&mean)?;
            (square - mean.sqr()?)?.relu()?
        }
    };
    let mut direction = grad.div(&(spread.sqrt()? + step.eps)?)?;
    if let Some(buffer) = momentum_buffer {
        direction = ((buffer.as_detached_tensor() * step.momentum)? + direction)?;
        buffer.set(&direction)?;
    }
    param.set(&(value - (direction * step.lr)?)?)
}

/// The settings of one [`adagrad_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdagradStep {
    /// Learning rate.
    pub lr: f64,
    /// Step t uses the rate lr / (1 + (t − 1) · lr_decay).
    pub lr_decay: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// The number of this step, from 1.
    pub step: u64,
}

impl AdagradStep {
    fn rate(&self) -> f64 {
        self.lr / (1.0 + (self.step as f64 - 1.0) * self.lr_decay)
    }
}

/// Steps `param` by Adagrad, as `torch.optim.Adagrad` does: sum += g²; param −= rate · g / (√sum + eps).
///
/// # Shapes
/// All as `param`.
///
/// # Errors
/// Where shapes or dtypes disagree, or `step` is 0.
///
/// Duchi et al. 2011, "Adaptive subgradient methods for online learning and stochastic optimization".
pub fn adagrad_step(param: &Var, grad: &Tensor, sum: &Var, step: &AdagradStep) -> Result<()> {
    if step.step == 0 {
        candle_core::bail!("adagrad: expected steps from 1, got 0");
    }
    if !fits("adagrad", &[param, sum], grad)? {
        return composed_adagrad(param, grad, sum, step);
    }
    by_float!("adagrad", param.dtype(), T => {
        let (rate, penalty) = (<T as candle_core::WithDType>::from_f64(step.rate()), step.weight_decay as T);
        let eps = step.eps as T;
        update::<T, 2>([param, sum], grad, |[param, sum], grad| {
            for ((p, s), &g) in param.iter_mut().zip(sum).zip(grad) {
                let g = g + penalty * *p;
                *s += g * g;
                *p -= rate * g / (s.sqrt() + eps);
            }
        })
    })
}

pub(super) fn composed_adagrad(param: &Var, grad: &Tensor, sum: &Var, step: &AdagradStep) -> Result<()> {
    let value = param.as_detached_tensor();
    let grad = (grad + (&value * step.weight_decay)?)?;
    let total = (sum.as_detached_tensor() + grad.sqr()?)?;
    sum.set(&total)?;
    param.set(&(value - (grad.div(&(total.sqrt()? + step.eps)?)? * step.rate())?)?)
}

/// The settings of one [`lion_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LionStep {
    /// Learning rate.
    pub lr: f64,
    /// Share of the momentum in the direction of the step, in [0, 1).
    pub beta1: f64,
    /// Share of the momentum that is kept, in [0, 1).
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// Steps `param` by Lion: param −= lr · (sign(beta1 · m + (1 − beta1) · g) + weight_decay · param);
/// m = beta2 · m + (1 − beta2) · g. PyTorch has no Lion.
///
/// # Shapes
/// All as `param`.
///
/// # Errors
/// Where shapes or dtypes disagree.
///
/// Chen et al. 2023, arXiv 2302.06675.
pub fn lion_step(param: &Var, grad: &Tensor, m: &Var, step: &LionStep) -> Result<()> {
    if !fits("lion", &[param, m], grad)? {
        return composed_lion(param, grad, m, step);
    }
    by_float!("lion", param.dtype(), T => update([param, m], grad, |[param, m], grad| lion::<T>(param, m, grad, step)))
}

#[inline(always)]
fn lion<T: Element>(param: &mut [T], m: &mut [T], grad: &[T], step: &LionStep) {
    let f = T::from_f64;
    let (lr, keep) = (f(step.lr), f(1.0 - step.lr * step.weight_decay));
    let (beta1, rest1, beta2, rest2) = (f(step.beta1), f(1.0 - step.beta1), f(step.beta2), f(1.0 - step.beta2));
    for ((p, m), &g) in param.iter_mut().zip(m).zip(grad) {
        let direction = beta1 * *m + rest1 * g;
        *p = *p * keep - lr * sign(direction);
        *m = beta2 * *m + rest2 * g;
    }
}

/// 1, 0 or −1; NaN stays.
#[inline(always)]
fn sign<T: Element>(x: T) -> T {
    if x > T::zero() {
        T::one()
    } else if x < T::zero() {
        -T::one()
    } else {
        x
    }
}

pub(super) fn composed_lion(param: &Var, grad: &Tensor, m: &Var, step: &LionStep) -> Result<()> {
    let (value, momentum) = (param.as_detached_tensor(), m.as_detached_tensor());
    let direction = ((&momentum * step.beta1)? + (grad * (1.0 - step.beta1))?)?;
    let shrunk = (value * (1.0 - step.lr * step.weight_decay))?;
    param.set(&(shrunk - (direction.sign()? * step.lr)?)?)?;
    m.set(&((momentum * step.beta2)? + (grad * (1.0 - step.beta2))?)?)
}
