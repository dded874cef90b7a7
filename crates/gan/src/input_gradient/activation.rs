//! Derivatives of activations.

use candle_core::Tensor;
use glassbox_core::{Activation, Error, Layer, Pass, Result};
use glassbox_kernels::activation::activation as apply;

use super::{InputGradient, Pullback};

/// All but GELU, mish, hard swish and hard sigmoid.
impl InputGradient for Activation {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let ys = self.forward(xs, pass)?;
        let slope = derivative(*self, xs, &ys)?;
        Ok((ys, Box::new(move |g| Ok((g * &slope)?))))
    }
}

/// The derivative at `xs`, whose activation is `ys`.
fn derivative(activation: Activation, xs: &Tensor, ys: &Tensor) -> Result<Tensor> {
    Ok(match activation {
        Activation::Relu => step(xs, 0.0)?,
        Activation::LeakyRelu(slope) => step(xs, slope)?,
        Activation::Tanh => ys.sqr()?.affine(-1.0, 1.0)?,
        Activation::Sigmoid => (ys * ys.affine(-1.0, 1.0)?)?,
        // 1 above zero; below it y + alpha = alpha · e^x.
        Activation::Elu(alpha) => {
            let above = step(xs, 0.0)?;
            (&above + (above.affine(-1.0, 1.0)? * (ys + alpha)?)?)?
        }
        Activation::Silu => {
            let s = apply(xs, Activation::Sigmoid)?;
            (&s + (ys * s.affine(-1.0, 1.0)?)?)?
        }
        Activation::Softplus { beta, .. } => apply(&(xs * beta)?, Activation::Sigmoid)?,
        Activation::LogSigmoid => apply(&xs.neg()?, Activation::Sigmoid)?,
        other => {
            let expected = "one with an input gradient: leaky ReLU, ReLU, tanh, sigmoid, ELU, SiLU, softplus";
            return Err(Error::invalid("activation of a critic under a gradient penalty", expected, other.name()));
        }
    })
}

/// 1 where `xs` is above 0, else `below`: a constant, as its derivative is 0 wherever it has one.
fn step(xs: &Tensor, below: f64) -> Result<Tensor> {
    let above = xs.detach().gt(0.0)?.to_dtype(xs.dtype())?;
    if below == 0.0 { Ok(above) } else { Ok(above.affine(1.0 - below, below)?) }
}
