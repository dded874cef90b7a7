//! Activations: elementwise functions between layers.

mod composed;
pub(crate) mod formulas;
mod prelu;
#[cfg(test)]
mod tests;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};

pub(crate) use composed::softplus as composed_softplus;
pub use prelu::prelu;

use crate::Result;
use crate::cpu::{apply1, by_float, is_fused, output, tensor, values, with_values};

/// An elementwise function, with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// max(x, 0). Its gradient at 0 is 0.
    Relu,
    /// x where x > 0, else slope · x, with the slope given.
    LeakyRelu(f64),
    /// x where x > 0, else alpha · (e^x − 1), with alpha given (Clevert et al. 2015, arXiv 1511.07289).
    Elu(f64),
    /// x · Phi(x), Phi the standard normal distribution function (Hendrycks and Gimpel 2016, arXiv 1606.08415).
    Gelu,
    /// The approximation x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) of GELU that GPT-2 uses.
    GeluTanh,
    /// x · sigmoid(x), also called swish (Elfwing et al. 2017, arXiv 1702.03118).
    Silu,
    /// ln(1 + e^(beta x)) / beta, and x itself where beta x > threshold, as PyTorch has it.
    Softplus {
        /// Sharpness of the bend, above 0. PyTorch's default is 1.
        beta: f64,
        /// The value of beta x above which the result is x. PyTorch's default is 20.
        threshold: f64,
    },
    /// x · tanh(ln(1 + e^x)) (Misra 2019, arXiv 1908.08681).
    Mish,
    /// x · min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, arXiv 1905.02244).
    HardSwish,
    /// min(max(x + 3, 0), 6) / 6.
    HardSigmoid,
    /// ln(sigmoid(x)) = −ln(1 + e^-x).
    LogSigmoid,
}

/// Applies `activation` to every element of `xs`.
///
/// Values and gradients are finite for |x| up to 1e4 (and beyond, where the function itself is), and NaN stays NaN. The
/// f32 results differ from the exact ones by a few units in the last place.
///
/// # Shapes
/// Any; the result has the same.
///
/// # Errors
/// For integer types, and for a softplus whose beta is not above 0.
pub fn activation(xs: &Tensor, activation: Activation) -> Result<Tensor> {
    activation.check(xs.dtype())?;
    if is_fused(xs) { apply1(xs, Forward(activation)) } else { composed::activation(xs, activation) }
}

impl Activation {
    /// PyTorch's name of the function, such as `leaky_relu`.
    pub fn name(&self) -> &'static str {
        match self {
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Relu => "relu",
            Activation::LeakyRelu(_) => "leaky_relu",
            Activation::Elu(_) => "elu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Silu => "silu",
            Activation::Softplus { .. } => "softplus",
            Activation::Mish => "mish",
            Activation::HardSwish => "hardswish",
            Activation::HardSigmoid => "hardsigmoid",
            Activation::LogSigmoid => "logsigmoid",
        }
    }
}

impl Activation {
    /// Fails where the parameters are out of range or it is not a float type that the activation is applied to.
    pub(crate) fn check(&self, dtype: DType) -> Result<()> {
        if let Activation::Softplus { beta, .. } = *self
            && !(beta > 0.0 && beta.is_finite())
        {
            candle_core::bail!("softplus: expected beta above 0, got {beta}");
        }
        if !dtype.is_float() {
            candle_core::bail!("{}: expected a float type, got {dtype:?}", self.name());
        }
        Ok(())
    }

    /// Whether the derivative takes the input; otherwise the output, whose sign is the input's, is enough.
    pub(crate) fn needs_input(&self) -> bool {
        match *self {
            Self::Sigmoid | Self::Tanh | Self::Relu => false,
            Self::LeakyRelu(slope) => slope < 0.0,
            Self::Elu(alpha) => alpha < 0.0,
            _ => true,
        }
    }
}

struct Forward(Activation);

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!(self.0.name(), xs.dtype(), T => {
            Ok(output(formulas::forward(self.0, &values::<T>(xs, layout)?), layout.shape()))
        })
    }

    fn bwd(&self, xs: &Tensor, ys: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !xs.track_op() {
            return Ok(None);
        }
        by_float!(self.0.name(), xs.dtype(), T => {
            with_values::<T, _, 3>([xs, ys, grad], |[x, y, g]| {
                tensor(formulas::backward(self.0, x, y, g), xs.shape()).map(Some)
            })
        })
    }
}
