//! The weight gradient of a convolution.

use rayon::prelude::*;

use super::super::geometry::Geometry;
use super::super::op::Direction;
use super::kernels::{Axis, weight_from_sums};
use super::parts::{for_each_matrix, transform_gradients, transform_inputs};
use super::tile::Tile;
use super::tiling::{Part, Stack, Tiling};
use crate::cpu::{Element, Matrix, product};

/// Elements of all partial weight gradients together, at most, where two are not already more.
const PARTIAL_ELEMENTS: usize = 1 << 22;
/// Partial weight gradients at most; fixed, so that the order of the sum never depends on the number of threads.
const MAX_PARTIALS: usize = 16;

/// [`super::weight_gradient`] by tiles of one kind: `weight = Gᵀ [Σ_tiles (A y Aᵀ) ⊙ (Bᵀ x B)] G`, the transposed algorithm.
pub(in crate::conv) fn weight_gradient_by<
    T: Element,
    K: Tile<M, R, A>,
    const M: usize,
    const R: usize,
    const A: usize,
>(
    g: &Geometry,
    xs: &[T],
    ys: &[T],
) -> Vec<T> {
    let tiling = Tiling::new(g, Direction::Weight, M);
    let [out, axis] = Axis::both(g);
    let stack = Stack::new(A, out.channels, axis.channels);
    let (from, to, images) = (tiling.from.len(), tiling.to.len(), tiling.images_per_block());
    let partials = (PARTIAL_ELEMENTS / stack.len()).clamp(2, MAX_PARTIALS);
    let chunk = tiling.num_blocks().div_ceil(partials).max(1) * images;
    let jobs = g.batch.div_ceil(chunk);
    let mut weight = vec![T::zero(); g.out_channels * g.in_channels * g.taps()];
    T::with_scratch(jobs * stack.len(), |sums| {
        let chunks = xs.par_chunks(chunk * from).zip(ys.par_chunks(chunk * to));
        sums.par_chunks_mut(stack.len()).zip(chunks).for_each(|(sums, (xs, ys))| {
            let mut is_first = true;
            for (xs, ys) in xs.chunks(images * from).zip(ys.chunks(images * to)) {
                for part in tiling.parts(ys.len() / to) {
                    weight_part::<T, K, M, R, A>(&tiling, jobs, &part, xs, ys, is_first, (&stack, sums));
                    is_first = false;
                }
            }
        });
        weight_from_sums::<T, K, M, R, A>(&stack, sums, &axis, &mut weight);
    });
    weight
}

/// Adds the products of a part's tiles to `sums`, or sets `sums` to them where `is_first`.
fn weight_part<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    tiling: &Tiling,
    jobs: usize,
    part: &Part,
    xs: &[T],
    ys: &[T],
    is_first: bool,
    (stack, sums): (&Stack, &mut [T]),
) {
    let (from, to) = (tiling.from.depth(), tiling.to.channels);
    let (v, u) = (Stack::new(A, part.tiles(), from), Stack::new(A, part.tiles(), to));
    T::with_scratch(v.len() + u.len(), |scratch| {
        let (vs, us) = scratch.split_at_mut(v.len());
        transform_inputs::<T, K, M, R, A>(tiling, part, xs, &v, vs);
        transform_gradients::<T, K, M, R, A>(tiling, part, ys, &u, us);
        let size = (to, part.tiles(), from);
        for_each_matrix(jobs, size, stack, sums, |k, sums| {
            let (lhs, rhs) = (Matrix::rows(&us[u.at(k)..], u.pitch), Matrix::rows(&vs[v.at(k)..], v.pitch));
            product(size, sums, stack.pitch, !is_first, lhs.transposed(), rhs);
        });
    });
}
