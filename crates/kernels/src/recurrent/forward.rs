//! The forward over all steps: each block of samples runs through its steps in a job of its own, with no word to the others.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::cell::{Cell, Step};
use super::sequences::{Block, Sequences, directed};
use crate::cpu::{Element, Float, Matrix, product, transpose_into};

/// Multiply-adds of all steps below which jobs are not worth handing over.
const MIN_PARALLEL: usize = 1 << 19;
/// Rows whose inputs are projected by one product: enough for full speed, few enough that they stay in the cache and that
/// `gemm` does not pack the weights for each.
const PROJECTED_ROWS: usize = 48;

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub input: usize,
    /// Of the gates and the cell state.
    pub hidden: usize,
    /// Of the hidden state: the hidden size, or that of its projection.
    pub output: usize,
    pub directions: usize,
}

/// What one direction reads.
pub(super) struct Direction<'a, T> {
    pub reverse: bool,
    pub weight_ih: &'a [T],
    pub weight_hh: &'a [T],
    pub bias: Option<[&'a [T]; 2]>,
    /// The projection.
    pub weight_hr: Option<&'a [T]>,
    pub h0: Option<&'a [T]>,
    pub c0: Option<&'a [T]>,
}

/// What one block in one direction leaves for its backward, in the order of its steps.
pub(super) struct Trace<T> {
    /// [`Step::sums`] after each step.
    pub values: Vec<T>,
    /// The cell state after each step.
    pub cells: Vec<T>,
    /// The hidden state after each step before its projection, if there is one.
    pub unprojected: Vec<T>,
}

/// States (sample, hidden) of one direction, or their gradients, samples in the order of computation.
pub(super) struct States<T> {
    pub hidden: Vec<T>,
    pub cell: Vec<T>,
}

/// What the forward gives.
pub(super) struct Outcome<T> {
    /// The hidden states of all steps (batch, seq_len, directions · output).
    pub out: Vec<T>,
    /// Of the first direction's blocks, then of the second's.
    pub traces: Vec<Trace<T>>,
    /// The final states.
    pub states: Vec<States<T>>,
}

pub(super) fn forward<T: Float, C: Cell>(
    sequences: &Sequences,
    sizes: Sizes,
    xs: &[T],
    directions: &[Direction<T>],
) -> Outcome<T> {
    let Sizes { input, hidden, output, .. } = sizes;
    let (num_rows, width) = (sequences.num_rows, C::GATES * hidden);
    let mut out = vec![T::zero(); sequences.batch() * sequences.seq_len * directions.len() * output];
    let mut out_rows: Vec<_> = out.chunks_mut(output).map(Some).collect();
    let no_bias = vec![T::zero(); width];
    let mut states: Vec<_> = directions.iter().map(|direction| direction.initial::<C>(sequences, sizes)).collect();
    let traces = T::with_scratch(
        num_rows * input + directions.len() * ((input + output) * width + output * hidden),
        |mut rest| {
            let packed = take(&mut rest, num_rows * input);
            sequences.pack(xs, input, packed);
            let mut jobs = Vec::new();
            for (index, (direction, states)) in directions.iter().zip(&mut states).enumerate() {
                let weight_ih = transposed(direction.weight_ih, input, num_rows, take(&mut rest, input * width));
                let weight_hh =
                    transposed(direction.weight_hh, output, sequences.batch(), take(&mut rest, output * width));
                let mut projection =
                    |weight| transposed(weight, hidden, sequences.batch(), take(&mut rest, output * hidden));
                let weight_hr = direction.weight_hr.map(&mut projection);
                let (mut xs, mut hiddens, mut cells) = (&*packed, &mut states.hidden[..], &mut states.cell[..]);
                for block in &sequences.blocks {
                    let (rows, samples) = (block.num_rows(), block.num_samples());
                    let row_of = |row: usize| out_rows[row * directions.len() + index].take();
                    jobs.push(Job {
                        sizes,
                        block,
                        reverse: direction.reverse,
                        xs: take_shared(&mut xs, rows * input),
                        weight_ih,
                        weight_hh,
                        bias: direction.bias.unwrap_or([&no_bias; 2]),
                        weight_hr,
                        unprojected: vec![T::zero(); if weight_hr.is_some() { samples * hidden } else { 0 }],
                        hidden: take(&mut hiddens, samples * output),
                        cell: take(&mut cells, samples * C::CELL * hidden),
                        out: block.batch_rows().filter_map(row_of).collect(),
                    });
                }
            }
            run_all(jobs, num_rows * width * hidden, |job| job.run::<C>())
        },
    );
    Outcome { out, traces, states }
}

impl<T: Element> Direction<'_, T> {
    /// The initial states.
    pub fn initial<C: Cell>(&self, sequences: &Sequences, sizes: Sizes) -> States<T> {
        let cell = sequences.in_order(self.c0, C::CELL * sizes.hidden);
        States { hidden: sequences.in_order(self.h0, sizes.output), cell }
    }
}

/// The results of all jobs, which run in parallel where `work`, in multiply-adds, pays for it.
pub(super) fn run_all<J: Send, R: Send>(jobs: Vec<J>, work: usize, run: impl Fn(J) -> R + Sync + Send) -> Vec<R> {
    if work < MIN_PARALLEL {
        jobs.into_iter().map(run).collect()
    } else {
        jobs.into_par_iter().with_max_len(1).map(run).collect()
    }
}

/// Cuts the first `len` elements off `rest`.
pub(super) fn take<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (first, after) = std::mem::take(rest).split_at_mut(len);
    *rest = after;
    first
}

/// Cuts the first `len` elements off `rest`.
pub(super) fn take_shared<'a, T>(rest: &mut &'a [T], len: usize) -> &'a [T] {
    let (first, after) = rest.split_at(len);
    *rest = after;
    first
}

/// `weight` of rows of `columns` elements, transposed, as the right side of products; by way of `out` unless no product has
/// more than one row.
fn transposed<'a, T: Element>(weight: &'a [T], columns: usize, rows: usize, out: &'a mut [T]) -> Matrix<'a, T> {
    if rows <= 1 {
        return Matrix::rows(weight, columns).transposed();
    }
    transpose_into(weight, columns, out);
    Matrix::rows(out, weight.len() / columns.max(1))
}

/// The steps of one block of samples in one direction.
struct Job<'a, T> {
    sizes: Sizes,
    block: &'a Block,
    reverse: bool,
    xs: &'a [T],
    weight_ih: Matrix<'a, T>,
    weight_hh: Matrix<'a, T>,
    bias: [&'a [T]; 2],
    weight_hr: Option<Matrix<'a, T>>,
    /// The hidden state before its projection, if there is one.
    unprojected: Vec<T>,
    hidden: &'a mut [T],
    cell: &'a mut [T],
    /// By row of the block.
    out: Vec<&'a mut [T]>,
}

impl<T: Float> Job<'_, T> {
    fn run<C: Cell>(mut self) -> Trace<T> {
        let Sizes { input, hidden, .. } = self.sizes;
        let (width, num_steps, num_rows) = (C::SUMS * hidden, self.block.num_steps(), self.block.num_rows());
        let mut values = Vec::with_capacity(num_rows * width);
        let mut cells = Vec::with_capacity(num_rows * C::CELL * hidden);
        let mut unprojected = Vec::with_capacity(if self.weight_hr.is_some() { num_rows * hidden } else { 0 });
        let at_once = (PROJECTED_ROWS / self.block.num_samples()).max(1);
        T::with_scratch(at_once * self.block.num_samples() * width, |sums| {
            for chunk in directed(0..num_steps.div_ceil(at_once), self.reverse) {
                let times = chunk * at_once..((chunk + 1) * at_once).min(num_steps);
                let rows = self.block.rows(times.clone());
                let xs = Matrix::rows(&self.xs[rows.start * input..], input);
                product((rows.len(), input, C::GATES * hidden), sums, width, false, xs, self.weight_ih);
                for time in directed(times, self.reverse) {
                    let now = self.block.rows(time..time + 1);
                    let sums = &mut sums[(now.start - rows.start) * width..(now.end - rows.start) * width];
                    self.add_recurrent::<C>(now.len(), sums);
                    Arch::new().dispatch(OneStep::<_, C> { job: &mut self, time, sums, cell: PhantomData });
                    if let Some(weight_hr) = self.weight_hr {
                        self.project(time, weight_hr);
                        unprojected.extend_from_slice(&self.unprojected[..now.len() * hidden]);
                    }
                    values.extend_from_slice(sums);
                    cells.extend_from_slice(&self.cell[..now.len() * C::CELL * hidden]);
                }
            }
        });
        Trace { values, cells, unprojected }
    }

    /// Adds what the hidden states contribute to the sums of the samples that are running.
    fn add_recurrent<C: Cell>(&self, running: usize, sums: &mut [T]) {
        let (Sizes { hidden, output, .. }, weight) = (self.sizes, self.weight_hh);
        for part in C::RECURRENT {
            let weight = Matrix { data: &weight.data[part.rows * hidden * weight.column_stride..], ..weight };
            let (sums, states) = (&mut sums[part.sums * hidden..], Matrix::rows(self.hidden, output));
            let size = (running, output, part.len * hidden);
            product(size, sums, C::SUMS * hidden, part.sums < C::GATES, states, weight);
        }
    }

    #[inline(always)]
    fn step<C: Cell>(&mut self, time: usize, sums: &mut [T]) {
        let (hidden, rows) = (self.sizes.hidden, self.block.rows(time..time + 1));
        for ((i, row), sums) in rows.enumerate().zip(sums.chunks_exact_mut(C::SUMS * hidden)) {
            let projected = self.weight_hr.is_some();
            let state = part_mut(if projected { &mut self.unprojected } else { self.hidden }, i, hidden);
            C::forward(Step { sums, bias: self.bias, hidden: state, cell: part_mut(self.cell, i, C::CELL * hidden) });
            if !projected {
                self.out[row].copy_from_slice(state);
            }
        }
    }

    /// The hidden states of the samples that are running, from what they are before the projection.
    fn project(&mut self, time: usize, weight_hr: Matrix<T>) {
        let (Sizes { hidden, output, .. }, rows) = (self.sizes, self.block.rows(time..time + 1));
        let unprojected = Matrix::rows(&self.unprojected, hidden);
        product((rows.len(), hidden, output), self.hidden, output, false, unprojected, weight_hr);
        for (row, state) in rows.zip(self.hidden.chunks_exact(output)) {
            self.out[row].copy_from_slice(state);
        }
    }
}

/// Row `row` of `width` elements.
#[inline(always)]
pub(super) fn part_mut<T>(rows: &mut [T], row: usize, width: usize) -> &mut [T] {
    &mut rows[row * width..][..width]
}

/// One step of a job, compiled for the best instruction set. A closure would not do: a long one is not inlined.
struct OneStep<'a, 'b, T, C> {
    job: &'a mut Job<'b, T>,
    time: usize,
    sums: &'a mut [T],
    cell: PhantomData<C>,
}

impl<T: Float, C: Cell> WithSimd for OneStep<'_, '_, T, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.job.step::<C>(self.time, self.sums);
    }
}
