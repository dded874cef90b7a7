//! The recurrence from Candle's operations, for devices without a kernel of ours.

use candle_core::Tensor;

use super::cell::Cell;
use super::{Direction, Inputs};
use crate::Result;
use crate::cpu::of_nothing;

/// As [`super::op::apply`].
pub(super) fn apply<C: Cell>(inputs: &Inputs) -> Result<Vec<Tensor>> {
    let (batch, seq_len, _) = inputs.xs.dims3()?;
    if batch == 0 {
        return without_samples::<C>(inputs, seq_len);
    }
    let running = inputs.lengths.map(|lengths| running(lengths, seq_len, inputs.xs)).transpose()?;
    let xs = match &running {
        // What lies beyond a sample's length may be anything.
        Some(running) => running.broadcast_as(inputs.xs.shape())?.where_cond(inputs.xs, &inputs.xs.zeros_like()?)?,
        None => inputs.xs.clone(),
    };
    let (mut sequences, mut states) = (Vec::new(), Vec::new());
    for direction in &inputs.directions {
        let (sequence, hidden, cell) = one_direction::<C>(direction, &xs, batch, running.as_ref())?;
        sequences.push(sequence);
        states.extend([Some(hidden), cell].into_iter().flatten());
    }
    let mut outputs = vec![Tensor::cat(&sequences, 2)?];
    outputs.append(&mut states);
    Ok(outputs)
}

/// The outputs of no samples at all, of whose steps Candle's operations make nothing but a panic.
fn without_samples<C: Cell>(inputs: &Inputs, seq_len: usize) -> Result<Vec<Tensor>> {
    let (output, directions) = (inputs.output_size(), inputs.directions.len());
    let weights = inputs.directions.iter().flat_map(|d| [d.weights.weight_ih, d.weights.weight_hh]);
    let operands: Vec<&Tensor> = std::iter::once(inputs.xs).chain(weights).collect();
    let cell = (C::CELL > 0).then(|| (0, inputs.hidden_size()));
    let states = (0..directions).flat_map(|_| std::iter::once((0, output)).chain(cell));
    let sequence = of_nothing((0, seq_len, directions * output), &operands);
    std::iter::once(sequence).chain(states.map(|shape| of_nothing(shape, &operands))).collect()
}

/// 1 where a sample is still running, else 0: (batch, seq_len, 1).
fn running(lengths: &[usize], seq_len: usize, xs: &Tensor) -> Result<Tensor> {
    let mask = lengths.iter().flat_map(|&length| (0..seq_len).map(move |time| u8::from(time < length)));
    Tensor::from_vec(mask.collect(), (lengths.len(), seq_len, 1), xs.device())
}

/// The hidden states of all steps, the final hidden and cell state. In reverse, a sample that has not begun keeps its
/// initial state.
fn one_direction<C: Cell>(
    direction: &Direction,
    xs: &Tensor,
    batch: usize,
    running: Option<&Tensor>,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let (weights, seq_len) = (direction.weights, xs.dim(1)?);
    let zeros = |size: usize| Tensor::zeros((batch, size), xs.dtype(), xs.device());
    let sizes = (weights.weight_hh.dim(1)?, weights.weight_hh.dim(0)? / C::GATES);
    let mut hidden = direction.h0.map_or_else(|| zeros(sizes.0), |h0| Ok(h0.clone()))?;
    let cell = || direction.c0.map_or_else(|| zeros(sizes.1), |c0| Ok(c0.clone()));
    let mut cell = (C::CELL > 0).then(cell).transpose()?;
    let mut sequence = vec![None; seq_len];
    for step in 0..seq_len {
        let time = if direction.reverse { seq_len - 1 - step } else { step };
        let x = xs.narrow(1, time, 1)?.squeeze(1)?.contiguous()?;
        let projected = affine(&x, weights.weight_ih, weights.bias.map(|(ih, _)| ih))?;
        let recurrent = affine(&hidden, weights.weight_hh, weights.bias.map(|(_, hh)| hh))?;
        let (new_hidden, new_cell) = C::composed(&projected, &recurrent, &hidden, cell.as_ref())?;
        let new_hidden = match weights.weight_hr {
            Some(weight_hr) => affine(&new_hidden, weight_hr, None)?,
            None => new_hidden,
        };
        let running = running.map(|running| running.narrow(1, time, 1)?.squeeze(1));
        let Some(running) = running.transpose()? else {
            (hidden, cell) = (new_hidden, new_cell);
            sequence[time] = Some(hidden.clone());
            continue;
        };
        let choose = |new: &Tensor, old: &Tensor| running.broadcast_as(new.shape())?.where_cond(new, old);
        sequence[time] = Some(choose(&new_hidden, &new_hidden.zeros_like()?)?);
        hidden = choose(&new_hidden, &hidden)?;
        cell = new_cell.zip(cell).map(|(new, old)| choose(&new, &old)).transpose()?;
    }
    let sequence: Vec<_> = sequence.into_iter().flatten().collect();
    Ok((Tensor::stack(&sequence, 1)?, hidden, cell))
}

/// `weight · x + bias` of every sample.
fn affine(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ys = xs.contiguous()?.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => ys.broadcast_add(bias),
        None => Ok(ys),
    }
}
