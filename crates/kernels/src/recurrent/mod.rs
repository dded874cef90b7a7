//! Recurrent networks over whole sequences: RNN, GRU and LSTM, one layer, one direction or both.
//!
//! Parameters, gate order and results are PyTorch's. On the CPU a call is one operation, forward and backward: the inputs of
//! all steps are projected by one product, and blocks of samples run through their steps in parallel. The result does not
//! depend on the number of threads.

mod backward;
mod cell;
mod composed;
mod forward;
mod inputs;
mod op;
mod sequences;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use crate::Result;
use crate::cpu::is_fused;
use cell::{Cell, Gru, Lstm, RnnRelu, RnnTanh};
use inputs::{Direction, Inputs};

/// The parameters of one layer in one direction, in PyTorch's layout: the rows are the gates', one block of `hidden_size`
/// rows for each, i, f, g, o in an LSTM and r, z, n in a GRU.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentWeights<'a> {
    /// From the input: (gates · hidden_size, input_size).
    pub weight_ih: &'a Tensor,
    /// From the previous hidden state: (gates · hidden_size, hidden_size).
    pub weight_hh: &'a Tensor,
    /// `bias_ih` and `bias_hh`, each (gates · hidden_size).
    pub bias: Option<(&'a Tensor, &'a Tensor)>,
    /// Of an LSTM with projection (Sak et al. 2014, arXiv 1402.1128): (proj_size, hidden_size). The hidden state is then
    /// `weight_hr · (o tanh(c))`, of proj_size, which takes the place of the hidden size in `weight_hh`'s columns, in h0 and
    /// in all hidden states that are given; the cell state keeps the hidden size. An RNN and a GRU have none.
    pub weight_hr: Option<&'a Tensor>,
}

/// How a layer runs over its sequences.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecurrentParams<'a> {
    /// From the last step to the first. Outputs stay at the time of their inputs.
    pub reverse: bool,
    /// The number of valid steps of each sample, from 1 to `seq_len`, in any order; all of them by default. As with PyTorch's
    /// packed sequences the output beyond is 0, the final state is that after the last valid step and, in reverse, a sample
    /// starts at its own last valid step. What `xs` holds beyond is never used.
    pub lengths: Option<&'a [usize]>,
}

/// The activation of the simple recurrent network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RnnActivation {
    /// The hyperbolic tangent.
    #[default]
    Tanh,
    /// max(x, 0).
    Relu,
}

/// What [`rnn`] and [`gru`] give.
#[derive(Clone, Debug)]
pub struct RecurrentOutput {
    /// The hidden state after every step: (batch, seq_len, hidden_size).
    pub sequence: Tensor,
    /// The final hidden state: (batch, hidden_size).
    pub hidden: Tensor,
}

/// What [`lstm`] gives.
#[derive(Clone, Debug)]
pub struct LstmOutput {
    /// The hidden state after every step: (batch, seq_len, hidden_size).
    pub sequence: Tensor,
    /// The final hidden state: (batch, hidden_size).
    pub hidden: Tensor,
    /// The final cell state: (batch, hidden_size).
    pub cell: Tensor,
}

/// What [`bidirectional_rnn`] and [`bidirectional_gru`] give.
#[derive(Clone, Debug)]
pub struct BidirectionalOutput {
    /// The hidden states after every step, forward and then backward: (batch, seq_len, 2 · hidden_size).
    pub sequence: Tensor,
    /// The final hidden states of the forward and of the backward direction: (batch, hidden_size) each.
    pub hidden: [Tensor; 2],
}

/// What [`bidirectional_lstm`] gives.
#[derive(Clone, Debug)]
pub struct BidirectionalLstmOutput {
    /// The hidden states after every step, forward and then backward: (batch, seq_len, 2 · hidden_size).
    pub sequence: Tensor,
    /// The final hidden states of the forward and of the backward direction: (batch, hidden_size) each.
    pub hidden: [Tensor; 2],
    /// The final cell states of the forward and of the backward direction: (batch, hidden_size) each.
    pub cell: [Tensor; 2],
}

/// A simple recurrent layer (Elman 1990): h_t = activation(W_ih x_t + b_ih + W_hh h_(t−1) + b_hh).
///
/// # Shapes
/// `xs` (batch, seq_len, input_size), strided as it may be; `h0` (batch, hidden_size), zeros by default.
///
/// # Errors
/// Where a shape, dtype or device does not fit, a length is outside of 1 to `seq_len`, or there is no step.
pub fn rnn(
    xs: &Tensor,
    weights: &RecurrentWeights,
    h0: Option<&Tensor>,
    activation: RnnActivation,
    params: &RecurrentParams,
) -> Result<RecurrentOutput> {
    let directions = vec![Direction { weights, h0, c0: None, reverse: params.reverse }];
    let inputs = Inputs { xs, directions, lengths: params.lengths };
    let [sequence, hidden] = match activation {
        RnnActivation::Tanh => run::<RnnTanh, _>("rnn", &inputs),
        RnnActivation::Relu => run::<RnnRelu, _>("rnn", &inputs),
    }?;
    Ok(RecurrentOutput { sequence, hidden })
}

/// A layer of gated recurrent units (Cho et al. 2014, arXiv 1406.1078), in the variant of cuDNN and PyTorch:
///
/// r, z = sigmoid(W_i x_t + b_i + W_h h_(t−1) + b_h), each with its rows of the weights;
/// n = tanh(W_in x_t + b_in + r (W_hn h_(t−1) + b_hn)); h_t = (1 − z) n + z h_(t−1).
///
/// In the paper r multiplies h_(t−1) before W_hn, and z and 1 − z are exchanged.
///
/// # Shapes
/// `xs` (batch, seq_len, input_size), strided as it may be; `h0` (batch, hidden_size), zeros by default.
///
/// # Errors
/// As [`rnn`].
pub fn gru(
    xs: &Tensor,
    weights: &RecurrentWeights,
    h0: Option<&Tensor>,
    params: &RecurrentParams,
) -> Result<RecurrentOutput> {
    let directions = vec![Direction { weights, h0, c0: None, reverse: params.reverse }];
    let [sequence, hidden] = run::<Gru, _>("gru", &Inputs { xs, directions, lengths: params.lengths })?;
    Ok(RecurrentOutput { sequence, hidden })
}

/// A layer of long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000):
///
/// i, f, o = sigmoid and g = tanh of W_i x_t + b_i + W_h h_(t−1) + b_h, each with its rows of the weights;
/// c_t = f c_(t−1) + i g; h_t = o tanh(c_t), or its projection where there is one.
///
/// # Shapes
/// `xs` (batch, seq_len, input_size), strided as it may be; `state` is `h0` and `c0`, (batch, hidden_size) each, zeros by
/// default.
///
/// # Errors
/// As [`rnn`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_kernels::recurrent::{RecurrentParams, RecurrentWeights, lstm};
///
/// # fn main() -> candle_core::Result<()> {
/// let device = Device::Cpu;
/// let xs = Tensor::ones((2, 5, 3), DType::F32, &device)?;
/// let weights = RecurrentWeights {
///     weight_ih: &Tensor::ones((16, 3), DType::F32, &device)?,
///     weight_hh: &Tensor::zeros((16, 4), DType::F32, &device)?,
///     bias: None,
///     weight_hr: None,
/// };
/// let out = lstm(&xs, &weights, None, &RecurrentParams { lengths: Some(&[5, 2]), ..Default::default() })?;
/// assert_eq!(out.sequence.dims(), [2, 5, 4]);
/// assert_eq!(out.cell.dims(), [2, 4]);
/// # Ok(())
/// # }
/// ```
pub fn lstm(
    xs: &Tensor,
    weights: &RecurrentWeights,
    state: Option<(&Tensor, &Tensor)>,
    params: &RecurrentParams,
) -> Result<LstmOutput> {
    let (h0, c0) = state.unzip();
    let directions = vec![Direction { weights, h0, c0, reverse: params.reverse }];
    let [sequence, hidden, cell] = run::<Lstm, _>("lstm", &Inputs { xs, directions, lengths: params.lengths })?;
    Ok(LstmOutput { sequence, hidden, cell })
}

/// [`rnn`] forward with the first weights and in reverse with the second, both at once.
///
/// # Shapes
/// As [`rnn`]; `h0` is that of each direction.
///
/// # Errors
/// As [`rnn`], and where the two directions' sizes differ.
pub fn bidirectional_rnn(
    xs: &Tensor,
    weights: [&RecurrentWeights; 2],
    h0: Option<[&Tensor; 2]>,
    activation: RnnActivation,
    lengths: Option<&[usize]>,
) -> Result<BidirectionalOutput> {
    let inputs = Inputs { xs, directions: both(weights, h0, None), lengths };
    let [sequence, forward, backward] = match activation {
        RnnActivation::Tanh => run::<RnnTanh, _>("bidirectional_rnn", &inputs),
        RnnActivation::Relu => run::<RnnRelu, _>("bidirectional_rnn", &inputs),
    }?;
    Ok(BidirectionalOutput { sequence, hidden: [forward, backward] })
}

/// [`gru`] forward with the first weights and in reverse with the second, both at once.
///
/// # Shapes
/// As [`gru`]; `h0` is that of each direction.
///
/// # Errors
/// As [`bidirectional_rnn`].
pub fn bidirectional_gru(
    xs: &Tensor,
    weights: [&RecurrentWeights; 2],
    h0: Option<[&Tensor; 2]>,
    lengths: Option<&[usize]>,
) -> Result<BidirectionalOutput> {
    let inputs = Inputs { xs, directions: both(weights, h0, None), lengths };
    let [sequence, forward, backward] = run::<Gru, _>("bidirectional_gru", &inputs)?;
    Ok(BidirectionalOutput { sequence, hidden: [forward, backward] })
}

/// [`lstm`] forward with the first weights and in reverse with the second, both at once.
///
/// # Shapes
/// As [`lstm`]; `state` is `h0` of each direction and `c0` of each.
///
/// # Errors
/// As [`bidirectional_rnn`].
pub fn bidirectional_lstm(
    xs: &Tensor,
    weights: [&RecurrentWeights; 2],
    state: Option<([&Tensor; 2], [&Tensor; 2])>,
    lengths: Option<&[usize]>,
) -> Result<BidirectionalLstmOutput> {
    let (h0, c0) = state.unzip();
    let inputs = Inputs { xs, directions: both(weights, h0, c0), lengths };
    let [sequence, hidden, cell, backward_hidden, backward_cell] = run::<Lstm, _>("bidirectional_lstm", &inputs)?;
    Ok(BidirectionalLstmOutput { sequence, hidden: [hidden, backward_hidden], cell: [cell, backward_cell] })
}

/// The forward and the backward direction.
fn both<'a>(
    weights: [&'a RecurrentWeights<'a>; 2],
    h0: Option<[&'a Tensor; 2]>,
    c0: Option<[&'a Tensor; 2]>,
) -> Vec<Direction<'a>> {
    let direction =
        |i: usize| Direction { weights: weights[i], h0: h0.map(|h0| h0[i]), c0: c0.map(|c0| c0[i]), reverse: i == 1 };
    vec![direction(0), direction(1)]
}

/// The sequence, then for every direction the final hidden state and, where there is one, the final cell state.
fn run<C: Cell, const N: usize>(name: &str, inputs: &Inputs) -> Result<[Tensor; N]> {
    inputs.check::<C>(name)?;
    let outputs = if is_fused(inputs.xs) { op::apply::<C>(inputs) } else { composed::apply::<C>(inputs) }?;
    match <[Tensor; N]>::try_from(outputs) {
        Ok(outputs) => Ok(outputs),
        Err(outputs) => candle_core::bail!("{name}: expected {N} outputs, got {}", outputs.len()),
    }
}
