//! The backward over all steps.
//!
//! Each block of samples runs backwards through its steps in a job of its own, which leaves the gradients of all gates;
//! those of the weights and of the inputs are then products over all steps at once.

use std::ops::Range;

use super::cell::{BackwardStep, Cell};
use super::forward::{Direction, Sizes, States, Trace, run_all, take};
use super::sequences::{Block, Sequences};
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
    /// The gradients that [`Cell::backward`] gives.
    grads: &'a mut [T],
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
        let (sizes, rows) = (self.sizes, self.sequences.num_rows);
        let xs = self.sequences.pack(self.xs, sizes.input);
        let mut d_xs = xs_wanted.then(|| vec![T::zero(); xs.len()]);
        let (grads, before) = (rows * C::GRADS * sizes.hidden, rows * sizes.hidden);
        let gradients = T::with_scratch(directions.len() * (grads + before), |mut rest| {
            let steps =
                directions.iter().map(|_| Steps { grads: take(&mut rest, grads), before: take(&mut rest, before) });
            let mut steps: Vec<_> = steps.collect();
            self.run::<C>(xs_wanted, &mut directions, &mut steps);
            for (i, (of, steps)) in directions.iter().zip(&steps).enumerate() {
                if let Some(d_xs) = &mut d_xs {
                    let (width, grads) = (C::GATES * sizes.hidden, Matrix::rows(steps.grads, C::GRADS * sizes.hidden));
                    let weight = Matrix::rows(of.direction.weight_ih, sizes.input);
                    par_product((rows, width, sizes.input), d_xs, sizes.input, i > 0, grads, weight);
                }
            }
            let each = directions.into_iter().zip(steps);
            each.map(|(of, steps)| steps.gradients::<C>(rows, sizes, &xs, of)).collect()
        });
        (d_xs.map(|d_xs| self.sequences.unpack(d_xs, sizes.input)), gradients)
    }

    /// Runs all steps of the directions of which something is wanted.
    fn run<C: Cell>(&self, xs_wanted: bool, directions: &mut [Backward<T>], steps: &mut [Steps<T>]) {
        let (sequences, hidden) = (self.sequences, self.sizes.hidden);
        let in_order = |of: &Backward<T>| States {
            hidden: sequences.in_order(of.direction.h0, hidden),
            cell: sequences.in_order(of.direction.c0, C::CELL * hidden),
        };
        let initial: Vec<_> = directions.iter().map(in_order).collect();
        let mut jobs = Vec::new();
        for (index, ((of, steps), initial)) in directions.iter_mut().zip(steps).zip(&initial).enumerate() {
            if !xs_wanted && !of.wanted.any() {
                continue;
            }
            let (mut grads, mut before) = (&mut *steps.grads, &mut *steps.before);
            let (mut d_hidden, mut d_cell) = (&mut of.d_states.hidden[..], &mut of.d_states.cell[..]);
            for block in sequences.blocks() {
                let (rows, samples) = (block.rows(), block.samples());
                jobs.push(Job {
                    pass: self,
                    index,
                    reverse: of.direction.reverse,
                    weight: of.direction.weight_hh,
                    to_initial: of.wanted.states,
                    gates: part(&of.trace.gates, &rows, C::GATES * hidden),
                    saved: part(&of.trace.saved, &rows, C::SAVED * hidden),
                    h0: part(&initial.hidden, &samples, hidden),
                    c0: part(&initial.cell, &samples, C::CELL * hidden),
                    grads: take(&mut grads, rows.len() * C::GRADS * hidden),
                    before: take(&mut before, rows.len() * hidden),
                    d_hidden: take(&mut d_hidden, samples.len() * hidden),
                    d_cell: take(&mut d_cell, samples.len() * C::CELL * hidden),
                    block,
                });
            }
        }
        run_all(jobs, sequences.num_rows * C::GATES * hidden * hidden, |job| job.run::<C>());
    }
}

/// These rows of `width` elements.
fn part<'a, T>(rows: &'a [T], range: &Range<usize>, width: usize) -> &'a [T] {
    &rows[range.start * width..range.end * width]
}

/// The steps of one block of samples in one direction.
struct Job<'a, T> {
    pass: &'a Pass<'a, T>,
    /// Which of the directions.
    index: usize,
    block: Block<'a>,
    reverse: bool,
    /// `weight_hh`.
    weight: &'a [T],
    /// Whether the initial states' gradients are wanted.
    to_initial: bool,
    gates: &'a [T],
    saved: &'a [T],
    h0: &'a [T],
    c0: &'a [T],
    grads: &'a mut [T],
    before: &'a mut [T],
    d_hidden: &'a mut [T],
    d_cell: &'a mut [T],
}

impl<T: Float> Job<'_, T> {
    fn run<C: Cell>(mut self) {
        let hidden = self.pass.sizes.hidden;
        let width = C::GRADS * hidden;
        T::with_scratch(self.block.samples().len() * width, |grads| {
            for step in (0..self.block.num_steps()).rev() {
                simd(|| self.step::<C>(step, grads));
                if step == 0 && !self.to_initial {
                    break;
                }
                for (i, part) in C::RECURRENT.iter().enumerate() {
                    let size = (self.block.running(step), part.len * hidden, hidden);
                    let grads = Matrix::rows(&grads[part.grads * hidden..], width);
                    let weight = Matrix::rows(&self.weight[part.weight_rows * hidden * hidden..], hidden);
                    product(size, self.d_hidden, hidden, C::CARRIES || i > 0, grads, weight);
                }
            }
        });
    }

    /// The gradients of a step's gates, in `grads` for all samples of the block and in their place for all steps.
    #[inline(always)]
    fn step<C: Cell>(&mut self, step: usize, grads: &mut [T]) {
        let (hidden, width) = (self.pass.sizes.hidden, C::GRADS * self.pass.sizes.hidden);
        for (i, grads) in grads.chunks_exact_mut(width).take(self.block.running(step)).enumerate() {
            let place = self.block.place(i, step, self.reverse);
            let d_hidden = &mut self.d_hidden[i * hidden..][..hidden];
            let d_out = self.pass.row(self.pass.d_out, place.batch_row, self.index);
            d_hidden.iter_mut().zip(d_out).for_each(|(sum, &grad)| *sum += grad);

            let earlier = step.checked_sub(1).map(|step| self.block.place(i, step, self.reverse));
            let before = match earlier {
                Some(earlier) => self.pass.row(self.pass.out, earlier.batch_row, self.index),
                None => &self.h0[i * hidden..][..hidden],
            };
            self.before[place.row * hidden..][..hidden].copy_from_slice(before);
            let previous = match earlier {
                _ if C::CELL == 0 => before,
                Some(earlier) => &self.saved[earlier.row * hidden..][..hidden],
                None => &self.c0[i * hidden..][..hidden],
            };
            C::backward(BackwardStep {
                gates: &self.gates[place.row * C::GATES * hidden..][..C::GATES * hidden],
                saved: &self.saved[place.row * C::SAVED * hidden..][..C::SAVED * hidden],
                previous,
                d_hidden,
                d_cell: &mut self.d_cell[i * C::CELL * hidden..][..C::CELL * hidden],
                grads,
            });
            self.grads[place.row * width..][..width].copy_from_slice(grads);
        }
    }
}

impl<T> Pass<'_, T> {
    /// The part of one direction of a row of `out` or of `d_out`.
    #[inline(always)]
    fn row<'a>(&self, rows: &'a [T], batch_row: usize, direction: usize) -> &'a [T] {
        &rows[(batch_row * self.sizes.directions + direction) * self.sizes.hidden..][..self.sizes.hidden]
    }
}

impl<T: Float> Steps<'_, T> {
    /// The gradients of everything but the inputs, from those of all steps.
    fn gradients<C: Cell>(self, rows: usize, sizes: Sizes, xs: &[T], of: Backward<T>) -> Gradients<T> {
        let (hidden, width) = (sizes.hidden, C::GRADS * sizes.hidden);
        let matrix = |columns: usize| Matrix::rows(&self.grads[(columns * hidden).min(self.grads.len())..], width);
        let mut weight_ih = Vec::new();
        if of.wanted.weight_ih {
            weight_ih = vec![T::zero(); C::GATES * hidden * sizes.input];
            let size = (C::GATES * hidden, rows, sizes.input);
            par_product(
                size,
                &mut weight_ih,
                sizes.input,
                false,
                matrix(0).transposed(),
                Matrix::rows(xs, sizes.input),
            );
        }
        let mut weight_hh = Vec::new();
        if of.wanted.weight_hh {
            weight_hh = vec![T::zero(); C::GATES * hidden * hidden];
            for part in C::RECURRENT {
                let out = &mut weight_hh[part.weight_rows * hidden * hidden..];
                let before = Matrix::rows(self.before, hidden);
                let grads = matrix(part.grads).transposed();
                par_product((part.len * hidden, rows, hidden), out, hidden, false, grads, before);
            }
        }
        let mut bias = [Vec::new(), Vec::new()];
        if of.wanted.bias {
            let add = |row: usize, sums: &mut [T]| {
                let grads = &self.grads[row * width..][..width];
                simd(|| sums.iter_mut().zip(grads).for_each(|(sum, &grad)| *sum += grad));
            };
            let sums = sum_rows(rows, width, width, add);
            let parts = C::RECURRENT.iter().map(|part| &sums[part.grads * hidden..][..part.len * hidden]);
            bias = [sums[..C::GATES * hidden].to_vec(), parts.collect::<Vec<_>>().concat()];
        }
        Gradients { weight_ih, weight_hh, bias, states: of.d_states }
    }
}
