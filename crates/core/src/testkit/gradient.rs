//! A layer's gradients against central differences, for its input and every parameter.

use candle_core::{DType, Tensor, Var};

use super::{expect_near, values};
use crate::{Error, Layer, ParamStore, Pass, Result, TensorExt};

/// Step of the central difference. In f64 its truncation error is about `STEP²` and its rounding error `1e-16 / STEP`.
const STEP: f64 = 1e-5;
/// Largest accepted difference, relative to `1 + |expected|`: both errors above are well below it for smooth functions.
const TOLERANCE: f64 = 1e-6;
/// Elements tried of each tensor, evenly spread: each costs two forwards.
const MAX_ELEMENTS: usize = 64;

/// A layer in f64 with its parameters and an input, run under passes that are all the same.
pub(super) struct Setting<'a> {
    pub layer: &'a dyn Layer,
    pub params: &'a ParamStore,
    pub input: &'a Tensor,
    pub pass: &'a dyn Fn() -> Pass,
    pub transposed: bool,
}

impl Setting<'_> {
    /// Checks every gradient, and gives the names of the parameters whose gradient is not all zero.
    pub(super) fn check(&self) -> Result<Vec<String>> {
        let leaf =
            Var::from_tensor(&if self.transposed { self.input.t()?.contiguous()? } else { self.input.copy()? })?;
        let grads = self.objective(&leaf)?.backward()?;
        let mut nonzero = vec![];
        if self.input.dtype() == DType::F64 {
            let grad = grads.get(leaf.as_tensor()).ok_or_else(|| self.missing("the input"))?;
            self.compare("the input", &leaf, grad, &leaf)?;
        }
        for param in self.params.trainable() {
            let name = format!("`{}`", param.name());
            let grad = grads.get(param.var().as_tensor()).ok_or_else(|| self.missing(&name))?;
            self.compare(&name, param.var(), grad, &leaf)?;
            if grad.to_f64_vec()?.iter().any(|&g| g != 0.0) {
                nonzero.push(param.name().to_string());
            }
        }
        Ok(nonzero)
    }

    /// The output, summed with fixed, uneven weights, so that an error in any element shows.
    fn objective(&self, leaf: &Var) -> Result<Tensor> {
        let input = if self.transposed { leaf.t()? } else { leaf.as_tensor().clone() };
        let output = self.layer.forward(&input, &(self.pass)())?;
        Ok((&output * values(output.shape().clone(), 99)?)?.sum_all()?)
    }

    fn compare(&self, name: &str, var: &Var, grad: &Tensor, leaf: &Var) -> Result<()> {
        let grad = grad.to_f64_vec()?;
        let original = var.as_tensor().to_f64_vec()?;
        let at = |i: usize, by: f64| {
            let mut changed = original.clone();
            changed[i] += by;
            var.set(&Tensor::from_vec(changed, var.shape(), var.device())?)?;
            self.objective(leaf)?.to_f64()
        };
        for i in (0..original.len()).step_by(original.len().div_ceil(MAX_ELEMENTS).max(1)) {
            let want = (at(i, STEP)? - at(i, -STEP)?) / (2.0 * STEP);
            expect_near(&format!("{}, element {i}", self.what(name)), grad[i], want, TOLERANCE)?;
        }
        at(0, 0.0).map(|_| ())
    }

    fn what(&self, name: &str) -> String {
        let mode = if (self.pass)().is_training() { "training" } else { "evaluating" };
        format!("gradient of {name} ({mode}, transposed input: {})", self.transposed)
    }

    fn missing(&self, name: &str) -> Error {
        Error::invalid(self.what(name), "one", "none")
    }
}
