//! The optimizers' updates of a million parameters.

use std::fmt;

use candle_core::{Result, Tensor, Var};
use glassbox::prelude::candle_core;
use glassbox_kernels::optim::{
    AdamStep, LionStep, RmspropStep, SgdStep, adam_step, global_norm, lion_step, rmsprop_step, sgd_step,
};

use crate::kernel::normal;

const PARAMETERS: usize = 1 << 20;

/// An update of a parameter by its gradient, with what is kept for it.
pub struct UpdateCase {
    name: &'static str,
    /// Tensors that are kept.
    kept: usize,
    run: fn(&Var, &Tensor, &[Var]) -> Result<()>,
}

/// Each optimizer's update, and the norm of the gradients.
pub const UPDATES: &[UpdateCase] = &[
    UpdateCase { name: "sgd", kept: 1, run: |param, gradient, kept| sgd_step(param, gradient, Some(&kept[0]), &SGD) },
    UpdateCase {
        name: "adamw",
        kept: 2,
        run: |param, gradient, kept| adam_step(param, gradient, &kept[0], &kept[1], None, &ADAMW),
    },
    UpdateCase { name: "lion", kept: 1, run: |param, gradient, kept| lion_step(param, gradient, &kept[0], &LION) },
    UpdateCase {
        name: "rmsprop",
        kept: 1,
        run: |param, gradient, kept| rmsprop_step(param, gradient, &kept[0], None, None, &RMSPROP),
    },
    UpdateCase { name: "global_norm", kept: 0, run: |_, gradient, _| global_norm(&[gradient.clone()]).map(drop) },
];

const SGD: SgdStep =
    SgdStep { lr: 1e-3, momentum: 0.9, dampening: 0.0, nesterov: false, weight_decay: 0.0, first: false };
const ADAMW: AdamStep =
    AdamStep { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, decoupled: true, step: 10 };
const LION: LionStep = LionStep { lr: 1e-4, beta1: 0.9, beta2: 0.99, weight_decay: 0.0 };
const RMSPROP: RmspropStep = RmspropStep { lr: 1e-3, alpha: 0.99, eps: 1e-8, weight_decay: 0.0, momentum: 0.0 };

impl fmt::Display for UpdateCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl UpdateCase {
    /// One update a call.
    pub fn prepare(&'static self) -> glassbox::Result<impl FnMut() -> Result<()>> {
        let gradient = normal(&[PARAMETERS])?;
        let param = Var::from_tensor(&gradient)?;
        let kept = (0..self.kept).map(|_| Var::ones(PARAMETERS, param.dtype(), param.device()));
        let kept = kept.collect::<Result<Vec<_>>>()?;
        Ok(move || (self.run)(&param, &gradient, &kept))
    }

    /// The gradient is read; the parameter and what is kept are read and written. The norm reads the gradient alone.
    pub fn bytes(&self) -> usize {
        let tensors = if self.kept == 0 { 1 } else { 1 + 2 * (1 + self.kept) };
        tensors * PARAMETERS * size_of::<f32>()
    }
}
