//! What the three directions do with a part of a convolution: the transforms of its tiles, and the products of the
//! matrices that these make.

use rayon::prelude::*;

use super::lanes::LANES;
use super::phases;
use super::pixels::{Window, gather};
use super::tile::Tile;
use super::tiling::{Part, Stack, Tiling};
use super::transform::{gradient_tiles, input_tiles};
use crate::cpu::{Element, simd};

/// Multiplications of a product that is worth a job of its own.
const PARALLEL_PRODUCT: usize = 1 << 19;
/// Jobs that keep a machine busy.
const MANY_JOBS: usize = 8;

/// Calls `run` with each matrix of a stack, for a product of `size` in one of `jobs` jobs: in parallel where these are
/// few and the product is large.
pub(super) fn for_each_matrix<T: Element>(
    jobs: usize,
    (m, k, n): (usize, usize, usize),
    stack: &Stack,
    matrices: &mut [T],
    run: impl Fn(usize, &mut [T]) + Sync,
) {
    if jobs < MANY_JOBS && m * k * n >= PARALLEL_PRODUCT {
        matrices.par_chunks_exact_mut(stack.at(1)).enumerate().for_each(|(k, matrix)| run(k, matrix));
    } else {
        matrices.chunks_exact_mut(stack.at(1)).enumerate().for_each(|(k, matrix)| run(k, matrix));
    }
}

/// The transforms of the inputs under the tiles of `part`.
pub(super) fn transform_inputs<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    tiling: &Tiling,
    part: &Part,
    xs: &[T],
    stack: &Stack,
    vs: &mut [T],
) {
    let window = Window::of_inputs(tiling, part);
    with_pixels(&window, |pixels| {
        for channel in (0..tiling.from.depth()).step_by(LANES) {
            if tiling.from.step == 1 {
                gather(&tiling.from, &window, channel, xs, pixels);
            } else {
                phases::gather(&tiling.from, &window, channel, xs, pixels);
            }
            simd(
                #[inline(always)]
                || input_tiles::<T, K, M, R, A>(part, &window, channel, pixels, stack, vs),
            );
        }
    });
}

/// The transforms of the output's gradient on the tiles of `part`.
pub(super) fn transform_gradients<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    tiling: &Tiling,
    part: &Part,
    ys: &[T],
    stack: &Stack,
    us: &mut [T],
) {
    let window = Window::of_outputs(part);
    with_pixels(&window, |pixels| {
        for channel in (0..tiling.to.channels).step_by(LANES) {
            gather(&tiling.to, &window, channel, ys, pixels);
            simd(
                #[inline(always)]
                || gradient_tiles::<T, K, M, R, A>(part, &window, channel, pixels, stack, us),
            );
        }
    });
}

/// Runs `run` on memory for the pixels of a window, whose content is arbitrary.
pub(super) fn with_pixels<T: Element>(window: &Window, run: impl FnOnce(&mut [[T; LANES]])) {
    T::with_scratch(window.len() * LANES, |scratch| run(scratch.as_chunks_mut().0));
}
