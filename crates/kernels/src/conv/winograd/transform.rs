//! The transforms of F(2x2, 3x3): `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` for a tile `d` of 4 x 4 inputs, a kernel `g` of 3 x 3
//! and a tile `Y` of 2 x 2 outputs.

use rayon::prelude::*;

use super::lanes::{LANES, Lanes};
use super::pixels::Window;
use super::tiling::{Part, Stack};
use crate::cpu::{Element, simd};

/// Bᵀ d
#[inline(always)]
fn input<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 4] {
    [a - c, b + c, c - b, b - d]
}

/// G g
#[inline(always)]
fn kernel<T: Element>([a, b, c]: [Lanes<T>; 3]) -> [Lanes<T>; 4] {
    let (even, odd) = ((a + c).half(), b.half());
    [a, even + odd, even - odd, c]
}

/// Gᵀ m
#[inline(always)]
fn kernel_transposed<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 3] {
    let (sum, difference) = ((b + c).half(), (b - c).half());
    [a + sum, difference, sum + d]
}

/// Aᵀ m
#[inline(always)]
fn output<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 2] {
    [a + b + c, b - c - d]
}

/// A y
#[inline(always)]
fn output_transposed<T: Element>([a, b]: [Lanes<T>; 2]) -> [Lanes<T>; 4] {
    [a, a + b, a - b, Lanes::zero() - b]
}

/// Each row of tiles: where its first pixel lies, the number of its first tile.
#[inline(always)]
fn rows(part: &Part, window: &Window) -> impl Iterator<Item = (usize, usize)> {
    let (rows, width, height, line) = (part.rows.len(), part.width, window.height, window.width);
    (0..part.images * rows).map(move |row| ((row / rows * height + row % rows * 2) * line, row * width))
}

/// `vs[4 i + j] = (Bᵀ d B)[i, j]` of every tile (rows) at some channels (columns).
#[inline(always)]
pub(super) fn input_tiles<T: Element>(
    part: &Part,
    window: &Window,
    channel: usize,
    pixels: &[[T; LANES]],
    stack: &Stack,
    vs: &mut [T],
) {
    for (pixel, tile) in rows(part, window) {
        // Neighbouring tiles share two columns.
        let mut a = input_column(window, pixels, pixel);
        let mut b = input_column(window, pixels, pixel + 1);
        for x in 0..part.width {
            let c = input_column(window, pixels, pixel + 2 * x + 2);
            let d = input_column(window, pixels, pixel + 2 * x + 3);
            let at = (tile + x) * stack.pitch + channel;
            for i in 0..4 {
                let row = input([a[i], b[i], c[i], d[i]]);
                for j in 0..4 {
                    row[j].store(vs, stack.at(4 * i + j) + at);
                }
            }
            (a, b) = (c, d);
        }
    }
}

/// Bᵀ d for the column of `d` that begins at `at`.
#[inline(always)]
fn input_column<T: Element>(window: &Window, pixels: &[[T; LANES]], at: usize) -> [Lanes<T>; 4] {
    let line = window.width;
    input([Lanes(pixels[at]), Lanes(pixels[at + line]), Lanes(pixels[at + 2 * line]), Lanes(pixels[at + 3 * line])])
}

/// `pixels = Aᵀ M A + bias` with `M[i, j] = ms[4 i + j]`, of every tile (rows) at some channels (columns).
#[inline(always)]
pub(super) fn output_tiles<T: Element>(
    part: &Part,
    window: &Window,
    channel: usize,
    stack: &Stack,
    ms: &[T],
    bias: Option<&[T]>,
    pixels: &mut [[T; LANES]],
) {
    let bias = bias.map_or(Lanes::zero(), |bias| Lanes::load_some(&bias[channel..]));
    for (pixel, tile) in rows(part, window) {
        for x in 0..part.width {
            let at = (tile + x) * stack.pitch + channel;
            let a = output_column(stack, ms, 0, at);
            let b = output_column(stack, ms, 1, at);
            let c = output_column(stack, ms, 2, at);
            let d = output_column(stack, ms, 3, at);
            for i in 0..2 {
                let [left, right] = output([a[i], b[i], c[i], d[i]]);
                let at = pixel + i * window.width + 2 * x;
                pixels[at] = (left + bias).0;
                pixels[at + 1] = (right + bias).0;
            }
        }
    }
}

/// Aᵀ M for column `j` of `M`.
#[inline(always)]
fn output_column<T: Element>(stack: &Stack, ms: &[T], j: usize, at: usize) -> [Lanes<T>; 2] {
    output([
        Lanes::load(ms, stack.at(j) + at),
        Lanes::load(ms, stack.at(4 + j) + at),
        Lanes::load(ms, stack.at(8 + j) + at),
        Lanes::load(ms, stack.at(12 + j) + at),
    ])
}

/// `us[4 i + j] = (A y Aᵀ)[i, j]` of every tile (rows) of a gradient at some channels (columns).
#[inline(always)]
pub(super) fn gradient_tiles<T: Element>(
    part: &Part,
    window: &Window,
    channel: usize,
    pixels: &[[T; LANES]],
    stack: &Stack,
    us: &mut [T],
) {
    for (pixel, tile) in rows(part, window) {
        for x in 0..part.width {
            let (at, below) = (pixel + 2 * x, pixel + 2 * x + window.width);
            let left = output_transposed([Lanes(pixels[at]), Lanes(pixels[below])]);
            let right = output_transposed([Lanes(pixels[at + 1]), Lanes(pixels[below + 1])]);
            let at = (tile + x) * stack.pitch + channel;
            for i in 0..4 {
                let row = output_transposed([left[i], right[i]]);
                for j in 0..4 {
                    row[j].store(us, stack.at(4 * i + j) + at);
                }
            }
        }
    }
}

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
    /// The matrices of [`Self::transform`].
    pub fn stack(&self) -> Stack {
        Stack::new(self.from.0, self.to.0)
    }

    /// `us[4 i + j] = (G g Gᵀ)[i, j]` of every kernel: rows of `from`, columns of `to`.
    pub fn transform(&self, us: &mut [T]) {
        let stack = self.stack();
        let mut blocks: Vec<Vec<&mut [T]>> = Vec::new();
        blocks.resize_with(self.from.0.div_ceil(BLOCK), Vec::new);
        for us in us.chunks_exact_mut(stack.at(1)) {
            let rows = &mut us[..self.from.0 * stack.pitch];
            blocks.iter_mut().zip(rows.chunks_mut(BLOCK * stack.pitch)).for_each(|(block, rows)| block.push(rows));
        }
        blocks.into_par_iter().enumerate().for_each(|(block, mut us)| {
            simd(
                #[inline(always)]
                || self.transform_block(block * BLOCK, stack.pitch, &mut us),
            );
        });
    }

    /// The sixteen matrices' rows from `first` on, at most [`BLOCK`].
    #[inline(always)]
    fn transform_block(&self, first: usize, pitch: usize, us: &mut [&mut [T]]) {
        assert_eq!(us.len(), Stack::DEPTH);
        let rows = us[0].len() / pitch;
        let mut taps = [[Lanes::zero(); 9]; BLOCK];
        for to in (0..pitch).step_by(LANES) {
            self.load(first, to, &mut taps[..rows]);
            for (row, g) in taps[..rows].iter().enumerate() {
                let a = kernel([g[0], g[3], g[6]]);
                let b = kernel([g[1], g[4], g[7]]);
                let c = kernel([g[2], g[5], g[8]]);
                for i in 0..4 {
                    let u = kernel([a[i], b[i], c[i]]);
                    for j in 0..4 {
                        u[j].store(us[4 * i + j], row * pitch + to);
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

/// Kernels that are turned to vectors at a time, so that a vector is not read right after its elements were written.
const BLOCK: usize = 8;

/// `weight[o, c] = Gᵀ S G` with `S[i, j] = Σ sums[4 i + j][o, c]` over the stacks in `sums`, added in their order.
pub(super) fn weight_from_sums<T: Element>(stack: &Stack, sums: &[T], channels: usize, weight: &mut [T]) {
    weight.par_chunks_exact_mut(channels * 9).enumerate().for_each(|(row, weight)| {
        simd(
            #[inline(always)]
            || {
                for (channel, weight) in weight.chunks_mut(LANES * 9).enumerate() {
                    weight_lanes(stack, sums, row * stack.pitch + channel * LANES, weight);
                }
            },
        );
    });
}

#[inline(always)]
fn weight_lanes<T: Element>(stack: &Stack, sums: &[T], at: usize, weight: &mut [T]) {
    let a = weight_column(stack, sums, 0, at);
    let b = weight_column(stack, sums, 1, at);
    let c = weight_column(stack, sums, 2, at);
    let d = weight_column(stack, sums, 3, at);
    for i in 0..3 {
        let row = kernel_transposed([a[i], b[i], c[i], d[i]]);
        for (lane, weight) in weight.chunks_exact_mut(9).enumerate() {
            for j in 0..3 {
                weight[3 * i + j] = row[j].0[lane];
            }
        }
    }
}

/// Gᵀ S for column `j` of `S`.
#[inline(always)]
fn weight_column<T: Element>(stack: &Stack, sums: &[T], j: usize, at: usize) -> [Lanes<T>; 3] {
    let mut column = [Lanes::zero(); 4];
    for sums in sums.chunks_exact(stack.len()) {
        for i in 0..4 {
            column[i] = column[i] + Lanes::load(sums, stack.at(4 * i + j) + at);
        }
    }
    kernel_transposed(column)
}
