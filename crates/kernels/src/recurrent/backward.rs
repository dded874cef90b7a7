//! The backward over all steps.
//!
//! Each block of samples runs backwards through its steps in a job of its own, which leaves the gradients of all gates;
//! those of the weights and of the inputs are then products over all steps at once.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::cell::{BackwardStep, Cell};
use super::forward::{Direction, Sizes, States, Trace, part_mut, run_all, take};
use super::sequences::{Block, Sequences, directed};
use crate::cpu::{Float, Matrix, par_product, product, simd, sum_rows};

/// One direction, as its backward finds it.
pub(super) struct Backward<'a, T> {
    pub direction: Direction<'a, T>,
    pub trace: &'a Trace<T>,
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
    pub states: bool,
}

impl Wanted {
    fn any(self) -> bool {
        self.weight_ih || self.weight_hh || self.bias || self.states
    }
}

/// The gradients of one direction. What is not wanted is empty.
pub(super) struct Gradients<T> {
    pub weight_ih: Vec<T>,
    pub weight_hh: Vec<T>,
    pub bias: [Vec<T>; 2],
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
}

impl<T: Float> Pass<'_, T> {
    /// The gradients of the inputs, if they are wanted, and of every direction.
    pub fn backward<C: Cell>(
        &self,
        xs_wanted: bool,
        mut directions: Vec<Backward<T>>,
    ) -> (Option<Vec<T>>, Vec<Gradients<T>>) {
        let Sizes { input, hidden, .. } = self.sizes;
        let num_rows = self.sequences.num_rows;
        let (d_sums, before) = (num_rows * C::SUMS * hidden, num_rows * hidden);
        T::with_scratch(directions.len() * (d_sums + before) + num_rows * input, |mut rest| {
            let parts = |_: &Backward<T>| Steps { d_sums: take(&mut rest, d_sums), before: take(&mut rest, before) };
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
            let gradients = each.map(|(of, steps)| steps.gradients::<C>(num_rows, self.sizes, packed, of)).collect();
            (d_xs, gradients)
        })
    }

    /// Runs all steps of the directions of which something is wanted.
    fn run<C: Cell>(&self, xs_wanted: bool, directions: &mut [Backward<T>], steps: &mut [Steps<T>]) {
        let (sequences, hidden) = (self.sequences, self.sizes.hidden);
        let initial: Vec<_> = directions.iter().map(|of| of.direction.initial::<C>(sequences, hidden)).collect();
        let mut jobs = Vec::new();
        for (index, ((of, steps), initial)) in directions.iter_mut().zip(steps).zip(&initial).enumerate() {
            if !xs_wanted && !of.wanted.any() {
                continue;
            }
            let (mut gates, mut saved) = (&of.trace.gates[..], &of.trace.saved[..]);
            let (mut h0, mut c0) = (&initial.hidden[..], &initial.cell[..]);
            let (mut d_sums, mut before) = (&mut *steps.d_sums, &mut *steps.before);
            let (mut d_hidden, mut d_cell) = (&mut of.d_states.hidden[..], &mut of.d_states.cell[..]);
            for block in &sequences.blocks {
                let (rows, samples) = (block.num_rows(), block.num_samples());
                jobs.push(Job {
                    pass: self,
                    index,
                    block,
                    reverse: of.direction.reverse,
                    weight: of.direction.weight_hh,
                    to_initial: of.wanted.states,
                    gates: take_shared(&mut gates, rows * C::GATES * hidden),
                    saved: take_shared(&mut saved, rows * C::SAVED * hidden),
                    h0: take_shared(&mut h0, samples * hidden),
                    c0: take_shared(&mut c0, samples * C::CELL * hidden),
                    d_sums: take(&mut d_sums, rows * C::SUMS * hidden),
                    before: take(&mut before, rows * hidden),
                    d_hidden: take(&mut d_hidden, samples * hidden),
                    d_cell: take(&mut d_cell, samples * C::CELL * hidden),
                });
            }
        }
        run_all(jobs, sequences.num_rows * C::GATES * hidden * hidden, |job| job.run::<C>());
    }

    /// The part of one direction of a row of `out` or of `d_out`.
    #[inline(always)]
    fn row<'a>(&self, rows: &'a [T], batch_row: usize, direction: usize) -> &'a [T] {
        part(rows, batch_row * self.sizes.directions + direction, self.sizes.hidden)
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
    /// Whether the initial states' gradients are wanted.
    to_initial: bool,
    gates: &'a [T],
    saved: &'a [T],
    h0: &'a [T],
    c0: &'a [T],
    d_sums: &'a mut [T],
    before: &'a mut [T],
    d_hidden: &'a mut [T],
    d_cell: &'a mut [T],
}

impl<T: Float> Job<'_, T> {
    fn run<C: Cell>(mut self) {
        for time in directed(0..self.block.num_steps(), !self.reverse) {
            Arch::new().dispatch(OneStep::<_, C> { job: &mut self, time, cell: PhantomData });
            self.to_previous::<C>(time);
        }
    }

    /// The gradients of the hidden states before the step, from those of its sums.
    fn to_previous<C: Cell>(&mut self, time: usize) {
        let (hidden, rows) = (self.pass.sizes.hidden, self.block.rows(time..time + 1));
        let first_step = if self.reverse { self.block.num_steps() - 1 } else { 0 };
        if time == first_step && !self.to_initial {
            return;
        }
        for (i, part) in C::RECURRENT.iter().enumerate() {
            let size = (rows.len(), part.len * hidden, hidden);
            let d_sums = Matrix::rows(&self.d_sums[(rows.start * C::SUMS + part.sums) * hidden..], C::SUMS * hidden);
            let weight = Matrix::rows(&self.weight[part.rows * hidden * hidden..], hidden);
            product(size, self.d_hidden, hidden, C::CARRIES || i > 0, d_sums, weight);
        }
    }

    /// The gradients of the sums of a step.
    #[inline(always)]
    fn step<C: Cell>(&mut self, time: usize) {
        let hidden = self.pass.sizes.hidden;
        for (i, row) in self.block.rows(time..time + 1).enumerate() {
            let d_hidden = part_mut(self.d_hidden, i, hidden);
            let d_out = self.pass.row(self.pass.d_out, self.block.batch_row(time, i), self.index);
            d_hidden.iter_mut().zip(d_out).for_each(|(sum, &grad)| *sum += grad);

            let earlier = if self.reverse { Some(time + 1) } else { time.checked_sub(1) };
            let earlier = earlier.and_then(|time| Some((self.block.row(time, i)?, self.block.batch_row(time, i))));
            let before = match earlier {
                Some((_, batch_row)) => self.pass.row(self.pass.out, batch_row, self.index),
                None => part(self.h0, i, hidden),
            };
            part_mut(self.before, row, hidden).copy_from_slice(before);
            let previous = match earlier {
                _ if C::CELL == 0 => before,
                Some((row, _)) => part(self.saved, row, hidden),
                None => part(self.c0, i, hidden),
            };
            C::backward(BackwardStep {
                gates: part(self.gates, row, C::GATES * hidden),
                saved: part(self.saved, row, C::SAVED * hidden),
                previous,
                d_hidden,
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
        let Sizes { input, hidden, .. } = sizes;
        let size = (self.before.len() / hidden, C::GATES * hidden, input);
        let d_sums = Matrix::rows(self.d_sums, C::SUMS * hidden);
        par_product(size, d_xs, input, add, d_sums, Matrix::rows(direction.weight_ih, input));
    }

    /// The gradients of everything but the inputs, from those of all steps and from `xs`, packed.
    fn gradients<C: Cell>(self, num_rows: usize, sizes: Sizes, xs: &[T], of: Backward<T>) -> Gradients<T> {
        let Sizes { input, hidden, .. } = sizes;
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
            weight_hh = vec![T::zero(); C::GATES * hidden * hidden];
            for part in C::RECURRENT {
                let (out, before) = (&mut weight_hh[part.rows * hidden * hidden..], Matrix::rows(self.before, hidden));
                par_product((part.len * hidden, num_rows, hidden), out, hidden, false, d_sums(part.sums), before);
            }
        }
        let bias = if of.wanted.bias { self.d_bias::<C>(num_rows, hidden) } else { [Vec::new(), Vec::new()] };
        Gradients { weight_ih, weight_hh, bias, states: of.d_states }
    }

    fn d_bias<C: Cell>(&self, num_rows: usize, hidden: usize) -> [Vec<T>; 2] {
        let width = C::SUMS * hidden;
        let add = |row: usize, totals: &mut [T]| {
            let d_sums = part(self.d_sums, row, width);
            simd(|| totals.iter_mut().zip(d_sums).for_each(|(total, &grad)| *total += grad));
        };
        let totals = sum_rows(num_rows, width, width, add);
        let recurrent = C::RECURRENT.iter().map(|part| &totals[part.sums * hidden..][..part.len * hidden]);
        [totals[..C::GATES * hidden].to_vec(), recurrent.collect::<Vec<_>>().concat()]
    }
}

/// Cuts the first `len` elements off `rest`.
fn take_shared<'a, T>(rest: &mut &'a [T], len: usize) -> &'a [T] {
    let (first, after) = rest.split_at(len);
    *rest = after;
    first
}
