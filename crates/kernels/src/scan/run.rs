//! The recurrences on the CPU.

use std::marker::PhantomData;
use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::Step;
use crate::Result;
use crate::cpu::{CHUNK, Float, Function, by_float, output, record, simd, tensor, with_all_values};

/// Features that one job carries through all steps: enough to fill vector registers many times over.
const BLOCK: usize = 128;

/// The states of all steps, as one operation.
pub(super) fn apply<S: Step>(x: &Tensor, y: &Tensor, h0: Option<&Tensor>) -> Result<Tensor> {
    let inputs: Vec<_> = [x, y].into_iter().chain(h0).collect();
    let states = by_float!(S::NAME, x.dtype(), T => with_all_values(&inputs, |values| {
        Ok(output(Sizes::of(x)?.forward::<T, S>(values), x.shape()))
    }))?;
    Ok(record(Recurrence(PhantomData::<S>), &inputs, vec![states])?.swap_remove(0))
}

struct Recurrence<S>(PhantomData<S>);

impl<S: Step> Function for Recurrence<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        states: &Tensor,
        grads: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let [Some(grad)] = grads else { candle_core::bail!("{}: backward without a gradient", S::NAME) };
        let tensors: Vec<_> = [states, grad].into_iter().chain(inputs).collect();
        by_float!(S::NAME, states.dtype(), T => with_all_values(&tensors, |values| {
            let gradients = Sizes::of(states)?.backward::<T, S>(values[0], values[1], &values[2..]);
            let parts = gradients.into_iter().zip(inputs).zip(wanted);
            parts.map(|((data, input), &wanted)| wanted.then(|| tensor(data, input.shape())).transpose()).collect()
        }))
    }
}

/// Of the states: (batch, seq_len, features).
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    seq_len: usize,
    features: usize,
}

/// Some features of one sample.
struct Job {
    sample: usize,
    columns: Range<usize>,
}

/// A job's columns of every step of a result.
type Rows<'a, T> = Vec<&'a mut [T]>;

impl Sizes {
    fn of(states: &Tensor) -> Result<Self> {
        let (batch, seq_len, features) = states.dims3()?;
        Ok(Self { batch, seq_len, features })
    }

    fn jobs(self) -> Vec<Job> {
        let starts = move |sample| (0..self.features).step_by(BLOCK).map(move |start| (sample, start));
        let job = |(sample, start)| Job { sample, columns: start..(start + BLOCK).min(self.features) };
        (0..self.batch).flat_map(starts).map(job).collect()
    }

    /// What each job writes of `out`: its columns of every step.
    fn split<T>(self, out: &mut [T]) -> Vec<Rows<'_, T>> {
        let blocks = self.features.div_ceil(BLOCK);
        let mut parts: Vec<_> = (0..self.batch * blocks).map(|_| Vec::with_capacity(self.seq_len)).collect();
        for (row, values) in out.chunks_mut(self.features.max(1)).enumerate() {
            let first = row / self.seq_len * blocks;
            values.chunks_mut(BLOCK).enumerate().for_each(|(block, part)| parts[first + block].push(part));
        }
        parts
    }

    /// The columns of a job at one step.
    #[inline(always)]
    fn at<'a, T>(self, values: &'a [T], job: &Job, step: usize) -> &'a [T] {
        &values[(job.sample * self.seq_len + step) * self.features..][job.columns.clone()]
    }

    /// The job's columns of `h0`, zeros where there is none.
    fn initial<T: Float>(self, h0: Option<&&[T]>, job: &Job) -> Vec<T> {
        match h0 {
            Some(h0) => h0[job.sample * self.features..][job.columns.clone()].to_vec(),
            None => vec![T::zero(); job.columns.len()],
        }
    }

    /// All states, from x, y and h0 if there is one.
    fn forward<T: Float, S: Step>(self, inputs: &[&[T]]) -> Vec<T> {
        let mut states = vec![T::zero(); inputs[0].len()];
        let small = states.len() <= 2 * CHUNK;
        let one = |(job, mut rows): (Job, Rows<'_, T>)| {
            let h0 = self.initial(inputs.get(2), &job);
            simd(
                #[inline(always)]
                || {
                    for step in 0..self.seq_len {
                        let (x, y) = (self.at(inputs[0], &job, step), self.at(inputs[1], &job, step));
                        let (done, rest) = rows.split_at_mut(step);
                        let before = done.last().map_or(&h0[..], |row| row);
                        for (((new, &x), &y), &h) in rest[0].iter_mut().zip(x).zip(y).zip(before) {
                            *new = S::forward(x, y, h);
                        }
                    }
                },
            );
        };
        each(self.jobs().into_iter().zip(self.split(&mut states)).collect(), small, one);
        states
    }

    /// The gradients of x, y and h0, from the states of all steps and their gradients.
    fn backward<T: Float, S: Step>(self, states: &[T], grads: &[T], inputs: &[&[T]]) -> Vec<Vec<T>> {
        let (mut d_x, mut d_y) = (vec![T::zero(); states.len()], vec![T::zero(); states.len()]);
        let one = |(job, (mut d_x, mut d_y)): (Job, (Rows<'_, T>, Rows<'_, T>))| {
            let h0 = self.initial(inputs.get(2), &job);
            // The gradient of the state before the steps done.
            let mut carry = vec![T::zero(); job.columns.len()];
            simd(
                #[inline(always)]
                || {
                    for step in (0..self.seq_len).rev() {
                        let (x, y) = (self.at(inputs[0], &job, step), self.at(inputs[1], &job, step));
                        let before = if step > 0 { self.at(states, &job, step - 1) } else { &h0[..] };
                        let values = x.iter().zip(y).zip(before).zip(self.at(grads, &job, step));
                        let outs = d_x[step].iter_mut().zip(d_y[step].iter_mut()).zip(&mut carry);
                        for (((d_x, d_y), carry), (((&x, &y), &h), &grad)) in outs.zip(values) {
                            [*d_x, *d_y, *carry] = S::backward(x, y, h, *carry + grad);
                        }
                    }
                },
            );
            carry
        };
        let small = states.len() <= 2 * CHUNK;
        let outs = self.split(&mut d_x).into_iter().zip(self.split(&mut d_y));
        let carries = each(self.jobs().into_iter().zip(outs).collect(), small, one);
        // Jobs come sample by sample, block by block: one after the other, their columns are the rows of h0's gradient.
        vec![d_x, d_y, carries.concat()]
    }
}

/// `run` of every job, in their order, in parallel unless they are `small`.
fn each<J: Send, R: Send>(jobs: Vec<J>, small: bool, run: impl Fn(J) -> R + Sync + Send) -> Vec<R> {
    if small { jobs.into_iter().map(run).collect() } else { jobs.into_par_iter().map(run).collect() }
}
