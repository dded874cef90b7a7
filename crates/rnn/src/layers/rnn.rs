//! The simple recurrent network.

use glassbox_core::{Result, VarBuilder};

use super::cell::Cell;
use super::config::config;
use super::recurrent::recurrent;
use super::stack::{Stack, StackConfig};
use super::{RnnActivation, RnnState};

config! {
    /// How an [`Rnn`] is built; the default is PyTorch's.
    RnnConfig {
        /// What follows the sums. Default tanh.
        activation: RnnActivation = RnnActivation::Tanh,
    }
}

/// The simple recurrent network (Elman 1990): h_t = activation(W_ih x_t + b_ih + W_hh h_(t−1) + b_hh).
///
/// Its gradients vanish or explode over tens of steps; a [`Gru`](crate::Gru) or an [`Lstm`](crate::Lstm) remembers longer.
///
/// Parameters of layer k: `weight_ih_lk` (hidden_size, input_size, or the outputs of the layer below), `weight_hh_lk`
/// (hidden_size, hidden_size), `bias_ih_lk` and `bias_hh_lk` (hidden_size), the same with `_reverse` behind for the
/// backward direction, all initially uniform within ± 1/√hidden_size, as PyTorch's `nn.RNN`. The options that PyTorch lacks
/// add others, see [`RnnConfig`].
///
/// # Shapes
/// (batch, seq_len, input_size) to (batch, seq_len, num_directions · hidden_size); PyTorch's `batch_first=True`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_rnn::{Rnn, RnnActivation, RnnConfig};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = RnnConfig { activation: RnnActivation::Relu, orthogonal: true, ..Default::default() };
/// let rnn = Rnn::new(3, 8, config, params.root())?;
/// let xs = Tensor::zeros((2, 5, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(rnn.forward(&xs, &Pass::eval())?.dims(), [2, 5, 8]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Rnn(Stack);

impl Rnn {
    /// A network from `input_size` features to `hidden_size` in each direction.
    ///
    /// # Errors
    /// A size or number of layers of 0, a probability outside [0, 1), or parameters of the same name and another shape.
    pub fn new(input_size: usize, hidden_size: usize, config: RnnConfig, vb: VarBuilder) -> Result<Self> {
        let config = StackConfig {
            cell: Cell::Rnn(config.activation),
            input_size,
            hidden_size,
            proj_size: None,
            unit_forget_bias: false,
            options: config.options(),
        };
        Stack::new(config, vb).map(Self)
    }
}

recurrent!(Rnn, RnnState);
