//! The backward over all steps.
//!
//! Each block of samples runs backwards through its steps in a job of its own, which leaves the gradients of all gates;
//! those of the weights and of the inputs are then products over all steps at once.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::cell::{BackwardStep, Cell};
use super::forward::{Direction, Sizes, States, Trace, part_mut, run_all, take, take_shared};
use super::sequences::{Block, Sequences, directed};
use crate::cpu::{Float, Matrix, par_product, product, simd, sum_rows};

/// One direction, as its backward finds it.
pub(super) struct Backward<'a, T> {
    pub direction: Direction<'a, T>,
    /// By block.
    pub traces: &'a [Trace<T>],
    /// The gradients of the final states; in the end those of the initial ones.
    pub d_states: States<T>,
    pub wanted: Wanted,
}

/// Which gradients of a direction are wanted.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub weight_ih: bool,
    pub weight_hh: bool,
    pub bias: bool,
    pub weight_hr: bool,
    pub states: bool,
}

impl Wanted {
    fn any(self) -> bool {
        self.weight_ih || self.weight_hh || self.bias || self.weight_hr || self.states
    }
}

/// The gradients of one direction. What is not wanted is empty.
pub(super) struct Gradients<T> {
    pub weight_ih: Vec<T>,
    pub weight_hh: Vec<T>,
    pub bias: [Vec<T>; 2],
    pub weight_hr: Vec<T>,
    /// Of the initial states.
    pub states: States<T>,
}

/// What all directions share.
pub(super) struct Pass<'a, T> {
    pub sequences: &'a Sequences,
    pub sizes: Sizes,
    /// The forward's input and output.
    pub xs: &'a [T],
    pub out: &'a [T],
    /// The gradient of the output.
    pub d_out: &'a [T],
}

/// What the steps of one direction leave, by packed row.
struct Steps<'a, T> {
    /// The gradients of the sums.
    d_sums: &'a mut [T],
    /// The hidden state before the step.
    before: &'a mut [T],
    /// The gradients of the projected hidden states, if they are projected; block by block, in the order of steps.
    d_projected: &'a mut [T],
}

impl<T: Float> Pass<'_, T> {
    /// The gradients of the inputs, if they are wanted, and of every direction.
    pub fn backward<C: Cell>(
        &self,
        xs_wanted: bool,
        mut directions: Vec<Backward<T>>,
    ) -> (Option<Vec<T>>, Vec<Gradients<T>>) {
        let Sizes { input, hidden, output, .. } = self.sizes;
        let num_rows = self.sequences.num_rows;
        let (d_sums, before) = (num_rows * C::SUMS * hidden, num_rows * output);
        let d_projected = if directions.iter().any(|of| of.direction.weight_hr.is_some()) { before } else { 0 };
        T::with_scratch(directions.len() * (d_sums + before + d_projected) + num_rows * input, |mut rest| {
            let parts = |_: &Backward<T>| Steps {
                d_sums: take(&mut rest, d_sums),
                before: take(&mut rest, before),
                d_projected: take(&mut rest, d_projected),
            };
            let mut steps: Vec<_> = directions.iter().map(parts).collect();
            self.run::<C>(xs_wanted, &mut directions, &mut steps);
            let packed = rest;
            let d_xs = xs_wanted.then(|| {
                let inputs = directions.iter().zip(&steps).enumerate();
                inputs.for_each(|(i, (of, steps))| steps.add_to_inputs::<C>(&of.direction, self.sizes, i > 0, packed));
                self.sequences.unpack(&packed[..num_rows * input], input)
            });
            if directions.iter().any(|of| of.wanted.weight_ih) {
                self.sequences.pack(self.xs, input, &mut packed[..num_rows * input]);
            }
            let each = directions.into_iter().zip(steps);
            let gradients = each.map(|(of, steps)| steps.gradients::<C>(self, packed, of)).collect();
            (d_xs, gradients)
        })
    }

    /// Runs all steps of the directions of which something is wanted.
    fn run<C: Cell>(&self, xs_wanted: bool, directions: &mut [Backward<T>], steps: &mut [Steps<T>]) {
        let (sequences, Sizes { hidden, output, .. }) = (self.sequences, self.sizes);
        let initial: Vec<_> = directions.iter().map(|of| of.direction.initial::<C>(sequences, self.sizes)).collect();
        let mut jobs = Vec::new();
        for (index, ((of, steps), initial)) in directions.iter_mut().zip(steps).zip(&initial).enumerate() {
            if !xs_wanted && !of.wanted.any() {
                continue;
            }
            let (mut h0, mut c0) = (&initial.hidden[..], &initial.cell[..]);
            let (mut d_sums, mut before) = (&mut *steps.d_sums, &mut *steps.before);
            let mut d_projected = &mut *steps.d_projected;
            let (mut d_hidden, mut d_cell) = (&mut of.d_states.hidden[..], &mut of.d_states.cell[..]);
            for (block, trace) in sequences.blocks.iter().zip(of.traces) {
                let (rows, samples) = (block.num_rows(), block.num_samples());
                let projected = if of.direction.weight_hr.is_some() { 1 } else { 0 };
                jobs.push(Job {
                    pass: self,
                    index,
                    block,
                    reverse: of.direction.reverse,
                    weight: of.direction.weight_hh,
                    weight_hr: of.direction.weight_hr,
                    to_initial: of.wanted.states,
                    trace,
                    h0: take_shared(&mut h0, samples * output),
                    c0: take_shared(&mut c0, samples * C::CELL * hidden),
                    d_sums: take(&mut d_sums, rows * C::SUMS * hidden),
                    before: take(&mut before, rows * output),
                    d_projected: take(&mut d_projected, projected * rows * output),
                    d_unprojected: vec![T::zero(); projected * samples * hidden],
                    d_hidden: take(&mut d_hidden, samples * output),
                    d_cell: take(&mut d_cell, samples * C::CELL * hidden),
                });
            }
        }
        run_all(jobs, sequences.num_rows * C::GATES * hidden * hidden, |job| job.run::<C>());
    }

    /// The part of one direction of a row of `out` or of `d_out`.
    #[inline(always)]
    fn row<'a>(&self, rows: &'a [T], batch_row: usize, direction: usize) -> &'a [T] {
        part(rows, batch_row * self.sizes.directions + direction, self.sizes.output)
    }
}

/// Row `row` of `width` elements.
#[inline(always)]
fn part<T>(rows: &[T], row: usize, width: usize) -> &[T] {
    &rows[row * width..][..width]
}

/// The steps of one block of samples in one direction.
struct Job<'a, T> {
    pass: &'a Pass<'a, T>,
    /// Which of the directions.
    index: usize,
    block: &'a Block,
    reverse: bool,
    /// `weight_hh`.
    weight: &'a [T],
    weight_hr: Option<&'a [T]>,
    /// Whether the initial states' gradients are wanted.
    to_initial: bool,
    trace: &'a Trace<T>,
    h0: &'a [T],
    c0: &'a [T],
    d_sums: &'a mut [T],
    before: &'a mut [T],
    d_projected: &'a mut [T],
    /// The gradient of the hidden state before its projection, if there is one.
    d_unprojected: Vec<T>,
    d_hidden: &'a mut [T],
    d_cell: &'a mut [T],
}

impl<T: Float> Job<'_, T> {
    fn run<C: Cell>(mut self) {
        for time in directed(0..self.block.num_steps(), !self.reverse) {
            if let Some(weight_hr) = self.weight_hr {
                simd(
                    #[inline(always)]
                    || self.add_d_out(time),
                );
                self.back_through_projection(time, weight_hr);
            }
            Arch::new().dispatch(OneStep::<_, C> { job: &mut self, time, cell: PhantomData });
            self.step_back::<C>(time);
        }
    }

    /// Adds what the outputs of a step contribute to its hidden states' gradients.
    #[inline(always)]
    fn add_d_out(&mut self, time: usize) {
        let rows = self.block.rows(time..time + 1);
        for (i, d_hidden) in self.d_hidden.chunks_exact_mut(self.pass.sizes.output).enumerate().take(rows.len()) {
            let d_out = self.pass.row(self.pass.d_out, self.block.batch_row(time, i), self.index);
            d_hidden.iter_mut().zip(d_out).for_each(|(sum, &grad)| *sum += grad);
        }
    }

    /// The gradients of the hidden states before their projection, from those after it, which are kept.
    fn back_through_projection(&mut self, time: usize, weight_hr: &[T]) {
        let (Sizes { hidden, output, .. }, steps) = (self.pass.sizes, self.block.steps(time, self.reverse));
        let d_hidden = &self.d_hidden[..steps.len() * output];
        self.d_projected[steps.start * output..steps.end * output].copy_from_slice(d_hidden);
        let (d_hidden, weight) = (Matrix::rows(d_hidden, output), Matrix::rows(weight_hr, hidden));
        product((steps.len(), output, hidden), &mut self.d_unprojected, hidden, false, d_hidden, weight);
    }

    /// The gradients of the hidden states before the step, from those of its sums.
    fn step_back<C: Cell>(&mut self, time: usize) {
        let (Sizes { hidden, output, .. }, rows) = (self.pass.sizes, self.block.rows(time..time + 1));
        let first_step = if self.reverse { self.block.num_steps() - 1 } else { 0 };
        if time == first_step && !self.to_initial {
            return;
        }
        for (i, part) in C::RECURRENT.iter().enumerate() {
            let size = (rows.len(), part.len * hidden, output);
            let d_sums = Matrix::rows(&self.d_sums[(rows.start * C::SUMS + part.sums) * hidden..], C::SUMS * hidden);
            let weight = Matrix::rows(&self.weight[part.rows * hidden * output..], output);
            product(size, self.d_hidden, output, C::CARRIES || i > 0, d_sums, weight);
        }
    }

    /// The gradients of the sums of a step.
    #[inline(always)]
    fn step<C: Cell>(&mut self, time: usize) {
        let Sizes { hidden, output, .. } = self.pass.sizes;
        if self.weight_hr.is_none() {
            self.add_d_out(time);
        }
        let earlier = if self.reverse { Some(time + 1) } else { time.checked_sub(1) };
        let earlier_steps = earlier.map_or(0..0, |time| self.block.steps(time, self.reverse));
        let (rows, steps) = (self.block.rows(time..time + 1), self.block.steps(time, self.reverse));
        for (i, (row, step)) in rows.zip(steps).enumerate() {
            let earlier = earlier.filter(|_| i < earlier_steps.len());
            let before = match earlier {
                Some(time) => self.pass.row(self.pass.out, self.block.batch_row(time, i), self.index),
                None => part(self.h0, i, output),
            };
            part_mut(self.before, row, output).copy_from_slice(before);
            let previous = match earlier {
                _ if C::CELL == 0 => before,
                Some(_) => part(&self.trace.cells, earlier_steps.start + i, hidden),
                None => part(self.c0, i, hidden),
            };
            let d_hidden = if self.weight_hr.is_some() { &mut self.d_unprojected[..] } else { &mut *self.d_hidden };
            C::backward(BackwardStep {
                values: part(&self.trace.values, step, C::SUMS * hidden),
                cell: part(&self.trace.cells, step, C::CELL * hidden),
                previous,
                d_hidden: part_mut(d_hidden, i, hidden),
                d_cell: part_mut(self.d_cell, i, C::CELL * hidden),
                d_sums: part_mut(self.d_sums, row, C::SUMS * hidden),
            });
        }
    }
}

/// One step of a job, compiled for the best instruction set. A closure would not do: a long one is not inlined.
struct OneStep<'a, 'b, T, C> {
    job: &'a mut Job<'b, T>,
    time: usize,
    cell: PhantomData<C>,
}

impl<T: Float, C: Cell> WithSimd for OneStep<'_, '_, T, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.job.step::<C>(self.time);
    }
}

impl<T: Float> Steps<'_, T> {
    /// The gradients of the inputs, packed, written to `d_xs` or added to what is there.
    fn add_to_inputs<C: Cell>(&self, direction: &Direction<T>, sizes: Sizes, add: bool, d_xs: &mut [T]) {
        let Sizes { input, hidden, output, .. } = sizes;
        let size = (self.before.len() / output, C::GATES * hidden, input);
        let d_sums = Matrix::rows(self.d_sums, C::SUMS * hidden);
        par_product(size, d_xs, input, add, d_sums, Matrix::rows(direction.weight_ih, input));
    }

    /// The gradients of everything but the inputs, from those of all steps and from `xs`, packed.
    fn gradients<C: Cell>(self, pass: &Pass<T>, xs: &[T], of: Backward<T>) -> Gradients<T> {
        let (Sizes { input, hidden, output, .. }, num_rows) = (pass.sizes, pass.sequences.num_rows);
        let d_sums = |from: usize| {
            let data = &self.d_sums[(from * hidden).min(self.d_sums.len())..];
            Matrix::rows(data, C::SUMS * hidden).transposed()
        };
        let mut weight_ih = Vec::new();
        if of.wanted.weight_ih {
            weight_ih = vec![T::zero(); C::GATES * hidden * input];
            let size = (C::GATES * hidden, num_rows, input);
            par_product(size, &mut weight_ih, input, false, d_sums(0), Matrix::rows(xs, input));
        }
        let mut weight_hh = Vec::new();
        if of.wanted.weight_hh {
            weight_hh = vec![T::zero(); C::GATES * hidden * output];
            for part in C::RECURRENT {
                let (out, before) = (&mut weight_hh[part.rows * hidden * output..], Matrix::rows(self.before, output));
                par_product((part.len * hidden, num_rows, output), out, output, false, d_sums(part.sums), before);
            }
        }
        let bias = if of.wanted.bias { self.d_bias::<C>(num_rows, hidden) } else { [Vec::new(), Vec::new()] };
        let weight_hr = if of.wanted.weight_hr { self.d_projection(pass, of.traces) } else { Vec::new() };
        Gradients { weight_ih, weight_hh, bias, weight_hr, states: of.d_states }
    }

    fn d_projection(&self, pass: &Pass<T>, traces: &[Trace<T>]) -> Vec<T> {
        let (Sizes { hidden, output, .. }, mut total) = (pass.sizes, Vec::new());
        total.resize(output * hidden, T::zero());
        let mut d_projected = &*self.d_projected;
        for (block, trace) in pass.sequences.blocks.iter().zip(traces) {
            let d_block = Matrix::rows(take_shared(&mut d_projected, block.num_rows() * output), output).transposed();
            let size = (output, block.num_rows(), hidden);
            par_product(size, &mut total, hidden, true, d_block, Matrix::rows(&trace.unprojected, hidden));
        }
        total
    }

    fn d_bias<C: Cell>(&self, num_rows: usize, hidden: usize) -> [Vec<T>; 2] {
        let width = C::SUMS * hidden;
        let add = |row: usize, totals: &mut [T]| {
            let d_sums = part(self.d_sums, row, width);
            simd(
                #[inline(always)]
                || totals.iter_mut().zip(d_sums).for_each(|(total, &grad)| *total += grad),
            );
        };
        let totals = sum_rows(num_rows, width, width, add);
        let recurrent = C::RECURRENT.iter().map(|part| &totals[part.sums * hidden..][..part.len * hidden]);
        [totals[..C::GATES * hidden].to_vec(), recurrent.collect::<Vec<_>>().concat()]
    }
}
