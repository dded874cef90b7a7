//! The minimal long short-term memory.

use candle_core::Tensor;
use glassbox_core::{Activation, Layer, Linear, Pass, Result, Site, VarBuilder};
use glassbox_kernels::activation::activation;
use glassbox_kernels::scan::gated_scan;

use super::minimal::Minimal;

/// The minimal long short-term memory (Feng et al. 2024, "Were RNNs All We Needed?", arXiv 2410.01201):
///
/// f_t = sigmoid(W_f x_t + b_f); i_t = sigmoid(W_i x_t + b_i); c_t = W_h x_t + b_h;
/// h_t = f'_t h_(t−1) + i'_t c_t with f' = f / (f + i) and i' = i / (f + i).
///
/// As [`MinGru`](super::MinGru) it needs no product between the steps. i' is computed as sigmoid(ln i − ln f), which is
/// right where both gates are so small that f + i would be 0.
///
/// Parameters: `linear_f.weight`, `linear_i.weight`, `linear_h.weight` (hidden_size, input_size) and `.bias` (hidden_size),
/// initially as [`Linear`]'s.
///
/// # Shapes
/// (batch, seq_len, input_size) to (batch, seq_len, hidden_size). The layer is causal: what stands beyond a sample's length
/// changes nothing before it.
///
/// # Differences from the paper
/// As of [`MinGru`](super::MinGru).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_rnn::MinLstm;
///
/// let layer = MinLstm::new(3, 8, ParamStore::new(Seed(1), &Device::Cpu).root())?;
/// let ys = layer.forward(&Tensor::ones((2, 5, 3), DType::F32, &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.dims(), [2, 5, 8]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct MinLstm {
    linear_f: Linear,
    linear_i: Linear,
    linear_h: Linear,
    shape: Minimal,
}

impl MinLstm {
    /// A layer of `hidden_size` units.
    ///
    /// # Errors
    /// A size of 0; parameters of the same name and another shape exist.
    pub fn new(input_size: usize, hidden_size: usize, vb: VarBuilder) -> Result<Self> {
        let shape = Minimal::new("MinLstm", input_size, hidden_size, &vb)?;
        let linear = |name| Linear::new(input_size, hidden_size, vb.pp(name));
        Ok(Self { linear_f: linear("linear_f")?, linear_i: linear("linear_i")?, linear_h: linear("linear_h")?, shape })
    }

    /// The states of all steps, and that after the last, from the state `h0` (batch, hidden_size), zeros by default.
    /// To go on with the next piece of a long sequence, give the last state, detached.
    ///
    /// # Errors
    /// A shape that does not fit; no steps.
    pub fn forward_from(&self, xs: &Tensor, h0: Option<&Tensor>, pass: &Pass) -> Result<(Tensor, Tensor)> {
        self.shape.run(xs, pass, || {
            let log_gate = |linear: &Linear| -> Result<Tensor> {
                Ok(activation(&linear.forward(xs, pass)?, Activation::LogSigmoid)?)
            };
            let gate = (log_gate(&self.linear_i)? - log_gate(&self.linear_f)?)?;
            Ok(gated_scan(&gate, &self.linear_h.forward(xs, pass)?, h0)?)
        })
    }

    /// The state after one step, from `x` (batch, input_size) and the state before (batch, hidden_size), zeros by default.
    ///
    /// # Errors
    /// A shape that does not fit.
    pub fn step(&self, x: &Tensor, state: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        Ok(self.forward_from(&self.shape.one_step(x)?, state, pass)?.1)
    }
}

impl Layer for MinLstm {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        Ok(self.forward_from(xs, None, pass)?.0)
    }

    fn site(&self) -> Option<&Site> {
        Some(self.shape.site())
    }
}
