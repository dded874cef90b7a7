//! Between the kernels of a convolution and their transforms.

use rayon::prelude::*;

use super::lanes::{LANES, Lanes};
use super::tile::Tile;
use super::tiling::Stack;
use super::transform::{row, stack_column};
use crate::cpu::{Element, simd};

/// Kernels that are turned to vectors at a time, so that a vector is not read right after its elements were written.
const BLOCK: usize = 8;

/// The kernels of a convolution, for whatever axis is summed over and whatever one is kept.
pub(super) struct Kernels<'a, T> {
    pub weight: &'a [T],
    /// Channels that are summed over, and the distance of their kernels in `weight`.
    pub from: (usize, usize),
    /// Channels of the result, and the distance of their kernels in `weight`.
    pub to: (usize, usize),
    /// Whether the kernels are turned by 180 degrees.
    pub turned: bool,
}

impl<T: Element> Kernels<'_, T> {
    /// `us[i, j] = (G g Gᵀ)[i, j]` of every kernel: rows of `from`, columns of `to`.
    pub fn transform<K: Tile<M, A>, const M: usize, const A: usize>(&self, stack: &Stack, us: &mut [T]) {
        let mut blocks: Vec<Vec<&mut [T]>> = Vec::new();
        blocks.resize_with(self.from.0.div_ceil(BLOCK), Vec::new);
        for us in us.chunks_exact_mut(stack.at(1)) {
            let rows = &mut us[..self.from.0 * stack.pitch];
            blocks.iter_mut().zip(rows.chunks_mut(BLOCK * stack.pitch)).for_each(|(block, rows)| block.push(rows));
        }
        blocks.into_par_iter().enumerate().for_each(|(block, mut us)| {
            simd(
                #[inline(always)]
                || self.transform_block::<K, M, A>(block * BLOCK, stack.pitch, &mut us),
            );
        });
    }

    /// The matrices' rows from `first` on, at most [`BLOCK`].
    #[inline(always)]
    fn transform_block<K: Tile<M, A>, const M: usize, const A: usize>(
        &self,
        first: usize,
        pitch: usize,
        us: &mut [&mut [T]],
    ) {
        assert_eq!(us.len(), A * A);
        let rows = us[0].len() / pitch;
        let mut taps = [[Lanes::zero(); 9]; BLOCK];
        for to in (0..pitch).step_by(LANES) {
            self.load(first, to, &mut taps[..rows]);
            for (row, g) in taps[..rows].iter().enumerate() {
                let a = K::kernel([g[0], g[3], g[6]]);
                let b = K::kernel([g[1], g[4], g[7]]);
                let c = K::kernel([g[2], g[5], g[8]]);
                for i in 0..A {
                    let u = K::kernel([a[i], b[i], c[i]]);
                    for (j, u) in u.iter().enumerate() {
                        u.store(us[A * i + j], row * pitch + to);
                    }
                }
            }
        }
    }

    /// The kernels from the channels beginning with `first` to those beginning with `to`.
    #[inline(always)]
    fn load(&self, first: usize, to: usize, taps: &mut [[Lanes<T>; 9]]) {
        // Beyond the last channel the lanes keep what they have: they are never read as a result.
        for lane in 0..LANES.min(self.to.0 - to) {
            for (row, taps) in taps.iter_mut().enumerate() {
                let kernel = &self.weight[(first + row) * self.from.1 + (to + lane) * self.to.1..][..9];
                if self.turned {
                    taps.iter_mut().rev().zip(kernel).for_each(|(tap, &value)| tap.0[lane] = value);
                } else {
                    taps.iter_mut().zip(kernel).for_each(|(tap, &value)| tap.0[lane] = value);
                }
            }
        }
    }
}

/// `weight[o, c] = Gᵀ S G` with `S[i, j] = Σ sums[i, j][o, c]` over the stacks in `sums`, added in their order.
pub(super) fn weight_from_sums<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    stack: &Stack,
    sums: &[T],
    channels: usize,
    weight: &mut [T],
) {
    weight.par_chunks_exact_mut(channels * 9).enumerate().for_each(|(row, weight)| {
        simd(
            #[inline(always)]
            || {
                for (channel, weight) in weight.chunks_mut(LANES * 9).enumerate() {
                    weight_lanes::<T, K, M, A>(stack, sums, row * stack.pitch + channel * LANES, weight);
                }
            },
        );
    });
}

/// The kernels whose elements of the sums are at `at`.
#[inline(always)]
fn weight_lanes<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    stack: &Stack,
    sums: &[T],
    at: usize,
    weight: &mut [T],
) {
    let mut columns = [[Lanes::zero(); 3]; A];
    for (j, column) in columns.iter_mut().enumerate() {
        let mut sum = [Lanes::zero(); A];
        for sums in sums.chunks_exact(stack.len()) {
            let part = stack_column::<T, A>(stack, sums, j, at);
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum = *sum + part);
        }
        *column = K::kernel_transposed(sum);
    }
    for i in 0..3 {
        let row = K::kernel_transposed(row(&columns, i));
        for (lane, weight) in weight.chunks_exact_mut(9).enumerate() {
            weight[3 * i..3 * i + 3].iter_mut().zip(&row).for_each(|(weight, lanes)| *weight = lanes.0[lane]);
        }
    }
}
