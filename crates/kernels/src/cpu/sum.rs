//! Sums in a fixed order.

use rayon::prelude::*;

use super::{Element, rows_per_chunk, simd};

/// Accumulators of [`sum_by`]: independent, so that the compiler can keep them in vector registers.
const LANES: usize = 16;
/// Elements summed in the type itself before they are added to the f64 total.
const BLOCK: usize = 4096;

/// The sum of `f(i)` for `i < len`, in a fixed order: lanes within blocks, blocks in f64.
///
/// Faster in f32 than [`sum_f64`], for rows whose terms are of one size.
#[inline(always)]
pub(crate) fn sum_by<T: Element>(len: usize, f: impl Fn(usize) -> T) -> f64 {
    let mut total = 0.0;
    let mut start = 0;
    while start < len {
        let end = (start + BLOCK).min(len);
        let mut lanes = [T::zero(); LANES];
        let mut i = start;
        while i + LANES <= end {
            for (k, lane) in lanes.iter_mut().enumerate() {
                *lane += f(i + k);
            }
            i += LANES;
        }
        let rest = (i..end).fold(T::zero(), |sum, i| sum + f(i));
        total += lanes.iter().fold(rest, |sum, &lane| sum + lane).to_f64();
        start = end;
    }
    total
}

/// The sum of `term(i)` for `i` in `0..len`, every term in f64, in a fixed order that vectorises.
#[inline(always)]
pub(crate) fn sum_f64(len: usize, term: impl Fn(usize) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0f64; LANES];
    let whole = len - len % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    let rest: f64 = (whole..len).map(&term).sum();
    lanes.iter().sum::<f64>() + rest
}

/// The planes of one channel of `xs` (batch, channels, plane), image by image.
pub(crate) fn planes_of_channel<T>(
    xs: &[T],
    plane: usize,
    channels: usize,
    channel: usize,
) -> impl Iterator<Item = &[T]> {
    xs.chunks_exact(plane.max(1)).skip(channel).step_by(channels)
}

/// At most so many ranges of rows have sums of their own.
const MAX_PARTIAL_SUMS: usize = 64;

/// `len` sums that `add(i, sums)` feeds with row `i` of `num_rows`, each of `row_len` elements: added up over fixed
/// ranges of rows and then over the ranges, in order.
pub(crate) fn sum_rows<T: Element>(
    num_rows: usize,
    row_len: usize,
    len: usize,
    add: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let per_range = rows_per_chunk(row_len).max(num_rows.div_ceil(MAX_PARTIAL_SUMS));
    let of_range = |range: usize| {
        let mut sums = vec![T::zero(); len];
        let rows = range * per_range..((range + 1) * per_range).min(num_rows);
        simd(|| rows.for_each(|row| add(row, &mut sums)));
        sums
    };
    let partial: Vec<_> = (0..num_rows.div_ceil(per_range)).into_par_iter().map(of_range).collect();
    let mut total = vec![T::zero(); len];
    partial.iter().for_each(|sums| total.iter_mut().zip(sums).for_each(|(total, &sum)| *total += sum));
    total
}
