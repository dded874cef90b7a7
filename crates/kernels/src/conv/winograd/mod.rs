//! Winograd's minimal filtering (Lavin and Gray 2015, arXiv 1509.09308): F(2x2, 3x3) takes 16 products for a tile of 2 x 2
//! outputs where the definition takes 36, F(4x4, 3x3) takes 36 where the definition takes 144.
//!
//! A part of the images is turned to pixels, whose channels lie next to each other. The transforms of its tiles make one
//! matrix (tiles, channels) for each of the 16 or 36 elements, and the product of each with the transformed kernels is
//! the whole sum.
//!
//! Every output of a tile depends on all of its inputs: next to an infinite or NaN input, up to three elements beyond the
//! kernel's reach are NaN too.

mod kernels;
pub(super) mod lanes;
mod pixels;
pub(super) mod tile;
mod tiling;
mod transform;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::op::Direction;
use crate::cpu::{Element, Matrix, product, simd};
use kernels::{Kernels, weight_from_sums};
use lanes::LANES;
use pixels::{Window, gather, scatter};
use tile::{Four, Tile, Two};
use tiling::{Part, Stack, Tiling};
use transform::{gradient_tiles, input_tiles, output_tiles};

/// Elements of all partial weight gradients together, at most, where two are not already more.
const PARTIAL_ELEMENTS: usize = 1 << 22;
/// Partial weight gradients at most; fixed, so that the order of the sum never depends on the number of threads.
const MAX_PARTIALS: usize = 16;

/// Whether this algorithm is the faster one for a direction of a convolution: there have to be enough tiles to share the
/// transforms of the kernels, and enough channels to share those of a tile. The bounds were measured.
pub(super) fn serves(g: &Geometry, direction: Direction) -> bool {
    let fits = g.kernel == [3, 3] && g.stride == [1, 1] && g.dilation == [1, 1] && g.groups == 1;
    let tiling = Tiling::new(g, direction, 2);
    let is_wide = tiling.to.height > 1 && tiling.to.width > 1;
    let min_tiles = if direction == Direction::Output { 48 } else { 32 };
    fits && is_wide && g.in_channels.min(g.out_channels) >= 16 && tiling.num_tiles() >= min_tiles
}

/// Whether tiles of 4 x 4 are faster than those of 2 x 2: where they cover the image well enough to save a third of the
/// products, and are enough to share the 36 numbers that each kernel becomes.
pub(super) fn prefers_four(g: &Geometry, direction: Direction) -> bool {
    let [two, four] = [2, 4].map(|tile| Tiling::new(g, direction, tile).num_tiles());
    36 * four * 3 <= 16 * two * 2 && four >= 32 && g.in_channels * g.out_channels <= 2048 * four
}

/// `ys = bias + weight * xs`, as [`super::dense::output`].
pub(super) fn output<T: Element>(g: &Geometry, xs: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    if prefers_four(g, Direction::Output) {
        output_by::<T, Four, 4, 6>(g, xs, weight, bias)
    } else {
        output_by::<T, Two, 2, 4>(g, xs, weight, bias)
    }
}

/// The input gradient from the output's, as [`super::dense::input_gradient`].
pub(super) fn input_gradient<T: Element>(g: &Geometry, ys: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    if prefers_four(g, Direction::Input) {
        input_gradient_by::<T, Four, 4, 6>(g, ys, weight, bias)
    } else {
        input_gradient_by::<T, Two, 2, 4>(g, ys, weight, bias)
    }
}

/// The weight gradient from input and output gradient, as [`super::dense::weight_gradient`].
pub(super) fn weight_gradient<T: Element>(g: &Geometry, xs: &[T], ys: &[T]) -> Vec<T> {
    if prefers_four(g, Direction::Weight) {
        weight_gradient_by::<T, Four, 4, 6>(g, xs, ys)
    } else {
        weight_gradient_by::<T, Two, 2, 4>(g, xs, ys)
    }
}

/// [`output`] by tiles of one kind.
pub(super) fn output_by<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    g: &Geometry,
    xs: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    let (from, to) = ((g.in_channels, 9), (g.out_channels, g.in_channels * 9));
    filter::<T, K, M, A>(&Tiling::new(g, Direction::Output, M), xs, &Kernels { weight, from, to, turned: false }, bias)
}

/// [`input_gradient`] by tiles of one kind.
pub(super) fn input_gradient_by<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    g: &Geometry,
    ys: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    let (from, to) = ((g.out_channels, g.in_channels * 9), (g.in_channels, 9));
    filter::<T, K, M, A>(&Tiling::new(g, Direction::Input, M), ys, &Kernels { weight, from, to, turned: true }, bias)
}

fn filter<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    tiling: &Tiling,
    xs: &[T],
    kernels: &Kernels<T>,
    bias: Option<&[T]>,
) -> Vec<T> {
    let stack = Stack::new(A, tiling.from.channels, tiling.to.channels);
    let (from, to, images) = (tiling.from.len(), tiling.to.len(), tiling.images_per_block());
    let mut ys = vec![T::zero(); tiling.batch * to];
    T::with_scratch(stack.len(), |us| {
        kernels.transform::<K, M, A>(&stack, us);
        let us = &*us;
        ys.par_chunks_mut(images * to).zip(xs.par_chunks(images * from)).for_each(|(ys, xs)| {
            for part in tiling.parts(ys.len() / to) {
                filter_part::<T, K, M, A>(tiling, &part, xs, (&stack, us), bias, ys);
            }
        });
    });
    ys
}

fn filter_part<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    tiling: &Tiling,
    part: &Part,
    xs: &[T],
    (kernels, us): (&Stack, &[T]),
    bias: Option<&[T]>,
    ys: &mut [T],
) {
    let (from, to) = (&tiling.from, &tiling.to);
    let (v, m) = (Stack::new(A, part.tiles(), from.channels), Stack::new(A, part.tiles(), to.channels));
    T::with_scratch(v.len() + m.len(), |scratch| {
        let (vs, ms) = scratch.split_at_mut(v.len());
        transform_inputs::<T, K, M, A>(tiling, part, xs, &v, vs);
        let size = (part.tiles(), from.channels, to.channels);
        for_each_matrix(tiling.num_blocks(), size, &m, ms, |k, ms| {
            let (lhs, rhs) = (Matrix::rows(&vs[v.at(k)..], v.pitch), Matrix::rows(&us[kernels.at(k)..], kernels.pitch));
            product(size, ms, m.pitch, false, lhs, rhs);
        });
        let window = Window::of_outputs(part);
        with_pixels(&window, |pixels| {
            for channel in (0..to.channels).step_by(LANES) {
                simd(
                    #[inline(always)]
                    || output_tiles::<T, K, M, A>(part, &window, channel, (&m, ms), bias, pixels),
                );
                scatter(to, &window, channel, pixels, ys);
            }
        });
    });
}

/// Multiplications of a product that is worth a job of its own.
const PARALLEL_PRODUCT: usize = 1 << 19;
/// Jobs that keep a machine busy.
const MANY_JOBS: usize = 8;

/// Calls `run` with each matrix of a stack, for a product of `size` in one of `jobs` jobs: in parallel where these are
/// few and the product is large.
fn for_each_matrix<T: Element>(
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
fn transform_inputs<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    tiling: &Tiling,
    part: &Part,
    xs: &[T],
    stack: &Stack,
    vs: &mut [T],
) {
    let window = Window::of_inputs(part, tiling.padding);
    with_pixels(&window, |pixels| {
        for channel in (0..tiling.from.channels).step_by(LANES) {
            gather(&tiling.from, &window, channel, xs, pixels);
            simd(
                #[inline(always)]
                || input_tiles::<T, K, M, A>(part, &window, channel, pixels, stack, vs),
            );
        }
    });
}

/// The transforms of the output's gradient on the tiles of `part`.
fn transform_gradients<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
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
                || gradient_tiles::<T, K, M, A>(part, &window, channel, pixels, stack, us),
            );
        }
    });
}

/// Runs `run` on memory for the pixels of a window, whose content is arbitrary.
fn with_pixels<T: Element>(window: &Window, run: impl FnOnce(&mut [[T; LANES]])) {
    T::with_scratch(window.len() * LANES, |scratch| run(scratch.as_chunks_mut().0));
}

/// [`weight_gradient`] by tiles of one kind: `weight = Gᵀ [Σ_tiles (A y Aᵀ) ⊙ (Bᵀ x B)] G`, the transposed algorithm.
pub(super) fn weight_gradient_by<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    g: &Geometry,
    xs: &[T],
    ys: &[T],
) -> Vec<T> {
    let tiling = Tiling::new(g, Direction::Weight, M);
    let stack = Stack::new(A, g.out_channels, g.in_channels);
    let (from, to, images) = (tiling.from.len(), tiling.to.len(), tiling.images_per_block());
    let partials = (PARTIAL_ELEMENTS / stack.len()).clamp(2, MAX_PARTIALS);
    let chunk = tiling.num_blocks().div_ceil(partials).max(1) * images;
    let jobs = g.batch.div_ceil(chunk);
    let mut weight = vec![T::zero(); g.out_channels * g.in_channels * 9];
    T::with_scratch(jobs * stack.len(), |sums| {
        let chunks = xs.par_chunks(chunk * from).zip(ys.par_chunks(chunk * to));
        sums.par_chunks_mut(stack.len()).zip(chunks).for_each(|(sums, (xs, ys))| {
            let mut is_first = true;
            for (xs, ys) in xs.chunks(images * from).zip(ys.chunks(images * to)) {
                for part in tiling.parts(ys.len() / to) {
                    weight_part::<T, K, M, A>(&tiling, jobs, &part, xs, ys, is_first, (&stack, sums));
                    is_first = false;
                }
            }
        });
        weight_from_sums::<T, K, M, A>(&stack, sums, g.in_channels, &mut weight);
    });
    weight
}

/// Adds the products of a part's tiles to `sums`, or sets `sums` to them where `is_first`.
fn weight_part<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    tiling: &Tiling,
    jobs: usize,
    part: &Part,
    xs: &[T],
    ys: &[T],
    is_first: bool,
    (stack, sums): (&Stack, &mut [T]),
) {
    let (from, to) = (tiling.from.channels, tiling.to.channels);
    let (v, u) = (Stack::new(A, part.tiles(), from), Stack::new(A, part.tiles(), to));
    T::with_scratch(v.len() + u.len(), |scratch| {
        let (vs, us) = scratch.split_at_mut(v.len());
        transform_inputs::<T, K, M, A>(tiling, part, xs, &v, vs);
        transform_gradients::<T, K, M, A>(tiling, part, ys, &u, us);
        let size = (to, part.tiles(), from);
        for_each_matrix(jobs, size, stack, sums, |k, sums| {
            let (lhs, rhs) = (Matrix::rows(&us[u.at(k)..], u.pitch), Matrix::rows(&vs[v.at(k)..], v.pitch));
            product(size, sums, stack.pitch, !is_first, lhs.transposed(), rhs);
        });
    });
}
