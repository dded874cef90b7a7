//! Work in parallel chunks whose size depends on nothing, so results do not depend on the number of threads.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{Element, collect, simd};

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

/// A vector of `len` elements: `f(chunk number, chunk)` changes each chunk of zeros, in parallel.
///
/// The zeros are written by the job that goes on with them, while they are in its cache; a vector of zeros made at once
/// would be written by one thread and read back from memory.
pub(crate) fn zeros_in_chunks<T: Element>(len: usize, chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    in_chunks(len, chunk, 0, |_, part| part.fill(MaybeUninit::new(T::zero())), f).0
}

/// A copy of `source`, of which `f(chunk number, chunk)` changes each chunk, in parallel when it pays.
pub(crate) fn copy_in_chunks<T: Element>(source: &[T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let copy = |i: usize, part: &mut [MaybeUninit<T>]| {
        part.iter_mut().zip(&source[i * chunk..]).for_each(|(to, &from)| *to = MaybeUninit::new(from));
    };
    in_chunks(source.len(), chunk, 2 * CHUNK, copy, f).0
}

/// A copy of `source`, of which `f(row number, row)` changes each row of `row_len` elements, in parallel when it pays, and
/// what `f` gives for each row.
pub(crate) fn copy_rows<T: Element, R: Send>(
    source: &[T],
    row_len: usize,
    f: impl Fn(usize, &mut [T]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    let chunk = rows_per_chunk(row_len) * row_len.max(1);
    let copy = |i: usize, part: &mut [MaybeUninit<T>]| {
        part.iter_mut().zip(&source[i * chunk..]).for_each(|(to, &from)| *to = MaybeUninit::new(from));
    };
    in_rows(source.len(), row_len, copy, f)
}

/// `len` zeros, of which `f(row number, row)` changes each row; otherwise as [`copy_rows`].
pub(crate) fn zero_rows<T: Element, R: Send>(
    len: usize,
    row_len: usize,
    f: impl Fn(usize, &mut [T]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    in_rows(len, row_len, |_, part| part.fill(MaybeUninit::new(T::zero())), f)
}

fn in_rows<T: Element, R: Send>(
    len: usize,
    row_len: usize,
    start: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
    f: impl Fn(usize, &mut [T]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    let (row_len, per_chunk) = (row_len.max(1), rows_per_chunk(row_len));
    let rows = |i: usize, part: &mut [T]| -> Vec<R> {
        simd(|| part.chunks_mut(row_len).enumerate().map(|(j, row)| f(i * per_chunk + j, row)).collect())
    };
    let (out, results) = in_chunks(len, per_chunk * row_len, 2 * CHUNK, start, rows);
    (out, results.into_iter().flatten().collect())
}

/// A vector whose chunks `start` writes and `f` then changes, on this thread up to `serial` elements, and what `f` gives.
fn in_chunks<T: Element, R: Send>(
    len: usize,
    chunk: usize,
    serial: usize,
    start: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
    f: impl Fn(usize, &mut [T]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    let mut out = Vec::with_capacity(len);
    let spare = &mut out.spare_capacity_mut()[..len];
    let job = |(i, part): (usize, &mut [MaybeUninit<T>])| {
        start(i, part);
        #[allow(unsafe_code)]
        // SAFETY: `start` has written every element of its part: both callers above do.
        let part = unsafe { &mut *(std::ptr::from_mut(part) as *mut [T]) };
        f(i, part)
    };
    let chunk = chunk.max(1);
    let results = if len <= serial.max(chunk) {
        spare.chunks_mut(chunk).enumerate().map(job).collect()
    } else {
        spare.par_chunks_mut(chunk).enumerate().map(job).collect()
    };
    #[allow(unsafe_code)]
    // SAFETY: the chunks cover all `len` elements, and each has been written.
    unsafe {
        out.set_len(len);
    }
    (out, results)
}

/// `f` of every triple of elements; the slices have one length.
pub(crate) fn map3<T: Element>(xs: &[T], ys: &[T], zs: &[T], f: impl Fn(T, T, T) -> T + Sync) -> Vec<T> {
    collect(xs.len(), CHUNK, |start, part| {
        let range = start..start + part.room();
        let (xs, ys, zs) = (&xs[range.clone()], &ys[range.clone()], &zs[range]);
        part.extend(xs.iter().zip(ys).zip(zs).map(|((&x, &y), &z)| f(x, y, z)));
    })
}

/// How many rows of `row_len` elements make a chunk of about [`CHUNK`] elements.
pub(crate) fn rows_per_chunk(row_len: usize) -> usize {
    (CHUNK / row_len.max(1)).max(1)
}

/// Calls `f(row number, row)` for every row of `row_len` elements of `out`, in parallel when it pays.
pub(crate) fn rows<T: Send>(out: &mut [T], row_len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let (row_len, per_chunk) = (row_len.max(1), rows_per_chunk(row_len));
    chunks(out, per_chunk * row_len, |i, chunk| {
        simd(|| chunk.chunks_mut(row_len).enumerate().for_each(|(j, row)| f(i * per_chunk + j, row)));
    });
}
