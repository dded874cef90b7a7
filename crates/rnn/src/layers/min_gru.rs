//! The minimal gated recurrent unit.

use candle_core::Tensor;
use glassbox_core::{Layer, Linear, Pass, Result, Site, VarBuilder};
use glassbox_kernels::scan::gated_scan;

use super::minimal::Minimal;

/// The minimal gated recurrent unit (Feng et al. 2024, "Were RNNs All We Needed?", arXiv 2410.01201):
///
/// z_t = sigmoid(W_z x_t + b_z); c_t = W_h x_t + b_h; h_t = (1 − z_t) h_(t−1) + z_t c_t.
///
/// Gates and candidates do not see h_(t−1), so they are computed for all steps at once and only a scan is left: one layer
/// is far cheaper than a GRU's, and two or three make up for what it cannot do. Stack them with a [`Linear`] or an MLP,
/// normalisation and residual connections between.
///
/// Parameters: `linear_z.weight`, `linear_h.weight` (hidden_size, input_size) and `.bias` (hidden_size), initially as
/// [`Linear`]'s.
///
/// # Shapes
/// (batch, seq_len, input_size) to (batch, seq_len, hidden_size). The layer is causal: what stands beyond a sample's length
/// changes nothing before it.
///
/// # Differences from the paper
/// This is the recurrence of its section 3.1. Its appendix scans logarithms, for which candidates must be positive; the
/// scan here needs no logarithms.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_rnn::MinGru;
///
/// let layer = MinGru::new(3, 8, ParamStore::new(Seed(1), &Device::Cpu).root())?;
/// let (pass, xs) = (Pass::eval(), Tensor::ones((2, 5, 3), DType::F32, &Device::Cpu)?);
/// let (sequence, last) = layer.forward_from(&xs, None, &pass)?;
/// assert_eq!((sequence.dims(), last.dims()), (&[2, 5, 8][..], &[2, 8][..]));
/// // Streaming: one step at a time.
/// let next = layer.step(&Tensor::ones((2, 3), DType::F32, &Device::Cpu)?, Some(&last), &pass)?;
/// assert_eq!(next.dims(), [2, 8]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct MinGru {
    linear_z: Linear,
    linear_h: Linear,
    shape: Minimal,
}

impl MinGru {
    /// A layer of `hidden_size` units.
    ///
    /// # Errors
    /// A size of 0; parameters of the same name and another shape exist.
    pub fn new(input_size: usize, hidden_size: usize, vb: VarBuilder) -> Result<Self> {
        let shape = Minimal::new("MinGru", input_size, hidden_size, &vb)?;
        let linear = |name| Linear::new(input_size, hidden_size, vb.pp(name));
        Ok(Self { linear_z: linear("linear_z")?, linear_h: linear("linear_h")?, shape })
    }

    /// The states of all steps, and that after the last, from the state `h0` (batch, hidden_size), zeros by default.
    /// To go on with the next piece of a long sequence, give the last state, detached.
    ///
    /// # Errors
    /// A shape that does not fit; no steps.
    pub fn forward_from(&self, xs: &Tensor, h0: Option<&Tensor>, pass: &Pass) -> Result<(Tensor, Tensor)> {
        self.shape.run(xs, pass, || {
            let (gate, candidate) = (self.linear_z.forward(xs, pass)?, self.linear_h.forward(xs, pass)?);
            Ok(gated_scan(&gate, &candidate, h0)?)
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

impl Layer for MinGru {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        Ok(self.forward_from(xs, None, pass)?.0)
    }

    fn site(&self) -> Option<&Site> {
        Some(self.shape.site())
    }
}
