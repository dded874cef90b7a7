//! What one step of each kind of recurrent network computes from one sample.

mod gru;
mod lstm;
mod rnn;

use std::ops::Range;

use candle_core::Tensor;

pub(super) use gru::Gru;
pub(super) use lstm::Lstm;
pub(super) use rnn::{RnnRelu, RnnTanh};

use crate::Result;
use crate::cpu::Float;

/// A kind of recurrent network. All counts are in multiples of the hidden size.
pub(super) trait Cell: Send + Sync + 'static {
    /// PyTorch's name of the network.
    const NAME: &'static str;
    /// Gates: rows of the weights.
    const GATES: usize;
    /// The cell state beside the hidden state.
    const CELL: usize;
    /// Sums of a step: for every gate `weight_ih · x`, plus `weight_hh · h` unless that stands among further sums. A step
    /// replaces them by the values that its backward needs.
    const SUMS: usize;
    /// Where `weight_hh · h` goes.
    const RECURRENT: &'static [Part];
    /// Whether `backward` leaves a part of the previous hidden state's gradient in `d_hidden`.
    const CARRIES: bool;

    /// One step of one sample.
    fn forward<T: Float>(step: Step<T>);

    /// The gradients of one step of one sample.
    fn backward<T: Float>(step: BackwardStep<T>);

    /// One step of a whole batch, from Candle's operations: `projected` is `weight_ih · x + bias_ih`, `recurrent` is
    /// `weight_hh · h + bias_hh`. Gives the new hidden and cell state.
    fn composed(
        projected: &Tensor,
        recurrent: &Tensor,
        hidden: &Tensor,
        cell: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)>;
}

/// Rows of `weight_hh` and the sums that they belong to.
pub(super) struct Part {
    pub rows: usize,
    pub sums: usize,
    pub len: usize,
}

/// One step of one sample, forward.
pub(super) struct Step<'a, T> {
    /// The sums without their biases, replaced by the gates' values.
    pub sums: &'a mut [T],
    /// `bias_ih` and `bias_hh`.
    pub bias: [&'a [T]; 2],
    /// The state before the step, which that after it replaces.
    pub hidden: &'a mut [T],
    pub cell: &'a mut [T],
}

impl<T: Float> Step<'_, T> {
    /// The values of these gates: the activation of their sums.
    #[inline(always)]
    fn activate(&mut self, gates: Range<usize>, activation: impl Fn(T) -> T) {
        let range = gates.start * self.hidden.len()..gates.end * self.hidden.len();
        let [bias_ih, bias_hh] = self.bias.map(|bias| &bias[range.clone()]);
        update(&mut self.sums[range], [bias_ih, bias_hh], |x, [a, b]| activation(x + (a + b)));
    }
}

/// One step of one sample, backward.
pub(super) struct BackwardStep<'a, T> {
    /// What the forward left in [`Step::sums`] and in [`Step::cell`].
    pub values: &'a [T],
    pub cell: &'a [T],
    /// The state before the step: the cell state of a network that has one, else the hidden state.
    pub previous: &'a [T],
    /// The gradient of the new hidden state, replaced by the part of the previous one's that does not go through
    /// `weight_hh`, where the cell carries one.
    pub d_hidden: &'a mut [T],
    /// The gradient of the new cell state, replaced by that of the previous one.
    pub d_cell: &'a mut [T],
    /// The gradients of the sums.
    pub d_sums: &'a mut [T],
}

/// Elements that [`update`] loads before it stores any.
const LANES: usize = 16;

/// Replaces every element of `out` by `f` of it and of the elements of `inputs` at its place.
///
/// All of a chunk is loaded before any of it is stored, so that the compiler need not prove that the slices are apart.
#[inline(always)]
fn update<T: Float, const N: usize>(out: &mut [T], inputs: [&[T]; N], f: impl Fn(T, [T; N]) -> T) {
    let inputs = inputs.map(|input| input[..out.len()].as_chunks::<LANES>());
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    for (i, out) in chunks.iter_mut().enumerate() {
        let (mut new, inputs) = (*out, inputs.map(|(chunks, _)| &chunks[i]));
        for (lane, new) in new.iter_mut().enumerate() {
            *new = f(*new, std::array::from_fn(|k| inputs[k][lane]));
        }
        *out = new;
    }
    for (i, out) in rest.iter_mut().enumerate() {
        *out = f(*out, inputs.map(|(_, rest)| rest[i]));
    }
}

/// `xs` in N equal parts.
#[inline(always)]
fn parts<T, const N: usize>(xs: &[T]) -> [&[T]; N] {
    let len = xs.len() / N;
    std::array::from_fn(|i| &xs[i * len..][..len])
}

/// `xs` in N equal parts.
#[inline(always)]
fn parts_mut<T, const N: usize>(xs: &mut [T]) -> [&mut [T]; N] {
    let (len, mut rest) = (xs.len() / N, xs);
    std::array::from_fn(|_| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
        rest = after;
        part
    })
}

/// `xs` (batch, N · len) in N equal parts.
fn chunks<const N: usize>(xs: &Tensor) -> Result<[Tensor; N]> {
    match <[Tensor; N]>::try_from(xs.chunk(N, 1)?) {
        Ok(chunks) => Ok(chunks),
        Err(chunks) => candle_core::bail!("expected {N} chunks, got {}", chunks.len()),
    }
}
