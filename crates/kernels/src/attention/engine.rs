//! What forward and backward share: a call's values, its blocks, and a block of scores.
//!
//! Scores are kept transposed, (keys, queries): the queries of a block are the lanes of vectors, so that maxima, sums and
//! masks need no work across lanes, and only the small blocks of queries and output gradients are ever transposed in
//! memory, since every matrix product here then has a right operand in rows.

use std::f64::consts::LOG2_E;
use std::ops::Range;

use super::rules::{Additive, Rules, Tile};
use super::view::View;
use super::{Blocks, Sizes};
use crate::cpu::{Element, Float, Matrix, product, simd};

/// Queries that vector code handles together: widths of blocks are multiples of it.
pub(super) const LANES: usize = 16;

/// Multiply-adds that a parallel task makes at least.
const TASK: usize = 1 << 18;

/// The values of a call.
pub(super) struct Values<'a, T> {
    pub q: View<'a, T>,
    pub k: View<'a, T>,
    pub v: View<'a, T>,
    pub additive: Option<Additive<'a, T>>,
    pub sizes: Sizes,
    pub rules: &'a Rules,
    pub blocks: Blocks,
}

impl<T: Float> Values<'_, T> {
    /// Columns of a block of scores: the queries of a block, and columns to fill vectors up.
    pub fn width(&self) -> usize {
        self.blocks.queries.min(self.sizes.q_len).next_multiple_of(LANES)
    }

    /// Rows of a block of scores at most.
    pub fn depth(&self) -> usize {
        self.blocks.keys.min(self.sizes.kv_len)
    }

    /// The queries of block `block`.
    pub fn queries(&self, block: usize) -> Range<usize> {
        let start = block * self.blocks.queries;
        start..(start + self.blocks.queries).min(self.sizes.q_len)
    }

    pub fn num_query_blocks(&self) -> usize {
        self.sizes.q_len.div_ceil(self.blocks.queries)
    }

    /// `keys` cut at multiples of the block's size, so that the cuts do not depend on where `keys` starts.
    pub fn key_blocks(&self, keys: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<T> {
        let size = self.blocks.keys;
        let first = keys.start / size;
        let blocks = if keys.is_empty() { first..first } else { first..keys.end.div_ceil(size) };
        blocks.map(move |i| (i * size).max(keys.start)..((i + 1) * size).min(keys.end))
    }

    /// The head of keys and values that a head of queries looks at.
    pub fn kv_head(&self, head: usize) -> usize {
        head / self.sizes.group()
    }

    /// How many jobs of `work` multiply-adds make a task that is worth handing to another thread.
    pub fn jobs_per_task(work: usize) -> usize {
        (TASK / work.max(1)).max(1)
    }

    /// The queries of a block, scaled and transposed: (head_dim, width), columns without a query 0. Scaled so that 2, not
    /// e, to the power of a score is its weight: that power is cheaper.
    pub fn scaled_queries(&self, tile: &Tile, out: &mut [T], width: usize) {
        let first = self.q.matrix(tile.batch, tile.head, tile.queries.start);
        let scale = T::from_f64(self.rules.scale * LOG2_E);
        transpose(first, tile.queries.len(), self.sizes.head_dim, scale, out, width);
    }

    /// The masked scores of a tile, (keys, width), from its scaled queries.
    pub fn scores(&self, tile: &Tile, queries: &[T], out: &mut [T], width: usize) {
        let size = (tile.keys.len(), self.sizes.head_dim, width);
        let keys = self.k.matrix(tile.batch, self.kv_head(tile.head), tile.keys.start);
        product(size, out, width, false, keys, Matrix::rows(queries, width));
        simd(
            #[inline(always)]
            || self.rules.mask(&mut out[..tile.keys.len() * width], width, tile, self.additive.as_ref()),
        );
    }
}

/// `scale` times the transpose of `rows` (len, dim), as `out` (dim, width) whose columns from `len` on are 0.
pub(super) fn transpose<T: Element>(rows: Matrix<T>, len: usize, dim: usize, scale: T, out: &mut [T], width: usize) {
    if dim == 0 {
        return;
    }
    simd(
        #[inline(always)]
        || {
            if len < width {
                out[..dim * width].fill(T::zero());
            }
            for start in (0..len).step_by(LANES) {
                let count = LANES.min(len - start);
                for i in start..start + count {
                    let row = &rows.data[i * rows.row_stride..][..dim];
                    let column = out[i..].iter_mut().step_by(width);
                    column.zip(row).for_each(|(out, &x)| *out = x * scale);
                }
            }
        },
    );
}

/// Takes the first `len` elements off `memory`.
pub(super) fn take<'a, T>(memory: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (taken, rest) = std::mem::take(memory).split_at_mut(len);
    *memory = rest;
    taken
}
