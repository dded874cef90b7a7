//! The forward over all steps: each block of samples runs through its steps in a job of its own, with no word to the others.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::cell::{Cell, Step};
use super::sequences::{Block, Sequences, directed};
use crate::cpu::{Element, Float, Matrix, chunks, product};

/// Multiply-adds of all steps below which jobs are not worth handing over.
const MIN_PARALLEL: usize = 1 << 19;
/// Rows whose inputs are projected by one product: enough for full speed, few enough that they stay in the cache and that
/// `gemm` does not pack the weights for each.
const PROJECTED_ROWS: usize = 48;
/// Rows and columns of a matrix that are transposed together: a cache line of f32.
const TILE: usize = 16;
/// Columns that a job transposes: a few cache lines of each row, so that reading them is not a wait for each.
const BAND: usize = 64;

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub input: usize,
    pub hidden: usize,
    pub directions: usize,
}

/// What one direction reads.
pub(super) struct Direction<'a, T> {
    pub reverse: bool,
    pub weight_ih: &'a [T],
    pub weight_hh: &'a [T],
    pub bias: Option<[&'a [T]; 2]>,
    pub h0: Option<&'a [T]>,
    pub c0: Option<&'a [T]>,
}

/// What the forward of one direction keeps for its backward: [`Step::gates`] and [`Step::saved`] of every packed row.
pub(super) struct Trace<T> {
    pub gates: Vec<T>,
    pub saved: Vec<T>,
}

/// States (sample, hidden) of one direction, or their gradients, samples in the order of computation.
pub(super) struct States<T> {
    pub hidden: Vec<T>,
    pub cell: Vec<T>,
}

/// What the forward gives.
pub(super) struct Outcome<T> {
    /// The hidden states of all steps (batch, seq_len, directions · hidden).
    pub out: Vec<T>,
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
    let Sizes { input, hidden, .. } = sizes;
    let (num_rows, width) = (sequences.num_rows, C::GATES * hidden);
    let mut out = vec![T::zero(); sequences.batch() * sequences.seq_len * directions.len() * hidden];
    let mut out_rows: Vec<_> = out.chunks_mut(hidden).map(Some).collect();
    let no_bias = vec![T::zero(); width];
    let mut traces: Vec<_> = directions.iter().map(|_| Trace::new::<C>(num_rows, hidden)).collect();
    let mut states: Vec<_> = directions.iter().map(|direction| direction.initial::<C>(sequences, hidden)).collect();
    T::with_scratch(num_rows * input + directions.len() * (input + hidden) * width, |mut rest| {
        let packed = take(&mut rest, num_rows * input);
        sequences.pack(xs, input, packed);
        let mut jobs = Vec::new();
        for (index, (direction, (trace, states))) in
            directions.iter().zip(traces.iter_mut().zip(&mut states)).enumerate()
        {
            let weight_ih = transposed(direction.weight_ih, input, num_rows, take(&mut rest, input * width));
            let weight_hh = transposed(direction.weight_hh, hidden, sequences.batch(), take(&mut rest, hidden * width));
            let (mut xs, mut gates, mut saved) = (&*packed, &mut trace.gates[..], &mut trace.saved[..]);
            let (mut hiddens, mut cells) = (&mut states.hidden[..], &mut states.cell[..]);
            for block in &sequences.blocks {
                let (rows, samples) = (block.num_rows(), block.num_samples());
                let own;
                (own, xs) = xs.split_at(rows * input);
                let row_of = |row: usize| out_rows[row * directions.len() + index].take();
                jobs.push(Job {
                    sizes,
                    block,
                    reverse: direction.reverse,
                    xs: own,
                    weight_ih,
                    weight_hh,
                    bias: direction.bias.unwrap_or([&no_bias; 2]),
                    gates: take(&mut gates, rows * width),
                    saved: take(&mut saved, rows * C::SAVED * hidden),
                    hidden: take(&mut hiddens, samples * hidden),
                    cell: take(&mut cells, samples * C::CELL * hidden),
                    out: block.batch_rows().filter_map(row_of).collect(),
                });
            }
        }
        run_all(jobs, num_rows * width * hidden, |job| job.run::<C>());
    });
    Outcome { out, traces, states }
}

impl<T: Element> Trace<T> {
    fn new<C: Cell>(num_rows: usize, hidden: usize) -> Self {
        let rows = |width: usize| vec![T::zero(); num_rows * width * hidden];
        Self { gates: rows(C::GATES), saved: rows(C::SAVED) }
    }
}

impl<T: Element> Direction<'_, T> {
    /// The initial states.
    pub fn initial<C: Cell>(&self, sequences: &Sequences, hidden: usize) -> States<T> {
        let cell = sequences.in_order(self.c0, C::CELL * hidden);
        States { hidden: sequences.in_order(self.h0, hidden), cell }
    }
}

/// Runs all jobs, in parallel where `work`, in multiply-adds, pays for it.
pub(super) fn run_all<J: Send>(jobs: Vec<J>, work: usize, run: impl Fn(J) + Sync + Send) {
    if work < MIN_PARALLEL {
        jobs.into_iter().for_each(run);
    } else {
        jobs.into_par_iter().with_max_len(1).for_each(run);
    }
}

/// Cuts the first `len` elements off `rest`.
pub(super) fn take<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (first, after) = std::mem::take(rest).split_at_mut(len);
    *rest = after;
    first
}

/// `weight` of rows of `columns` elements, transposed, as the right side of products.
///
/// Against a matrix that lies transposed, a product of a few rows takes several times longer than against one that lies row
/// by row: the copy in `out` pays at once unless no product has more than one row.
fn transposed<'a, T: Element>(weight: &'a [T], columns: usize, rows: usize, out: &'a mut [T]) -> Matrix<'a, T> {
    if rows <= 1 {
        return Matrix::rows(weight, columns).transposed();
    }
    let width = weight.len() / columns.max(1);
    chunks(out, BAND * width, |band, out| {
        for first_row in (0..width).step_by(TILE) {
            let rows = first_row..(first_row + TILE).min(width);
            for (i, out) in out.chunks_mut(TILE * width).enumerate() {
                let first_column = band * BAND + i * TILE;
                for (column, out) in (first_column..).zip(out.chunks_exact_mut(width)) {
                    let weights = weight[rows.start * columns + column..].iter().step_by(columns);
                    out[rows.clone()].iter_mut().zip(weights).for_each(|(out, &weight)| *out = weight);
                }
            }
        }
    });
    Matrix::rows(out, width)
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
    gates: &'a mut [T],
    saved: &'a mut [T],
    hidden: &'a mut [T],
    cell: &'a mut [T],
    /// By row of the block.
    out: Vec<&'a mut [T]>,
}

impl<T: Float> Job<'_, T> {
    fn run<C: Cell>(mut self) {
        let Sizes { input, hidden, .. } = self.sizes;
        let (width, num_steps) = (C::SUMS * hidden, self.block.num_steps());
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
                }
            }
        });
    }

    /// Adds what the hidden states contribute to the sums of the samples that are running.
    fn add_recurrent<C: Cell>(&self, running: usize, sums: &mut [T]) {
        let (hidden, weight) = (self.sizes.hidden, self.weight_hh);
        for part in C::RECURRENT {
            let weight = Matrix { data: &weight.data[part.rows * hidden * weight.column_stride..], ..weight };
            let (sums, states) = (&mut sums[part.sums * hidden..], Matrix::rows(self.hidden, hidden));
            let size = (running, hidden, part.len * hidden);
            product(size, sums, C::SUMS * hidden, part.sums < C::GATES, states, weight);
        }
    }

    #[inline(always)]
    fn step<C: Cell>(&mut self, time: usize, sums: &[T]) {
        let (hidden, rows) = (self.sizes.hidden, self.block.rows(time..time + 1));
        for ((i, row), sums) in rows.enumerate().zip(sums.chunks_exact(C::SUMS * hidden)) {
            let state = part_mut(self.hidden, i, hidden);
            C::forward(Step {
                sums,
                bias: self.bias,
                gates: part_mut(self.gates, row, C::GATES * hidden),
                hidden: state,
                cell: part_mut(self.cell, i, C::CELL * hidden),
                saved: part_mut(self.saved, row, C::SAVED * hidden),
            });
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
    sums: &'a [T],
    cell: PhantomData<C>,
}

impl<T: Float, C: Cell> WithSimd for OneStep<'_, '_, T, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.job.step::<C>(self.time, self.sums);
    }
}
