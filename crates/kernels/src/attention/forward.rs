//! The output, block by block with online softmax.

use std::ops::Range;

use rayon::prelude::*;

use super::engine::{LANES, Values, take};
use super::rules::Tile;
use super::view::{Strides, Target};
use crate::cpu::{Float, Matrix, product, simd};

/// The output (batch, q_len, num_heads, value_dim), and (batch, num_heads, 2, q_len): for every query the largest score
/// and one over the sum of 2^(score − largest), from which backward computes the probabilities again. Both are 0 for a
/// query that sees no key.
pub(super) fn forward<T: Float>(values: &Values<T>) -> (Vec<T>, Vec<T>) {
    let sizes = values.sizes;
    let mut out = vec![T::zero(); sizes.batch * sizes.q_len * sizes.heads * sizes.value_dim];
    let mut statistics = vec![T::zero(); sizes.batch * sizes.heads * 2 * sizes.q_len];
    let blocks = values.num_query_blocks();
    {
        let (out, statistics) = (Target::new(&mut out), Target::new(&mut statistics));
        let job = |i: usize| {
            let head = i / blocks % sizes.heads;
            let rows = Head { values, batch: i / blocks / sizes.heads, head, out: &out, statistics: &statistics };
            rows.queries(values.queries(i % blocks));
        };
        let work = values.blocks.queries.min(sizes.q_len) * sizes.kv_len * (sizes.head_dim + sizes.value_dim);
        let per_task = Values::<T>::jobs_per_task(work);
        (0..sizes.batch * sizes.heads * blocks).into_par_iter().with_min_len(per_task).for_each(job);
    }
    (out, statistics)
}

/// Elements of scratch that a job takes.
pub(super) fn scratch_len<T: Float>(values: &Values<T>) -> usize {
    let (width, sizes) = (values.width(), &values.sizes);
    (sizes.head_dim + values.depth() + 3) * width + width * sizes.value_dim
}

/// One head of one batch item.
struct Head<'a, T> {
    values: &'a Values<'a, T>,
    batch: usize,
    head: usize,
    out: &'a Target<T>,
    statistics: &'a Target<T>,
}

impl<T: Float> Head<'_, T> {
    /// The output and the statistics of a block of queries.
    fn queries(&self, queries: Range<usize>) {
        let keys = self.values.rules.keys_of(self.batch, &queries);
        if keys.is_empty() {
            return;
        }
        T::with_scratch(scratch_len(self.values), |mut scratch| {
            let (width, dim) = (self.values.width(), self.values.sizes.value_dim);
            let scaled = take(&mut scratch, self.values.sizes.head_dim * width);
            let mut state = Online {
                scores: take(&mut scratch, self.values.depth() * width),
                width,
                max: take(&mut scratch, width),
                sum: take(&mut scratch, width),
                shrink: take(&mut scratch, width),
            };
            state.max.fill(T::from_f64(f64::NEG_INFINITY));
            state.sum.fill(T::zero());
            let out = take(&mut scratch, queries.len() * dim);
            let mut tile = Tile { batch: self.batch, head: self.head, queries, keys: 0..0 };
            self.values.scaled_queries(&tile, scaled, width);
            for (i, block) in self.values.key_blocks(keys).enumerate() {
                tile.keys = block;
                self.add(&tile, scaled, &mut state, out, i == 0);
            }
            self.write(&tile.queries, &state, out);
        });
    }

    /// Adds the share of a tile's keys to the running output.
    fn add(&self, tile: &Tile, scaled: &[T], state: &mut Online<T>, out: &mut [T], first: bool) {
        let (values, dim, width) = (self.values, self.values.sizes.value_dim, state.width);
        values.scores(tile, scaled, state.scores, width);
        simd(
            #[inline(always)]
            || {
                state.add(tile.keys.len());
                if !first {
                    let rows = out.chunks_mut(dim.max(1)).zip(&*state.shrink);
                    rows.for_each(|(row, &shrink)| row.iter_mut().for_each(|x| *x *= shrink));
                }
            },
        );
        self.drop(tile, state);
        let v = values.v.matrix(tile.batch, values.kv_head(tile.head), tile.keys.start);
        let size = (tile.queries.len(), tile.keys.len(), dim);
        product(size, out, dim, !first, Matrix::rows(state.scores, width).transposed(), v);
    }

    /// Dropout of the probabilities; their sum is taken without it.
    fn drop(&self, tile: &Tile, state: &mut Online<T>) {
        let Some(dropout) = &self.values.rules.dropout else {
            return;
        };
        simd(
            #[inline(always)]
            || {
                for (row, key) in state.scores.chunks_mut(state.width).zip(tile.keys.clone()) {
                    let kept = self.values.rules.kept::<T>(dropout, tile.batch, tile.head, key);
                    let first = tile.queries.start as u32;
                    row.iter_mut().enumerate().for_each(|(i, p)| *p *= kept.factor(first + i as u32));
                }
            },
        );
    }

    #[allow(unsafe_code)]
    fn write(&self, queries: &Range<usize>, state: &Online<T>, out: &[T]) {
        let (sizes, dim) = (&self.values.sizes, self.values.sizes.value_dim);
        let strides = Strides::packed(sizes.q_len, sizes.heads * dim, dim);
        let start = (self.batch * sizes.heads + self.head) * 2 * sizes.q_len + queries.start;
        // SAFETY: `forward` borrows both slices until all jobs have ended; this job alone has this head's `queries`.
        let (max, inverse) = unsafe {
            (self.statistics.part(start, queries.len()), self.statistics.part(start + sizes.q_len, queries.len()))
        };
        for (i, query) in queries.clone().enumerate() {
            if state.sum[i] == T::zero() {
                continue; // Sees no key: everything stays 0.
            }
            max[i] = state.max[i];
            inverse[i] = T::one() / state.sum[i];
            // SAFETY: as above.
            let to = unsafe { self.out.part(strides.at(self.batch, self.head, query), dim) };
            simd(
                #[inline(always)]
                || to.iter_mut().zip(&out[i * dim..]).for_each(|(to, &x)| *to = x * inverse[i]),
            );
        }
    }
}

/// Softmax over keys that arrive in blocks, for the queries of a block.
///
/// Milakov and Gimelshein 2018, arXiv 1805.02867.
struct Online<'a, T> {
    /// (keys, width): scores, then 2^(score − max).
    scores: &'a mut [T],
    width: usize,
    /// The largest score so far.
    max: &'a mut [T],
    /// The sum of 2^(score − max) so far.
    sum: &'a mut [T],
    /// What the last block's new maxima made of everything before: 2^(old max − new max).
    shrink: &'a mut [T],
}

impl<T: Float> Online<'_, T> {
    /// Takes in the scores of `num_keys` more keys.
    #[inline(always)]
    fn add(&mut self, num_keys: usize) {
        let strips = self.width / LANES;
        let scores = &mut self.scores.as_chunks_mut::<LANES>().0[..num_keys * strips];
        let (max, sum) = (self.max.as_chunks_mut::<LANES>().0, self.sum.as_chunks_mut::<LANES>().0);
        let shrink = self.shrink.as_chunks_mut::<LANES>().0;
        for (strip, ((max, sum), shrink)) in max.iter_mut().zip(sum).zip(shrink).enumerate() {
            let mut largest = *max;
            for row in scores.iter().skip(strip).step_by(strips) {
                largest.iter_mut().zip(row).for_each(|(a, &b)| *a = if b > *a { b } else { *a });
            }
            // With nothing to see yet the largest is −∞; anything finite then makes 2^(−∞ − largest) 0.
            let base = largest.map(|m| if m > T::from_f64(f64::NEG_INFINITY) { m } else { T::zero() });
            for i in 0..LANES {
                shrink[i] = (max[i] - base[i]).exp2_normal();
            }
            let mut total = [T::zero(); LANES];
            for row in scores.iter_mut().skip(strip).step_by(strips) {
                for i in 0..LANES {
                    row[i] = (row[i] - base[i]).exp2_normal();
                    total[i] += row[i];
                }
            }
            for i in 0..LANES {
                sum[i] = sum[i] * shrink[i] + total[i];
            }
            *max = largest;
        }
    }
}
