//! The forward over all steps.
//!
//! One product projects the inputs of all steps; then each block of samples runs through its steps in a job of its own,
//! with no word to the others.

use rayon::prelude::*;

use super::cell::{Cell, Step};
use super::sequences::{Block, Sequences};
use crate::cpu::{Element, Float, Matrix, chunks, par_product, product, simd};

/// Multiply-adds of all steps below which jobs are not worth handing over.
const MIN_PARALLEL: usize = 1 << 19;
/// Rows that a transposition writes at once: a cache line of f32 of what it reads.
const TRANSPOSE_ROWS: usize = 16;

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

/// States (sample, width) of one direction, or their gradients, samples in the order of computation.
pub(super) struct States<T> {
    pub hidden: Vec<T>,
    pub cell: Vec<T>,
}

/// The hidden states of all steps (batch, seq_len, directions · hidden), what the backward needs, the final states.
pub(super) fn forward<T: Float, C: Cell>(
    sequences: &Sequences,
    sizes: Sizes,
    xs: &[T],
    directions: &[Direction<T>],
) -> (Vec<T>, Vec<Trace<T>>, Vec<States<T>>) {
    let (hidden, width) = (sizes.hidden, C::GATES * sizes.hidden);
    let xs = sequences.pack(xs, sizes.input);
    let mut out = vec![T::zero(); sequences.batch() * sequences.seq_len * directions.len() * hidden];
    let mut out_rows: Vec<_> = out.chunks_mut(hidden).map(Some).collect();
    let no_bias = vec![T::zero(); width];
    let (mut traces, mut states) = (Vec::new(), Vec::new());
    for direction in directions {
        let mut gates = vec![T::zero(); sequences.num_rows * width];
        let weight = Matrix::rows(direction.weight_ih, sizes.input).transposed();
        let size = (sequences.num_rows, sizes.input, width);
        par_product(size, &mut gates, width, false, Matrix::rows(&xs, sizes.input), weight);
        traces.push(Trace { gates, saved: vec![T::zero(); sequences.num_rows * C::SAVED * hidden] });
        states.push(States {
            hidden: sequences.in_order(direction.h0, hidden),
            cell: sequences.in_order(direction.c0, C::CELL * hidden),
        });
    }
    T::with_scratch(directions.len() * hidden * width, |weights| {
        let mut jobs = Vec::new();
        let each = directions.iter().zip(weights.chunks_mut(hidden * width)).zip(traces.iter_mut().zip(&mut states));
        for (index, ((direction, weight), (trace, state))) in each.enumerate() {
            transpose(direction.weight_hh, hidden, weight);
            let (mut gates, mut saved) = (&mut trace.gates[..], &mut trace.saved[..]);
            let (mut hiddens, mut cells) = (&mut state.hidden[..], &mut state.cell[..]);
            for block in sequences.blocks() {
                let (rows, samples) = (block.rows().len(), block.samples().len());
                jobs.push(Job {
                    hidden_size: hidden,
                    reverse: direction.reverse,
                    weight,
                    bias: direction.bias.unwrap_or([&no_bias; 2]),
                    gates: take(&mut gates, rows * width),
                    saved: take(&mut saved, rows * C::SAVED * hidden),
                    hidden: take(&mut hiddens, samples * hidden),
                    cell: take(&mut cells, samples * C::CELL * hidden),
                    out: block.batch_rows().filter_map(|row| out_rows[row * sizes.directions + index].take()).collect(),
                    block,
                });
            }
        }
        run_all(jobs, sequences.num_rows * width * hidden, |job| job.run::<C>());
    });
    (out, traces, states)
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

/// `weight` of rows of `columns` elements, transposed: a small product against a transposed matrix takes several times
/// longer, and there is one for every step.
fn transpose<T: Element>(weight: &[T], columns: usize, out: &mut [T]) {
    let rows = weight.len() / columns;
    chunks(out, TRANSPOSE_ROWS * rows, |i, out| {
        for (row, weights) in weight.chunks_exact(columns).enumerate() {
            let weights = &weights[i * TRANSPOSE_ROWS..];
            out[row..].iter_mut().step_by(rows).zip(weights).for_each(|(out, &weight)| *out = weight);
        }
    });
}

/// The steps of one block of samples in one direction.
struct Job<'a, T> {
    hidden_size: usize,
    block: Block<'a>,
    reverse: bool,
    /// `weight_hh`, transposed.
    weight: &'a [T],
    bias: [&'a [T]; 2],
    gates: &'a mut [T],
    saved: &'a mut [T],
    hidden: &'a mut [T],
    cell: &'a mut [T],
    /// By packed row.
    out: Vec<&'a mut [T]>,
}

impl<T: Float> Job<'_, T> {
    fn run<C: Cell>(mut self) {
        let (hidden, width) = (self.hidden_size, C::GATES * self.hidden_size);
        T::with_scratch(self.block.samples().len() * width, |recurrent| {
            for step in 0..self.block.num_steps() {
                let size = (self.block.running(step), hidden, width);
                let (states, weight) = (Matrix::rows(self.hidden, hidden), Matrix::rows(self.weight, width));
                product(size, recurrent, width, false, states, weight);
                simd(|| self.step::<C>(step, recurrent));
            }
        });
    }

    #[inline(always)]
    fn step<C: Cell>(&mut self, step: usize, recurrent: &[T]) {
        let (hidden, width) = (self.hidden_size, C::GATES * self.hidden_size);
        for i in 0..self.block.running(step) {
            let row = self.block.place(i, step, self.reverse).row;
            let state = &mut self.hidden[i * hidden..][..hidden];
            C::forward(Step {
                gates: &mut self.gates[row * width..][..width],
                recurrent: &recurrent[i * width..][..width],
                bias: self.bias,
                hidden: state,
                cell: &mut self.cell[i * C::CELL * hidden..][..C::CELL * hidden],
                saved: &mut self.saved[row * C::SAVED * hidden..][..C::SAVED * hidden],
            });
            self.out[row].copy_from_slice(state);
        }
    }
}
