//! Winograd's minimal filtering (Lavin and Gray 2015, arXiv 1509.09308): F(2x2, 3x3) takes 16 products for a tile of 2 x 2
//! outputs where the definition takes 36, F(4x4, 3x3) takes 36 where the definition takes 144, F(2x2, 2x2) 9 for 16,
//! F(3x3, 2x2) 16 for 36 and F(4x4, 2x2) 25 for 64.
//!
//! A convolution of stride 2 with 4 x 4 kernels is one of stride 1 with 2 x 2 kernels, whose input channels are the four
//! phases of each channel: the pixels at even or odd rows and columns.
//!
//! A part of the images is turned to pixels, whose channels lie next to each other. The transforms of its tiles make one
//! matrix (tiles, channels) for each of the 16 or 36 elements, and the product of each with the transformed kernels is
//! the whole sum.
//!
//! Every output of a tile depends on all of its inputs: next to an infinite or NaN input, up to three elements beyond the
//! kernel's reach are NaN too.

mod choice;
mod filter;
mod kernels;
pub(super) mod lanes;
mod parts;
mod phases;
mod pixels;
mod spread;
pub(super) mod three_taps;
pub(super) mod tile;
mod tiling;
mod transform;
pub(super) mod two_taps;
mod weight;

use super::geometry::Geometry;
use super::op::Direction;
use crate::cpu::Element;
pub(super) use choice::{Tiles, choose};
use filter::filter;
use kernels::{Axis, Kernels};
use spread::spread;
use three_taps::{F23, F43};
use tile::{Tile, TransposedTile};
use tiling::Tiling;
use two_taps::{F22, F32, F42};
pub(super) use weight::weight_gradient_by;

/// `ys = bias + weight * xs`, as [`super::dense::output`].
pub(super) fn output<T: Element>(g: &Geometry, tiles: Tiles, xs: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    match tiles {
        Tiles::F23 => output_by::<T, F23, 2, 3, 4>(g, xs, weight, bias),
        Tiles::F43 => output_by::<T, F43, 4, 3, 6>(g, xs, weight, bias),
        Tiles::F22 => output_by::<T, F22, 2, 2, 3>(g, xs, weight, bias),
        Tiles::F32 => output_by::<T, F32, 3, 2, 4>(g, xs, weight, bias),
        Tiles::F42 => output_by::<T, F42, 4, 2, 5>(g, xs, weight, bias),
    }
}

/// The input gradient from the output's, as [`super::dense::input_gradient`].
pub(super) fn input_gradient<T: Element>(
    g: &Geometry,
    tiles: Tiles,
    ys: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    match (tiles, g.stride) {
        (Tiles::F23, _) => input_gradient_by::<T, F23, 2, 3, 4>(g, ys, weight, bias),
        (Tiles::F43, _) => input_gradient_by::<T, F43, 4, 3, 6>(g, ys, weight, bias),
        (Tiles::F22, [1, _]) => input_gradient_by::<T, F22, 2, 2, 3>(g, ys, weight, bias),
        (Tiles::F32, [1, _]) => input_gradient_by::<T, F32, 3, 2, 4>(g, ys, weight, bias),
        (Tiles::F42, [1, _]) => input_gradient_by::<T, F42, 4, 2, 5>(g, ys, weight, bias),
        (Tiles::F22, _) => phase_gradient_by::<T, F22, 2, 2, 3>(g, ys, weight, bias),
        (Tiles::F32, _) => phase_gradient_by::<T, F32, 3, 2, 4>(g, ys, weight, bias),
        (Tiles::F42, _) => phase_gradient_by::<T, F42, 4, 2, 5>(g, ys, weight, bias),
    }
}

/// The weight gradient from input and output gradient, as [`super::dense::weight_gradient`].
pub(super) fn weight_gradient<T: Element>(g: &Geometry, tiles: Tiles, xs: &[T], ys: &[T]) -> Vec<T> {
    match tiles {
        Tiles::F23 => weight_gradient_by::<T, F23, 2, 3, 4>(g, xs, ys),
        Tiles::F43 => weight_gradient_by::<T, F43, 4, 3, 6>(g, xs, ys),
        Tiles::F22 => weight_gradient_by::<T, F22, 2, 2, 3>(g, xs, ys),
        Tiles::F32 => weight_gradient_by::<T, F32, 3, 2, 4>(g, xs, ys),
        Tiles::F42 => weight_gradient_by::<T, F42, 4, 2, 5>(g, xs, ys),
    }
}

/// [`output`] by tiles of one kind.
pub(super) fn output_by<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    g: &Geometry,
    xs: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    let [to, from] = Axis::both(g);
    let kernels = Kernels { weight, from, to, turned: false };
    filter::<T, K, M, R, A>(&Tiling::new(g, Direction::Output, M), xs, &kernels, bias)
}

/// [`input_gradient`] of stride 1 by tiles of one kind.
pub(super) fn input_gradient_by<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    g: &Geometry,
    ys: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    let [from, to] = Axis::both(g);
    let kernels = Kernels { weight, from, to, turned: true };
    filter::<T, K, M, R, A>(&Tiling::new(g, Direction::Input, M), ys, &kernels, bias)
}

/// [`input_gradient`] of stride 2 by tiles of one kind.
pub(super) fn phase_gradient_by<
    T: Element,
    K: TransposedTile<M, R, A>,
    const M: usize,
    const R: usize,
    const A: usize,
>(
    g: &Geometry,
    ys: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    let [from, to] = Axis::both(g);
    let kernels = Kernels { weight, from, to, turned: false };
    spread::<T, K, M, R, A>(&Tiling::new(g, Direction::Input, M), ys, &kernels, bias)
}
