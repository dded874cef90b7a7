//! The input gradient of a convolution by the transposed algorithm: `xs = B [us ⊙ (A ys Aᵀ)] Bᵀ`, summed over the output's
//! channels, for the transformed kernels `us`. The inputs under neighbouring tiles overlap, and are added up.
//!
//! Where the input has phases, all of them take the same transforms of the output's gradient. As convolutions of that
//! gradient each would begin at a place of its own, and take transforms of its own.

use super::super::dense::fill_channels;
use super::kernels::Kernels;
use super::lanes::LANES;
use super::parts::{for_each_matrix, transform_gradients, with_pixels};
use super::phases;
use super::pixels::Window;
use super::tile::TransposedTile;
use super::tiling::{Part, Stack, Tiling};
use super::transform::input_tiles_transposed;
use crate::cpu::{Element, Matrix, product, simd, zeros_in_chunks};

/// The gradient of the phases of an input, plus a bias per channel of it.
pub(super) fn spread<T: Element, K: TransposedTile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    tiling: &Tiling,
    ys: &[T],
    kernels: &Kernels<T>,
    bias: Option<&[T]>,
) -> Vec<T> {
    let stack = Stack::new(A, tiling.to.depth(), tiling.from.depth());
    let (from, to, images) = (tiling.from.len(), tiling.to.len(), tiling.images_per_block());
    T::with_scratch(stack.len(), |us| {
        kernels.transform::<K, M, R, A>(&stack, us);
        let us = &*us;
        zeros_in_chunks(tiling.batch * from, images * from, |i, xs| {
            let ys = &ys[i * images * to..][..xs.len() / from * to];
            if let Some(bias) = bias {
                fill_channels(xs, tiling.from.height * tiling.from.width, bias);
            }
            for part in tiling.parts(xs.len() / from) {
                spread_part::<T, K, M, R, A>(tiling, &part, ys, (&stack, us), xs);
            }
        })
    })
}

fn spread_part<T: Element, K: TransposedTile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    tiling: &Tiling,
    part: &Part,
    ys: &[T],
    (kernels, us): (&Stack, &[T]),
    xs: &mut [T],
) {
    let (from, to) = (tiling.from.depth(), tiling.to.depth());
    let (z, m) = (Stack::new(A, part.tiles(), to), Stack::new(A, part.tiles(), from));
    T::with_scratch(z.len() + m.len(), |scratch| {
        let (zs, ms) = scratch.split_at_mut(z.len());
        transform_gradients::<T, K, M, R, A>(tiling, part, ys, &z, zs);
        let size = (part.tiles(), to, from);
        for_each_matrix(tiling.num_blocks(), size, &m, ms, |k, ms| {
            let (lhs, rhs) = (Matrix::rows(&zs[z.at(k)..], z.pitch), Matrix::rows(&us[kernels.at(k)..], kernels.pitch));
            product(size, ms, m.pitch, false, lhs, rhs);
        });
        let window = Window::of_inputs(tiling, part);
        with_pixels(&window, |pixels| {
            for channel in (0..from).step_by(LANES) {
                pixels.fill([T::zero(); LANES]);
                simd(
                    #[inline(always)]
                    || input_tiles_transposed::<T, K, M, R, A>(part, &window, channel, (&m, ms), pixels),
                );
                phases::scatter_add(&tiling.from, &window, channel, pixels, xs);
            }
        });
    });
}
