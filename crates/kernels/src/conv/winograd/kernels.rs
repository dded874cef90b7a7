//! Between the kernels of a convolution and their transforms.

use rayon::prelude::*;

use super::super::geometry::Geometry;
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
    pub from: Axis,
    pub to: Axis,
    /// Whether the kernels are turned by 180 degrees.
    pub turned: bool,
}

/// The channels that are summed over, or those of the result, and where their kernels lie in the weight.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    /// Channels, of which each phase of the image's channels is one.
    pub channels: usize,
    /// Distance of the kernels of the image's channels.
    pub stride: usize,
    /// Rows and columns of phases, 1 or 2.
    pub step: usize,
    /// Distance of the rows of a kernel.
    pub width: usize,
}

impl Axis {
    /// The axes of the output's and of the input's channels.
    pub fn both(g: &Geometry) -> [Self; 2] {
        let (step, width) = (g.stride[0], g.kernel[1]);
        let out = Self { channels: g.out_channels, stride: g.in_channels * g.taps(), step: 1, width };
        [out, Self { channels: g.in_channels * step * step, stride: g.taps(), step, width }]
    }

    /// Where the kernels of a channel begin.
    #[inline(always)]
    fn at(&self, channel: usize) -> usize {
        match self.step {
            1 => channel * self.stride,
            _ => channel / 4 * self.stride + channel % 4 / 2 * self.width + channel % 2,
        }
    }
}

impl<T: Element> Kernels<'_, T> {
    /// `us[i, j] = (G g Gᵀ)[i, j]` of every kernel: rows of `from`, columns of `to`.
    pub fn transform<K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
        &self,
        stack: &Stack,
        us: &mut [T],
    ) {
        let mut blocks: Vec<Vec<&mut [T]>> = Vec::new();
        blocks.resize_with(self.from.channels.div_ceil(BLOCK), Vec::new);
        for us in us.chunks_exact_mut(stack.at(1)) {
            let rows = &mut us[..self.from.channels * stack.pitch];
            blocks.iter_mut().zip(rows.chunks_mut(BLOCK * stack.pitch)).for_each(|(block, rows)| block.push(rows));
        }
        blocks.into_par_iter().enumerate().for_each(|(block, mut us)| {
            simd(
                #[inline(always)]
                || self.transform_block::<K, M, R, A>(block * BLOCK, stack.pitch, &mut us),
            );
        });
    }

    /// The matrices' rows from `first` on, at most [`BLOCK`].
    #[inline(always)]
    fn transform_block<K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
        &self,
        first: usize,
        pitch: usize,
        us: &mut [&mut [T]],
    ) {
        assert_eq!(us.len(), A * A);
        let rows = us[0].len() / pitch;
        let mut taps = [[[Lanes::zero(); R]; R]; BLOCK];
        for to in (0..pitch).step_by(LANES) {
            if self.from.step.max(self.to.step) == 1 {
                self.load::<R, 1>(first, to, &mut taps[..rows]);
            } else {
                self.load::<R, 2>(first, to, &mut taps[..rows]);
            }
            for (row, g) in taps[..rows].iter().enumerate() {
                let mut columns = [[Lanes::zero(); A]; R];
                for (column, &g) in columns.iter_mut().zip(g) {
                    *column = K::kernel(g);
                }
                for i in 0..A {
                    let u = K::kernel(self::row(&columns, i));
                    for (j, u) in u.iter().enumerate() {
                        u.store(us[A * i + j], row * pitch + to);
                    }
                }
            }
        }
    }

    /// The kernels, by columns, from the channels beginning with `first` to those beginning with `to`, of taps that lie
    /// `STEP` apart.
    #[inline(always)]
    fn load<const R: usize, const STEP: usize>(&self, first: usize, to: usize, kernels: &mut [[[Lanes<T>; R]; R]]) {
        // Beyond the last channel the lanes keep what they have: they are never read as a result.
        for lane in 0..LANES.min(self.to.channels - to) {
            for (row, columns) in kernels.iter_mut().enumerate() {
                let kernel = &self.weight[self.from.at(first + row) + self.to.at(to + lane)..];
                let kernel = &kernel[..STEP * STEP * R * (R - 1) + STEP * (R - 1) + 1];
                for (j, column) in columns.iter_mut().enumerate() {
                    for (i, tap) in column.iter_mut().enumerate() {
                        let (i, j) = if self.turned { (R - 1 - i, R - 1 - j) } else { (i, j) };
                        tap.0[lane] = kernel[STEP * STEP * R * i + STEP * j];
                    }
                }
            }
        }
    }
}

/// `weight[o, c] = Gᵀ S G` with `S[i, j] = Σ sums[i, j][o, c]` over the stacks in `sums`, added in their order; `axis` is
/// that of the input's channels.
pub(super) fn weight_from_sums<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    stack: &Stack,
    sums: &[T],
    axis: &Axis,
    weight: &mut [T],
) {
    weight.par_chunks_exact_mut(axis.channels * R * R).enumerate().for_each(|(row, weight)| {
        simd(
            #[inline(always)]
            || {
                for (channel, weight) in weight.chunks_mut(LANES * R * R).enumerate() {
                    weight_lanes::<T, K, M, R, A>(stack, sums, row * stack.pitch + channel * LANES, axis, weight);
                }
            },
        );
    });
}

/// The kernels whose elements of the sums are at `at`.
#[inline(always)]
fn weight_lanes<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    stack: &Stack,
    sums: &[T],
    at: usize,
    axis: &Axis,
    weight: &mut [T],
) {
    let mut columns = [[Lanes::zero(); R]; A];
    for (j, column) in columns.iter_mut().enumerate() {
        let mut sum = [Lanes::zero(); A];
        for sums in sums.chunks_exact(stack.len()) {
            let part = stack_column::<T, A>(stack, sums, j, at);
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum = *sum + part);
        }
        *column = K::kernel_transposed(sum);
    }
    for i in 0..R {
        let row = K::kernel_transposed(row(&columns, i));
        for lane in 0..weight.len() / (R * R) {
            let kernel = &mut weight[axis.at(lane) + i * axis.step * axis.width..];
            for (j, lanes) in row.iter().enumerate() {
                kernel[j * axis.step] = lanes.0[lane];
            }
        }
    }
}
