//! Vectors that are written once: without the zeros that a loop over `vec![0; len]` would overwrite.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::{CHUNK, simd};

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
    let mut out = Vec::with_capacity(len);
    let spare = &mut out.spare_capacity_mut()[..len];
    let work = |(i, slots)| {
        let mut part = Part { slots, written: 0 };
        simd(|| fill(i * part_len, &mut part));
        assert!(part.room() == 0, "a part of a vector was left unfinished");
    };
    if len <= 2 * CHUNK {
        spare.chunks_mut(part_len).enumerate().for_each(work);
    } else {
        spare.par_chunks_mut(part_len).enumerate().for_each(work);
    }
    #[allow(unsafe_code)]
    // SAFETY: the parts cover the first `len` elements, and each was seen to be written to its end: `Part::extend` alone
    // counts, after it wrote.
    unsafe {
        out.set_len(len);
    }
    out
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

    #[test]
    #[should_panic(expected = "left unfinished")]
    fn an_unfinished_part_panics() {
        collect(10, 4, |_, part| {
            part.extend([1].into_iter());
        });
    }
}
