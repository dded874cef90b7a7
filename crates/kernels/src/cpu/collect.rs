//! Vectors that are written once: without the zeros that a loop over `vec![0; len]` would overwrite.

use std::iter::repeat;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::{CHUNK, Element, rows_per_chunk, simd};

/// Part of a vector that is being made, filled from front to back.
pub(crate) struct Part<'a, T> {
    slots: &'a mut [MaybeUninit<T>],
    /// How many of the slots hold a value.
    written: usize,
}

impl<T: Copy> Part<'_, T> {
    /// Number of elements still to come.
    #[inline(always)]
    pub fn room(&self) -> usize {
        self.slots.len() - self.written
    }

    /// Appends `values`, as many as there is room for, and gives them back to change.
    #[inline(always)]
    pub fn extend(&mut self, values: impl Iterator<Item = T>) -> &mut [T] {
        let mut written = 0;
        let slots = &mut self.slots[self.written..];
        for (slot, value) in slots.iter_mut().zip(values) {
            slot.write(value);
            written += 1;
        }
        self.written += written;
        let slots = &mut slots[..written];
        #[allow(unsafe_code)]
        // SAFETY: these slots were written just now, a slot has the layout of its value, and `slots` is borrowed
        // exclusively for as long as the result.
        unsafe {
            std::slice::from_raw_parts_mut(slots.as_mut_ptr().cast(), slots.len())
        }
    }
}

/// A vector of `len` elements whose parts of `part_len` (the last may be shorter) are filled by
/// `fill(place of the part's first element, part)`, in parallel when it pays.
///
/// # Panics
/// Where `fill` leaves a part unfinished.
pub(crate) fn collect<T: Copy + Send>(
    len: usize,
    part_len: usize,
    fill: impl Fn(usize, &mut Part<T>) + Sync,
) -> Vec<T> {
    let part_len = part_len.max(1);
    let filled = |i: usize, part: &mut Part<T>| {
        simd(
            #[inline(always)]
            || fill(i * part_len, part),
        );
    };
    in_parts(len, part_len, 2 * CHUNK, filled).0
}

/// A vector whose parts `fill(part number, part)` writes, on this thread up to `serial` elements, and what it gives.
fn in_parts<T: Copy + Send, R: Send>(
    len: usize,
    part_len: usize,
    serial: usize,
    fill: impl Fn(usize, &mut Part<T>) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    let part_len = part_len.max(1);
    let mut out = Vec::with_capacity(len);
    let spare = &mut out.spare_capacity_mut()[..len];
    let work = |(i, slots)| {
        let mut part = Part { slots, written: 0 };
        let result = fill(i, &mut part);
        assert!(part.room() == 0, "a part of a vector was left unfinished");
        result
    };
    let results = if len <= serial.max(part_len) {
        spare.chunks_mut(part_len).enumerate().map(work).collect()
    } else {
        spare.par_chunks_mut(part_len).enumerate().map(work).collect()
    };
    #[allow(unsafe_code)]
    // SAFETY: the parts cover the first `len` elements, and each was seen to be written to its end: `Part::extend` alone
    // counts, after it wrote.
    unsafe {
        out.set_len(len);
    }
    (out, results)
}

/// A vector of `len` elements: `f(chunk number, chunk)` changes each chunk of zeros, in parallel.
///
/// The zeros are written by the job that goes on with them, while they are in its cache; a vector of zeros made at once
/// would be written by one thread and read back from memory.
pub(crate) fn zeros_in_chunks<T: Element>(len: usize, chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    in_parts(len, chunk, 0, |i, part| f(i, part.extend(repeat(T::zero())))).0
}

/// A copy of `source`, of which `f(chunk number, chunk)` changes each chunk, in parallel when it pays.
pub(crate) fn copy_in_chunks<T: Element>(source: &[T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let change = |i: usize, part: &mut Part<T>| f(i, part.extend(source[i * chunk..].iter().copied()));
    in_parts(source.len(), chunk, 2 * CHUNK, change).0
}

/// A copy of `source`, of which `f(row number, row)` changes each row of `row_len` elements, in parallel when it pays, and
/// what `f` gives for each row.
pub(crate) fn copy_rows<T: Element, R: Send>(
    source: &[T],
    row_len: usize,
    f: impl Fn(usize, &mut [T]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    in_rows(source.len(), row_len, |start| source[start..].iter().copied(), f)
}

/// `len` zeros, of which `f(row number, row)` changes each row; otherwise as [`copy_rows`].
pub(crate) fn zero_rows<T: Element, R: Send>(
    len: usize,
    row_len: usize,
    f: impl Fn(usize, &mut [T]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    in_rows(len, row_len, |_| repeat(T::zero()), f)
}

/// Rows of what `values(place of the first)` gives, as `f` changes them, and what it gives.
fn in_rows<T: Element, R: Send, I: Iterator<Item = T>>(
    len: usize,
    row_len: usize,
    values: impl Fn(usize) -> I + Sync,
    f: impl Fn(usize, &mut [T]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    let (row_len, per_part) = (row_len.max(1), rows_per_chunk(row_len));
    let rows = |i: usize, part: &mut Part<T>| -> Vec<R> {
        let rows = part.extend(values(i * per_part * row_len));
        simd(
            #[inline(always)]
            || rows.chunks_mut(row_len).enumerate().map(|(j, row)| f(i * per_part + j, row)).collect(),
        )
    };
    let (out, results) = in_parts(len, per_part * row_len, 2 * CHUNK, rows);
    (out, results.into_iter().flatten().collect())
}

/// `f` of every triple of elements; the slices have one length.
pub(crate) fn map3<T: Element>(xs: &[T], ys: &[T], zs: &[T], f: impl Fn(T, T, T) -> T + Sync) -> Vec<T> {
    collect(xs.len(), CHUNK, |start, part| {
        let range = start..start + part.room();
        let (xs, ys, zs) = (&xs[range.clone()], &ys[range.clone()], &zs[range]);
        part.extend(xs.iter().zip(ys).zip(zs).map(|((&x, &y), &z)| f(x, y, z)));
    })
}

/// `num_rows` rows of `row_len` elements; `row(i, range)` gives those of row `i` that lie in `range`.
///
/// Rows are cut where a chunk ends, so one long row is made in parallel as well.
pub(crate) fn collect_rows<T: Copy + Send, I: Iterator<Item = T>>(
    num_rows: usize,
    row_len: usize,
    row: impl Fn(usize, Range<usize>) -> I + Sync,
) -> Vec<T> {
    collect(num_rows * row_len, CHUNK, |start, part| {
        let (mut i, mut first) = (start / row_len, start % row_len);
        while part.room() > 0 {
            let end = row_len.min(first + part.room());
            part.extend(row(i, first..end));
            (i, first) = (i + 1, 0);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows much shorter and much longer than a part, and parts that end inside them.
    #[test]
    fn rows_are_whole_whatever_the_parts() {
        for (num_rows, row_len) in [(0, 5), (5, 0), (3, 7), (40_000, 3), (2, 50_001), (1, 100_000)] {
            let got = collect_rows(num_rows, row_len, |i, range| range.map(move |k| i * row_len + k));
            assert_eq!(got, (0..num_rows * row_len).collect::<Vec<_>>());
        }
    }

    /// On both sides of what one thread takes on, with a last chunk and a last row that are shorter.
    #[test]
    fn changed_copies_and_zeros() {
        for len in [0, 5, 3 * CHUNK + 1] {
            let source: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let add = |i: usize, chunk: &mut [f32]| chunk.iter_mut().for_each(|x| *x += i as f32);
            let want = |width: usize, scale: f32| -> Vec<f32> {
                (0..len).map(|i| i as f32 * scale + (i / width) as f32).collect()
            };
            assert_eq!(copy_in_chunks(&source, 7, add), want(7, 1.0));
            assert_eq!(zeros_in_chunks(len, 7, add), want(7, 0.0));
            let numbers: Vec<usize> = (0..len.div_ceil(7)).collect();
            let number = |i: usize, row: &mut [f32]| {
                add(i, row);
                i
            };
            assert_eq!(copy_rows(&source, 7, number), (want(7, 1.0), numbers.clone()));
            assert_eq!(zero_rows(len, 7, number), (want(7, 0.0), numbers));
        }
    }

    #[test]
    #[should_panic(expected = "left unfinished")]
    fn an_unfinished_part_panics() {
        collect(10, 4, |_, part| {
            part.extend([1].into_iter());
        });
    }
}
