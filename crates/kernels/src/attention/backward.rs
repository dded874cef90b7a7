//! The gradients of queries, keys and values, from probabilities computed again.
//!
//! With P the probabilities, G the gradient of the output O and D the sums over rows of G · O:
//! dV = Pᵀ G, dP = G Vᵀ, dS = P (dP − D), dQ = scale · dS K, dK = scale · dSᵀ Q.

use std::ops::Range;

use rayon::prelude::*;

use super::engine::{LANES, Values, take, transpose};
use super::rules::Tile;
use super::view::{Strides, Target, View};
use crate::cpu::{Float, Matrix, product, simd};

/// What forward left, and the gradient of its output.
pub(super) struct Results<'a, T> {
    /// (batch, q_len, num_heads, value_dim).
    pub output: View<'a, T>,
    pub grad: View<'a, T>,
    /// (batch, num_heads, 2, q_len), as `forward` returns them.
    pub statistics: &'a [T],
}

/// Where a gradient goes.
pub(super) struct Destination<'a, T> {
    pub target: &'a Target<T>,
    pub offset: usize,
    pub strides: Strides,
}

impl<T: Float> Destination<'_, T> {
    /// Writes `scale` times `rows` to the rows of a head from position `start` on.
    ///
    /// # Safety
    /// The target's slice is borrowed by the caller's loop, and no other thread writes these rows.
    #[allow(unsafe_code)]
    unsafe fn write(&self, batch: usize, head: usize, start: usize, rows: &[T], dim: usize, scale: T) {
        simd(
            #[inline(always)]
            || {
                for (i, row) in rows.chunks(dim.max(1)).enumerate() {
                    // SAFETY: the caller's promise.
                    let to = unsafe { self.target.part(self.offset + self.strides.at(batch, head, start + i), dim) };
                    to.iter_mut().zip(row).for_each(|(to, &x)| *to = x * scale);
                }
            },
        );
    }
}

/// A backward pass; the destinations, all 0 at first, are absent where nobody wants the gradient.
pub(super) struct Backward<'a, T> {
    pub values: Values<'a, T>,
    pub results: Results<'a, T>,
    pub dq: Option<Destination<'a, T>>,
    pub dk: Option<Destination<'a, T>>,
    pub dv: Option<Destination<'a, T>>,
}

/// What a job works on: some queries of some heads, which share a head of keys, against some of its keys.
struct Job {
    batch: usize,
    heads: Range<usize>,
    query_blocks: Range<usize>,
    keys: Range<usize>,
    /// Which gradients it computes.
    queries_wanted: bool,
    keys_wanted: bool,
}

impl<T: Float> Backward<'_, T> {
    /// Computes every wanted gradient.
    ///
    /// A job for every head of keys and values does with one look at the scores, and is right where there are jobs for
    /// all threads. Else two passes, the first in jobs by queries, the second by keys, compute the scores twice. Both
    /// make the same products and sums in the same order, so that their results have the same bits.
    pub fn run(&self, threads: usize) {
        let sizes = &self.values.sizes;
        let jobs: Vec<Job> = if sizes.batch * sizes.kv_heads >= threads || self.values.num_query_blocks() < 2 {
            self.heads().map(|(batch, heads)| self.job(batch, heads)).collect()
        } else {
            self.by_queries().chain(self.by_keys()).collect()
        };
        let work = jobs.first().map_or(0, |job| {
            let queries = job.query_blocks.len() * self.values.blocks.queries.min(sizes.q_len);
            5 * job.heads.len() * queries * job.keys.len() * sizes.head_dim
        });
        let per_task = Values::<T>::jobs_per_task(work);
        jobs.into_par_iter().with_min_len(per_task).for_each(|job| self.work(&job));
    }

    /// Batch items and the heads of queries that share a head of keys.
    fn heads(&self) -> impl Iterator<Item = (usize, Range<usize>)> + use<T> {
        let (group, kv_heads) = (self.values.sizes.group(), self.values.sizes.kv_heads);
        (0..self.values.sizes.batch * kv_heads).map(move |i| {
            let head = i % kv_heads * group;
            (i / kv_heads, head..head + group)
        })
    }

    fn job(&self, batch: usize, heads: Range<usize>) -> Job {
        Job {
            batch,
            heads,
            query_blocks: 0..self.values.num_query_blocks(),
            keys: 0..self.values.sizes.kv_len,
            queries_wanted: self.dq.is_some(),
            keys_wanted: self.dk.is_some() || self.dv.is_some(),
        }
    }

    fn by_queries(&self) -> impl Iterator<Item = Job> {
        let wanted = self.heads().filter(|_| self.dq.is_some());
        let heads = wanted.flat_map(|(batch, heads)| heads.map(move |head| (batch, head)));
        heads.flat_map(move |(batch, head)| {
            let job = move |i| Job { query_blocks: i..i + 1, keys_wanted: false, ..self.job(batch, head..head + 1) };
            (0..self.values.num_query_blocks()).map(job)
        })
    }

    fn by_keys(&self) -> impl Iterator<Item = Job> {
        let wanted = self.heads().filter(|_| self.dk.is_some() || self.dv.is_some());
        wanted.flat_map(move |(batch, heads)| {
            let blocks = self.values.key_blocks(0..self.values.sizes.kv_len);
            blocks.map(move |keys| Job { keys, queries_wanted: false, ..self.job(batch, heads.clone()) })
        })
    }
}

/// The scratch memory of a job.
struct Scratch<'a, T> {
    width: usize,
    /// (head_dim, width): the scaled queries of a block.
    queries: &'a mut [T],
    /// (value_dim, width): their output gradients.
    grads: &'a mut [T],
    /// By query: the statistics of forward, and D. For columns without a query all 0.
    max: &'a mut [T],
    inverse: &'a mut [T],
    delta: &'a mut [T],
    /// (keys, width): P, then dS.
    p: &'a mut [T],
    /// (keys, width): P after dropout, then dP.
    dp: &'a mut [T],
    /// (queries, head_dim), and for all keys of the job (keys, head_dim) and (keys, value_dim): sums so far.
    dq: &'a mut [T],
    dk: &'a mut [T],
    dv: &'a mut [T],
}

/// Elements of scratch for a job that looks at `keys` keys.
pub(super) fn scratch_len<T: Float>(values: &Values<T>, keys: usize) -> usize {
    let (width, dims) = (values.width(), values.sizes.head_dim + values.sizes.value_dim);
    (dims + 3 + 2 * values.depth() + values.sizes.head_dim) * width + keys * dims
}

impl<'a, T: Float> Scratch<'a, T> {
    fn new(mut memory: &'a mut [T], values: &Values<T>, keys: usize) -> Self {
        let (width, head_dim, value_dim) = (values.width(), values.sizes.head_dim, values.sizes.value_dim);
        let mut part = |len| take(&mut memory, len);
        Self {
            width,
            queries: part(head_dim * width),
            grads: part(value_dim * width),
            max: part(width),
            inverse: part(width),
            delta: part(width),
            p: part(values.depth() * width),
            dp: part(values.depth() * width),
            dq: part(width * head_dim),
            dk: part(keys * head_dim),
            dv: part(keys * value_dim),
        }
    }
}

impl<T: Float> Backward<'_, T> {
    fn work(&self, job: &Job) {
        let keys = job.keys.len();
        T::with_scratch(scratch_len(&self.values, keys), |memory| {
            let mut scratch = Scratch::new(memory, &self.values, keys);
            scratch.dk.fill(T::zero());
            scratch.dv.fill(T::zero());
            for head in job.heads.clone() {
                job.query_blocks.clone().for_each(|block| self.queries(job, head, block, &mut scratch));
            }
            if job.keys_wanted {
                self.write_keys(job, &scratch);
            }
        });
    }

    /// The share of one block of queries.
    fn queries(&self, job: &Job, head: usize, block: usize, scratch: &mut Scratch<T>) {
        let (values, queries) = (&self.values, self.values.queries(block));
        let seen = values.rules.keys_of(job.batch, &queries);
        let keys = seen.start.max(job.keys.start)..seen.end.min(job.keys.end);
        if keys.is_empty() {
            return;
        }
        let mut tile = Tile { batch: job.batch, head, queries, keys: 0..0 };
        self.prepare(&tile, scratch);
        for (i, block) in values.key_blocks(keys).enumerate() {
            tile.keys = block;
            self.add(job, &tile, i == 0, scratch);
        }
        if let Some(dq) = self.dq.as_ref().filter(|_| job.queries_wanted) {
            let dim = values.sizes.head_dim;
            let rows = &scratch.dq[..tile.queries.len() * dim];
            #[allow(unsafe_code)]
            // SAFETY: the target is alive as long as self; no two jobs that want queries have a block of a head in common.
            unsafe {
                dq.write(tile.batch, head, tile.queries.start, rows, dim, T::from_f64(values.rules.scale));
            }
        }
    }

    /// What a block of queries brings to all keys.
    fn prepare(&self, tile: &Tile, scratch: &mut Scratch<T>) {
        let (sizes, width) = (&self.values.sizes, scratch.width);
        let (batch, head, first, len) = (tile.batch, tile.head, tile.queries.start, tile.queries.len());
        self.values.scaled_queries(tile, scratch.queries, width);
        let start = (batch * sizes.heads + head) * 2 * sizes.q_len + first;
        for (to, start) in [(&mut *scratch.max, start), (&mut *scratch.inverse, start + sizes.q_len)] {
            to[..len].copy_from_slice(&self.results.statistics[start..][..len]);
            to[len..].fill(T::zero());
        }
        if self.dq.is_none() && self.dk.is_none() {
            return;
        }
        let dim = sizes.value_dim;
        transpose(self.results.grad.matrix(batch, head, first), len, dim, T::one(), scratch.grads, width);
        scratch.delta[len..].fill(T::zero());
        simd(
            #[inline(always)]
            || {
                for (delta, query) in scratch.delta.iter_mut().zip(tile.queries.clone()) {
                    let output = self.results.output.row(batch, head, query, dim);
                    let grad = self.results.grad.row(batch, head, query, dim);
                    *delta = dot(output, grad);
                }
            },
        );
    }

    /// The share of a tile of scores.
    fn add(&self, job: &Job, tile: &Tile, first: bool, scratch: &mut Scratch<T>) {
        let (values, sizes, width) = (&self.values, &self.values.sizes, scratch.width);
        let (num_keys, num_queries) = (tile.keys.len(), tile.queries.len());
        let (head_dim, value_dim) = (sizes.head_dim, sizes.value_dim);
        let (kv_head, at) = (values.kv_head(tile.head), tile.keys.start - job.keys.start);
        values.scores(tile, scratch.queries, scratch.p, width);
        simd(
            #[inline(always)]
            || probabilities(&mut scratch.p[..num_keys * width], scratch.max, scratch.inverse),
        );
        if job.keys_wanted && self.dv.is_some() {
            let p = self.dropped(tile, scratch.p, scratch.dp, width);
            let grad = self.results.grad.matrix(tile.batch, tile.head, tile.queries.start);
            let dv = &mut scratch.dv[at * value_dim..];
            product((num_keys, num_queries, value_dim), dv, value_dim, true, Matrix::rows(p, width), grad);
        }
        if !(job.queries_wanted || job.keys_wanted && self.dk.is_some()) {
            return;
        }
        let v = values.v.matrix(tile.batch, kv_head, tile.keys.start);
        let grads = Matrix::rows(scratch.grads, width);
        product((num_keys, value_dim, width), scratch.dp, width, false, v, grads);
        self.scores_gradient(tile, scratch);
        let ds = Matrix::rows(scratch.p, width);
        if job.queries_wanted {
            let k = values.k.matrix(tile.batch, kv_head, tile.keys.start);
            product((num_queries, num_keys, head_dim), scratch.dq, head_dim, !first, ds.transposed(), k);
        }
        if job.keys_wanted && self.dk.is_some() {
            let q = values.q.matrix(tile.batch, tile.head, tile.queries.start);
            let dk = &mut scratch.dk[at * head_dim..];
            product((num_keys, num_queries, head_dim), dk, head_dim, true, ds, q);
        }
    }

    /// The probabilities after dropout, in `room` where there is dropout.
    fn dropped<'p>(&self, tile: &Tile, p: &'p [T], room: &'p mut [T], width: usize) -> &'p [T] {
        let Some(dropout) = &self.values.rules.dropout else {
            return p;
        };
        simd(
            #[inline(always)]
            || {
                for ((to, from), key) in room.chunks_mut(width).zip(p.chunks(width)).zip(tile.keys.clone()) {
                    let kept = self.values.rules.kept::<T>(dropout, tile.batch, tile.head, key);
                    let first = tile.queries.start as u32;
                    let pairs = to.iter_mut().zip(from).enumerate();
                    pairs.for_each(|(i, (to, &from))| *to = from * kept.factor(first + i as u32));
                }
            },
        );
        room
    }

    /// Turns P into dS = P (dP − D), where dP has been through dropout's backward.
    fn scores_gradient(&self, tile: &Tile, scratch: &mut Scratch<T>) {
        let Scratch { width, p, dp, delta, .. } = scratch;
        let delta = delta.as_chunks::<LANES>().0;
        simd(
            #[inline(always)]
            || {
                let rows = p.chunks_mut(*width).zip(dp.chunks(*width));
                for ((p, dp), key) in rows.zip(tile.keys.clone()) {
                    let strips = p.as_chunks_mut::<LANES>().0.iter_mut().zip(dp.as_chunks::<LANES>().0).zip(delta);
                    let Some(dropout) = &self.values.rules.dropout else {
                        for ((p, dp), delta) in strips {
                            (0..LANES).for_each(|i| p[i] *= dp[i] - delta[i]);
                        }
                        continue;
                    };
                    let kept = self.values.rules.kept::<T>(dropout, tile.batch, tile.head, key);
                    for (strip, ((p, dp), delta)) in strips.enumerate() {
                        let first = (tile.queries.start + strip * LANES) as u32;
                        (0..LANES).for_each(|i| p[i] *= dp[i] * kept.factor(first + i as u32) - delta[i]);
                    }
                }
            },
        );
    }

    #[allow(unsafe_code)]
    fn write_keys(&self, job: &Job, scratch: &Scratch<T>) {
        let sizes = &self.values.sizes;
        let (kv_head, start, scale) =
            (self.values.kv_head(job.heads.start), job.keys.start, T::from_f64(self.values.rules.scale));
        // SAFETY: the targets are alive as long as self; no two jobs that want keys have a key of a head in common.
        unsafe {
            if let Some(dk) = &self.dk {
                dk.write(job.batch, kv_head, start, scratch.dk, sizes.head_dim, scale);
            }
            if let Some(dv) = &self.dv {
                dv.write(job.batch, kv_head, start, scratch.dv, sizes.value_dim, T::one());
            }
        }
    }
}

/// Turns scores (keys, queries) into 2^(score − largest) / sum.
#[inline(always)]
fn probabilities<T: Float>(scores: &mut [T], max: &[T], inverse: &[T]) {
    let (max, inverse) = (max.as_chunks::<LANES>().0, inverse.as_chunks::<LANES>().0);
    for row in scores.as_chunks_mut::<LANES>().0.chunks_mut(max.len()) {
        for ((row, max), inverse) in row.iter_mut().zip(max).zip(inverse) {
            (0..LANES).for_each(|i| row[i] = (row[i] - max[i]).exp2_normal() * inverse[i]);
        }
    }
}

/// The sum of a_i b_i, in lanes that are added up in pairs: rows are too short for a longer way.
#[inline(always)]
fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [T::zero(); LANES];
    for (a, b) in a.iter().zip(b) {
        (0..LANES).for_each(|i| lanes[i] += a[i] * b[i]);
    }
    let mut half = LANES / 2;
    while half > 0 {
        (0..half).for_each(|i| lanes[i] += lanes[i + half]);
        half /= 2;
    }
    a_rest.iter().zip(b_rest).fold(lanes[0], |sum, (&a, &b)| sum + a * b)
}
