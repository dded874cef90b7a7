//! The activations from Candle's differentiable operations, for devices other than the CPU.

use candle_core::Tensor;

use super::Activation;
use crate::Result;

/// [`activation`](super::activation) from Candle's operations.
pub(super) fn activation(xs: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Sigmoid => candle_nn::ops::sigmoid(xs),
        Activation::Tanh => xs.tanh(),
        Activation::Relu => where_positive(xs, &xs.zeros_like()?),
        Activation::LeakyRelu(slope) => where_positive(xs, &(xs * slope)?),
        Activation::Elu(alpha) => where_positive(xs, &((negative_part(xs)?.exp()? - 1.0)? * alpha)?),
        Activation::Gelu => (xs * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)?.mul(xs),
        Activation::GeluTanh => {
            let cubic = xs.sqr()?.affine(0.044_715, 1.0)?.mul(xs)?;
            (cubic * (2.0 / std::f64::consts::PI).sqrt())?.tanh()?.affine(0.5, 0.5)?.mul(xs)
        }
        Activation::Silu => candle_nn::ops::sigmoid(xs)?.mul(xs),
        Activation::Softplus { beta, threshold } => {
            let scaled = (xs * beta)?;
            scaled.gt(threshold)?.where_cond(xs, &(softplus(&scaled)? / beta)?)
        }
        Activation::Mish => softplus(xs)?.tanh()?.mul(xs),
        Activation::HardSwish => hard_sigmoid(xs)?.mul(xs),
        Activation::HardSigmoid => hard_sigmoid(xs),
        Activation::LogSigmoid => softplus(&xs.neg()?)?.neg(),
    }
}

/// x where x > 0 or NaN, `other` elsewhere. Not `relu`, which drops NaN on some devices.
pub(super) fn where_positive(xs: &Tensor, other: &Tensor) -> Result<Tensor> {
    xs.le(0.0)?.where_cond(other, xs)
}

/// min(x, 0), with gradient 0 where x > 0.
fn negative_part(xs: &Tensor) -> Result<Tensor> {
    xs.neg()?.relu()?.neg()
}

/// ln(1 + e^x) = (x + |x|) / 2 + ln(1 + e^-|x|); the derivatives of both |x| cancel at 0, whatever Candle takes there.
pub(crate) fn softplus(xs: &Tensor) -> Result<Tensor> {
    let magnitude = xs.abs()?;
    let positive = ((xs + &magnitude)? * 0.5)?;
    positive + (magnitude.neg()?.exp()? + 1.0)?.log()?
}

fn hard_sigmoid(xs: &Tensor) -> Result<Tensor> {
    xs.clamp(-3.0, 3.0)?.affine(1.0 / 6.0, 0.5)
}
