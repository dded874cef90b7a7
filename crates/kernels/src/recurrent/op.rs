//! The recurrence as a differentiable operation on tensors.

use std::marker::PhantomData;

use candle_core::Tensor;

use super::Inputs;
use super::backward::{Backward, Gradients, Pass, Wanted};
use super::cell::Cell;
use super::forward::{Direction, Outcome, Sizes, States, Trace, forward};
use super::sequences::Sequences;
use crate::Result;
use crate::cpu::{Float, Function, by_float, output, record, tensor, with_all_values};

/// The hidden states of all steps, then for every direction the final hidden state and, where there is one, cell state.
pub(super) fn apply<C: Cell>(inputs: &Inputs) -> Result<Vec<Tensor>> {
    by_float!(C::NAME, inputs.xs.dtype(), T => typed::<T, C>(inputs))
}

fn typed<T: Float, C: Cell>(inputs: &Inputs) -> Result<Vec<Tensor>> {
    let (batch, seq_len, input) = inputs.xs.dims3()?;
    let (hidden, output_size) = (inputs.hidden_size(), inputs.output_size());
    let sizes = Sizes { input, hidden, output: output_size, directions: inputs.directions.len() };
    let sequences = Sequences::new(batch, seq_len, inputs.lengths);
    let mut tensors = vec![inputs.xs];
    let slots: Vec<_> = inputs.directions.iter().map(|direction| Slots::fill(direction, &mut tensors)).collect();
    let Outcome { out, traces, states } = with_all_values(&tensors, |values| {
        let directions: Vec<_> = slots.iter().map(|slots| slots.direction(values)).collect();
        Ok(forward::<T, C>(&sequences, sizes, values[0], &directions))
    })?;
    let mut outputs = vec![output(out, (batch, seq_len, sizes.directions * output_size))];
    for state in &states {
        outputs.push(output(sequences.by_sample(&state.hidden, output_size), (batch, output_size)));
        if C::CELL > 0 {
            outputs.push(output(sequences.by_sample(&state.cell, sizes.hidden), (batch, sizes.hidden)));
        }
    }
    record(Recurrence::<T, C> { sequences, sizes, slots, traces, cell: PhantomData }, &tensors, outputs)
}

/// Where the tensors of one direction lie among the inputs of the operation.
struct Slots {
    reverse: bool,
    weight_ih: usize,
    weight_hh: usize,
    bias: Option<[usize; 2]>,
    weight_hr: Option<usize>,
    h0: Option<usize>,
    c0: Option<usize>,
}

impl Slots {
    fn fill<'a>(direction: &super::Direction<'a>, tensors: &mut Vec<&'a Tensor>) -> Self {
        let mut add = |tensor| {
            tensors.push(tensor);
            tensors.len() - 1
        };
        Self {
            reverse: direction.reverse,
            weight_ih: add(direction.weights.weight_ih),
            weight_hh: add(direction.weights.weight_hh),
            bias: direction.weights.bias.map(|(ih, hh)| [ih, hh].map(&mut add)),
            weight_hr: direction.weights.weight_hr.map(&mut add),
            h0: direction.h0.map(&mut add),
            c0: direction.c0.map(&mut add),
        }
    }

    fn direction<'a, T>(&self, values: &[&'a [T]]) -> Direction<'a, T> {
        Direction {
            reverse: self.reverse,
            weight_ih: values[self.weight_ih],
            weight_hh: values[self.weight_hh],
            bias: self.bias.map(|bias| bias.map(|i| values[i])),
            weight_hr: self.weight_hr.map(|i| values[i]),
            h0: self.h0.map(|i| values[i]),
            c0: self.c0.map(|i| values[i]),
        }
    }

    fn wanted(&self, wanted: &[bool]) -> Wanted {
        Wanted {
            weight_ih: wanted[self.weight_ih],
            weight_hh: wanted[self.weight_hh],
            bias: self.bias.is_some_and(|bias| bias.iter().any(|&i| wanted[i])),
            weight_hr: self.weight_hr.is_some_and(|i| wanted[i]),
            states: self.h0.into_iter().chain(self.c0).any(|i| wanted[i]),
        }
    }
}

struct Recurrence<T, C> {
    sequences: Sequences,
    sizes: Sizes,
    slots: Vec<Slots>,
    traces: Vec<Trace<T>>,
    cell: PhantomData<C>,
}

impl<T: Float, C: Cell> Function for Recurrence<T, C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        out: &Tensor,
        grads: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let d_out = &grads[0].clone().map_or_else(|| out.zeros_like(), Ok)?;
        let mut d_states =
            grads[1..].chunks(1 + C::CELL).map(|grads| self.d_states(grads)).collect::<Result<Vec<_>>>()?;
        let tensors: Vec<_> = inputs.iter().chain([out, d_out]).collect();
        let (d_xs, gradients) = with_all_values(&tensors, |values| {
            let [out, d_out] = [values[inputs.len()], values[inputs.len() + 1]];
            let pass = Pass { sequences: &self.sequences, sizes: self.sizes, xs: values[0], out, d_out };
            let blocks = self.sequences.blocks.len();
            let directions = self.slots.iter().zip(d_states.drain(..)).enumerate();
            let directions = directions.map(|(i, (slots, d_states))| Backward {
                direction: slots.direction(values),
                traces: &self.traces[i * blocks..(i + 1) * blocks],
                d_states,
                wanted: slots.wanted(wanted),
            });
            Ok(pass.backward::<C>(wanted[0], directions.collect()))
        })?;
        let mut results: Vec<Option<Vec<T>>> = vec![None; inputs.len()];
        results[0] = d_xs;
        for (slots, gradients) in self.slots.iter().zip(gradients) {
            self.hand_out(slots, gradients, &mut results);
        }
        let wanted = results.into_iter().zip(inputs).zip(wanted);
        wanted
            .map(|((data, input), &wanted)| data.filter(|_| wanted).map(|data| tensor(data, input.shape())).transpose())
            .collect()
    }
}

impl<T: Float, C: Cell> Recurrence<T, C> {
    /// The gradients of one direction's final states, zeros where nothing depends on them.
    fn d_states(&self, grads: &[Option<Tensor>]) -> Result<States<T>> {
        let in_order = |grad: Option<&Tensor>, width: usize| {
            let values = grad.map(|grad| grad.flatten_all()?.to_vec1::<T>()).transpose()?;
            Ok::<_, candle_core::Error>(self.sequences.in_order(values.as_deref(), width))
        };
        let [hidden, cell] = [0, 1].map(|i| grads.get(i).and_then(Option::as_ref));
        Ok(States { hidden: in_order(hidden, self.sizes.output)?, cell: in_order(cell, C::CELL * self.sizes.hidden)? })
    }

    /// Puts the gradients of one direction in the inputs' places.
    fn hand_out(&self, slots: &Slots, gradients: Gradients<T>, results: &mut [Option<Vec<T>>]) {
        results[slots.weight_ih] = Some(gradients.weight_ih);
        results[slots.weight_hh] = Some(gradients.weight_hh);
        let by_sample = |states: &[T], width: usize| Some(self.sequences.by_sample(states, width));
        for (place, grad) in slots.bias.into_iter().flatten().zip(gradients.bias) {
            results[place] = Some(grad);
        }
        if let Some(weight_hr) = slots.weight_hr {
            results[weight_hr] = Some(gradients.weight_hr);
        }
        if let Some(h0) = slots.h0 {
            results[h0] = by_sample(&gradients.states.hidden, self.sizes.output);
        }
        if let Some(c0) = slots.c0 {
            results[c0] = by_sample(&gradients.states.cell, self.sizes.hidden);
        }
    }
}
