//! Adam, AdamW and AMSGrad.

use candle_core::{Tensor, Var};

use super::update::{fits, update};
use crate::Result;
use crate::cpu::{Element, by_float};

/// The settings of one [`adam_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Share of the mean gradient that is kept, in [0, 1).
    pub beta1: f64,
    /// Share of the mean squared gradient that is kept, in [0, 1).
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether the decay shrinks the parameter itself (AdamW) or is added to the gradient (Adam).
    pub decoupled: bool,
    /// The number of this step, from 1.
    pub step: u64,
}

/// Steps `param` by Adam, or AdamW where `decoupled`, as `torch.optim.Adam` and `AdamW` do:
/// m = beta1 · m + (1 − beta1) · g; v = beta2 · v + (1 − beta2) · g²;
/// param −= lr / (1 − beta1^t) · m / (√v / √(1 − beta2^t) + eps).
/// With `v_max` (AMSGrad) the largest v so far takes the place of v.
///
/// # Shapes
/// All as `param`.
///
/// # Errors
/// Where shapes or dtypes disagree, or `step` is 0.
///
/// Kingma and Ba 2014, arXiv 1412.6980; Loshchilov and Hutter 2017, arXiv 1711.05101; Reddi et al. 2018, arXiv 1904.09237.
pub fn adam_step(param: &Var, grad: &Tensor, m: &Var, v: &Var, v_max: Option<&Var>, step: &AdamStep) -> Result<()> {
    if step.step == 0 {
        candle_core::bail!("adam: expected steps from 1, got 0");
    }
    let vars: Vec<&Var> = [param, m, v].into_iter().chain(v_max).collect();
    if !fits("adam", &vars, grad)? {
        return composed(param, grad, m, v, v_max, step);
    }
    by_float!("adam", param.dtype(), T => {
        let one = Scalars::<T>::new(step);
        match v_max {
            None => update([param, m, v], grad, |[param, m, v], grad| {
                for (((p, m), v), &g) in param.iter_mut().zip(m).zip(v).zip(grad) {
                    one.moments(p, m, v, g);
                    one.step(p, *m, *v);
                }
            }),
            Some(v_max) => update([param, m, v, v_max], grad, |[param, m, v, v_max], grad| {
                for ((((p, m), v), top), &g) in param.iter_mut().zip(m).zip(v).zip(v_max).zip(grad) {
                    one.moments(p, m, v, g);
                    *top = if *top > *v { *top } else { *v };
                    one.step(p, *m, *top);
                }
            }),
        }
    })
}

/// What an element's update needs, in the parameter's type.
struct Scalars<T> {
    keep: T,
    penalty: T,
    beta1: T,
    rest1: T,
    beta2: T,
    rest2: T,
    rate: T,
    root: T,
    eps: T,
}

/// 1 − beta^t for both, the second's square root.
fn corrections(step: &AdamStep) -> (f64, f64) {
    let power = |beta: f64| beta.powf(step.step as f64);
    (1.0 - power(step.beta1), (1.0 - power(step.beta2)).sqrt())
}

impl<T: Element> Scalars<T> {
    fn new(step: &AdamStep) -> Self {
        let (correction1, root2) = corrections(step);
        let (shrink, penalty) =
            if step.decoupled { (step.lr * step.weight_decay, 0.0) } else { (0.0, step.weight_decay) };
        let f = T::from_f64;
        Scalars {
            keep: f(1.0 - shrink),
            penalty: f(penalty),
            beta1: f(step.beta1),
            rest1: f(1.0 - step.beta1),
            beta2: f(step.beta2),
            rest2: f(1.0 - step.beta2),
            rate: f(step.lr / correction1),
            root: f(root2),
            eps: f(step.eps),
        }
    }

    #[inline(always)]
    fn moments(&self, p: &mut T, m: &mut T, v: &mut T, g: T) {
        let g = g + self.penalty * *p;
        *p *= self.keep;
        *m = self.beta1 * *m + self.rest1 * g;
        *v = self.beta2 * *v + self.rest2 * g * g;
    }

    #[inline(always)]
    fn step(&self, p: &mut T, m: T, v: T) {
        *p -= self.rate * m / (v.sqrt() / self.root + self.eps);
    }
}

pub(super) fn composed(
    param: &Var,
    grad: &Tensor,
    m: &Var,
    v: &Var,
    v_max: Option<&Var>,
    step: &AdamStep,
) -> Result<()> {
    let value = param.as_detached_tensor();
    let (value, grad) = if step.decoupled {
        ((value * (1.0 - step.lr * step.weight_decay))?, grad.clone())
    } else {
        let grad = (grad + (&value * step.weight_decay)?)?;
        (value, grad)
    };
    let mean = ((m.as_detached_tensor() * step.beta1)? + (&grad * (1.0 - step.beta1))?)?;
    let mut square = ((v.as_detached_tensor() * step.beta2)? + (grad.sqr()? * (1.0 - step.beta2))?)?;
    m.set(&mean)?;
    v.set(&square)?;
    if let Some(v_max) = v_max {
        square = square.maximum(&v_max.as_detached_tensor())?;
        v_max.set(&square)?;
    }
    let (correction1, root2) = corrections(step);
    let denominator = ((square.sqrt()? / root2)? + step.eps)?;
    param.set(&(value - (mean.div(&denominator)? * (step.lr / correction1))?)?)
}
