//! Where queries, keys and values lie in memory, and their gradients.

use crate::cpu::Matrix;

/// Element distances between batch items, heads and positions; the last dimension's elements are neighbours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strides {
    pub batch: usize,
    pub head: usize,
    pub row: usize,
}

impl Strides {
    /// Heads of `dim` elements side by side in rows of `row` elements, `len` of them in a batch item.
    pub fn packed(len: usize, row: usize, dim: usize) -> Self {
        Self { batch: len * row, head: dim, row }
    }

    /// Where position `row` of a head starts.
    #[inline(always)]
    pub fn at(&self, batch: usize, head: usize, row: usize) -> usize {
        batch * self.batch + head * self.head + row * self.row
    }
}

/// Values to read: (batch, heads, len, dim) in any order of the first three.
#[derive(Clone, Copy)]
pub(super) struct View<'a, T> {
    pub data: &'a [T],
    pub strides: Strides,
}

impl<'a, T> View<'a, T> {
    /// The rows of one head from position `row` on.
    pub fn matrix(&self, batch: usize, head: usize, row: usize) -> Matrix<'a, T> {
        let start = self.strides.at(batch, head, row).min(self.data.len());
        Matrix::rows(&self.data[start..], self.strides.row)
    }

    /// One position of one head: `dim` elements.
    #[inline(always)]
    pub fn row(&self, batch: usize, head: usize, row: usize, dim: usize) -> &'a [T] {
        &self.data[self.strides.at(batch, head, row)..][..dim]
    }
}

/// Memory that the jobs of one parallel loop write to, each to places of its own.
pub(super) struct Target<T> {
    data: *mut T,
    len: usize,
}

impl<T> Target<T> {
    /// The memory of `data`, which has to outlive the target.
    pub fn new(data: &mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len() }
    }

    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// The slice that the target was made of is alive and not used otherwise, and no two threads hold overlapping
    /// parts at once.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start <= self.len && len <= self.len - start, "part {start} + {len} of {}", self.len);
        // SAFETY: inside the slice by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }
}

#[allow(unsafe_code)]
// SAFETY: a target gives access only through `part`, whose callers promise to share nothing.
unsafe impl<T: Send> Sync for Target<T> {}
