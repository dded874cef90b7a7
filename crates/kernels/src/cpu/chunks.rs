//! Work in parallel chunks whose size depends on nothing, so results do not depend on the number of threads.

use rayon::prelude::*;

use super::simd;

/// Elements a task works on.
pub(crate) const CHUNK: usize = 1 << 14;

/// Splits `out` into chunks of `len` elements and calls `f(chunk number, chunk)` for each, in parallel when it pays.
pub(crate) fn chunks<T: Send>(out: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() <= 2 * CHUNK {
        out.chunks_mut(len).enumerate().for_each(|(i, chunk)| f(i, chunk));
    } else {
        out.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| f(i, chunk));
    }
}

/// How many rows of `row_len` elements make a chunk of about [`CHUNK`] elements.
pub(crate) fn rows_per_chunk(row_len: usize) -> usize {
    (CHUNK / row_len.max(1)).max(1)
}

/// Calls `f(row number, row)` for every row of `row_len` elements of `out`, in parallel when it pays.
pub(crate) fn rows<T: Send>(out: &mut [T], row_len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let (row_len, per_chunk) = (row_len.max(1), rows_per_chunk(row_len));
    chunks(out, per_chunk * row_len, |i, chunk| {
        simd(
            #[inline(always)]
            || chunk.chunks_mut(row_len).enumerate().for_each(|(j, row)| f(i * per_chunk + j, row)),
        );
    });
}
