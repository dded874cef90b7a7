//! The output of a convolution: `ys = Aᵀ [us ⊙ (Bᵀ xs B)] A`, summed over the channels, for the transformed kernels `us`.

use rayon::prelude::*;

use super::kernels::Kernels;
use super::lanes::LANES;
use super::parts::{for_each_matrix, transform_inputs, with_pixels};
use super::pixels::{Window, scatter};
use super::tile::Tile;
use super::tiling::{Part, Stack, Tiling};
use super::transform::output_tiles;
use crate::cpu::{Element, Matrix, product, simd};

/// A convolution of stride 1, or of phases to an output, plus a bias per channel of it.
pub(super) fn filter<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    tiling: &Tiling,
    xs: &[T],
    kernels: &Kernels<T>,
    bias: Option<&[T]>,
) -> Vec<T> {
    let stack = Stack::new(A, tiling.from.depth(), tiling.to.channels);
    let (from, to, images) = (tiling.from.len(), tiling.to.len(), tiling.images_per_block());
    let mut ys = vec![T::zero(); tiling.batch * to];
    T::with_scratch(stack.len(), |us| {
        kernels.transform::<K, M, R, A>(&stack, us);
        let us = &*us;
        ys.par_chunks_mut(images * to).zip(xs.par_chunks(images * from)).for_each(|(ys, xs)| {
            for part in tiling.parts(ys.len() / to) {
                filter_part::<T, K, M, R, A>(tiling, &part, xs, (&stack, us), bias, ys);
            }
        });
    });
    ys
}

fn filter_part<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    tiling: &Tiling,
    part: &Part,
    xs: &[T],
    (kernels, us): (&Stack, &[T]),
    bias: Option<&[T]>,
    ys: &mut [T],
) {
    let (from, to) = (&tiling.from, &tiling.to);
    let (v, m) = (Stack::new(A, part.tiles(), from.depth()), Stack::new(A, part.tiles(), to.channels));
    T::with_scratch(v.len() + m.len(), |scratch| {
        let (vs, ms) = scratch.split_at_mut(v.len());
        transform_inputs::<T, K, M, R, A>(tiling, part, xs, &v, vs);
        let size = (part.tiles(), from.depth(), to.channels);
        for_each_matrix(tiling.num_blocks(), size, &m, ms, |k, ms| {
            let (lhs, rhs) = (Matrix::rows(&vs[v.at(k)..], v.pitch), Matrix::rows(&us[kernels.at(k)..], kernels.pitch));
            product(size, ms, m.pitch, false, lhs, rhs);
        });
        let window = Window::of_outputs(part);
        with_pixels(&window, |pixels| {
            for channel in (0..to.channels).step_by(LANES) {
                simd(
                    #[inline(always)]
                    || output_tiles::<T, K, M, R, A>(part, &window, channel, (&m, ms), bias, pixels),
                );
                scatter(to, &window, channel, pixels, ys);
            }
        });
    });
}
