//! The gated recurrent unit.

use glassbox_core::{Result, VarBuilder};

use super::RnnState;
use super::cell::Cell;
use super::config::config;
use super::recurrent::recurrent;
use super::stack::{Stack, StackConfig};

config! {
    /// How a [`Gru`] is built; the default is PyTorch's.
    GruConfig {}
}

/// Gated recurrent units (Cho et al. 2014, arXiv 1406.1078), in the variant of cuDNN and PyTorch:
///
/// r, z = sigmoid(W_i x_t + b_i + W_h h_(t−1) + b_h), each with its rows of the weights;
/// n = tanh(W_in x_t + b_in + r (W_hn h_(t−1) + b_hn)); h_t = (1 − z) n + z h_(t−1).
///
/// In the paper r multiplies h_(t−1) before W_hn, and z and 1 − z are exchanged. Three quarters of an
/// [`Lstm`](crate::Lstm)'s work, and about as good on most tasks.
///
/// Parameters of layer k, the rows of gates r, z, n one after another: `weight_ih_lk` (3 · hidden_size, input_size, or the
/// outputs of the layer below), `weight_hh_lk` (3 · hidden_size, hidden_size), `bias_ih_lk` and `bias_hh_lk`
/// (3 · hidden_size), the same with `_reverse` behind for the backward direction, all initially uniform within
/// ± 1/√hidden_size, as PyTorch's `nn.GRU`. The options that PyTorch lacks add others, see [`GruConfig`].
///
/// # Shapes
/// (batch, seq_len, input_size) to (batch, seq_len, num_directions · hidden_size); PyTorch's `batch_first=True`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_rnn::{Gru, GruConfig};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = GruConfig { num_layers: 2, bidirectional: true, dropout: 0.3, ..Default::default() };
/// let gru = Gru::new(3, 8, config, params.root())?;
/// let xs = Tensor::zeros((2, 5, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(gru.forward(&xs, &Pass::eval())?.dims(), [2, 5, 16]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Gru(Stack);

impl Gru {
    /// A network from `input_size` features to `hidden_size` in each direction.
    ///
    /// # Errors
    /// A size or number of layers of 0, a probability outside [0, 1), or parameters of the same name and another shape.
    pub fn new(input_size: usize, hidden_size: usize, config: GruConfig, vb: VarBuilder) -> Result<Self> {
        let config = StackConfig {
            cell: Cell::Gru,
            input_size,
            hidden_size,
            proj_size: None,
            unit_forget_bias: false,
            options: config.options(),
        };
        Stack::new(config, vb).map(Self)
    }
}

recurrent!(Gru, RnnState);
