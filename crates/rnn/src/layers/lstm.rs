//! The long short-term memory.

use glassbox_core::{Result, VarBuilder};

use super::LstmState;
use super::cell::Cell;
use super::config::config;
use super::recurrent::recurrent;
use super::stack::{Stack, StackConfig};

config! {
    /// How an [`Lstm`] is built; the default is PyTorch's.
    LstmConfig {
        /// The size that hidden states are projected to, from 1 to below hidden_size (Sak et al. 2014, arXiv 1402.1128):
        /// h_t = W_hr (o tanh(c_t)), with the parameters `weight_hr_l0` (proj_size, hidden_size), …, as PyTorch's.
        /// Default none.
        proj_size: Option<usize> = None,
        /// Whether the forget gates' biases start at 1 (`bias_ih`) and 0 (`bias_hh`), so that a new network remembers
        /// (Gers et al. 2000; Jozefowicz et al. 2015), instead of PyTorch's values around 0. Default false.
        unit_forget_bias: bool = false,
    }
}

/// Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000):
///
/// i, f, o = sigmoid and g = tanh of W_i x_t + b_i + W_h h_(t−1) + b_h, each with its rows of the weights;
/// c_t = f c_(t−1) + i g; h_t = o tanh(c_t).
///
/// Parameters of layer k, the rows of gates i, f, g, o one after another: `weight_ih_lk` (4 · hidden_size, input_size, or
/// the outputs of the layer below), `weight_hh_lk` (4 · hidden_size, hidden_size), `bias_ih_lk` and `bias_hh_lk`
/// (4 · hidden_size), the same with `_reverse` behind for the backward direction, all initially uniform within
/// ± 1/√hidden_size, as PyTorch's `nn.LSTM`. The options that PyTorch lacks add others, see [`LstmConfig`].
///
/// # Shapes
/// (batch, seq_len, input_size) to (batch, seq_len, num_directions · hidden_size); PyTorch's `batch_first=True`. With
/// `proj_size` that takes the place of hidden_size in the output and in `weight_hh_lk`'s columns.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_rnn::{Lstm, LstmConfig};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = LstmConfig { unit_forget_bias: true, ..Default::default() };
/// let lstm = Lstm::new(3, 8, config, params.root())?;
/// assert_eq!(params.names(), ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]);
/// let xs = Tensor::zeros((2, 5, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(lstm.forward(&xs, &Pass::eval())?.dims(), [2, 5, 8]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Lstm(Stack);

impl Lstm {
    /// A network from `input_size` features to `hidden_size` in each direction.
    ///
    /// # Errors
    /// A size or number of layers of 0, a `proj_size` out of range, a probability outside [0, 1), or parameters of the
    /// same name and another shape.
    pub fn new(input_size: usize, hidden_size: usize, config: LstmConfig, vb: VarBuilder) -> Result<Self> {
        let LstmConfig { proj_size, unit_forget_bias, .. } = config;
        let options = config.options();
        let config = StackConfig { cell: Cell::Lstm, input_size, hidden_size, proj_size, unit_forget_bias, options };
        Stack::new(config, vb).map(Self)
    }
}

recurrent!(Lstm, LstmState);
