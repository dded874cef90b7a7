//! Winograd's minimal filtering (Lavin and Gray 2015, arXiv 1509.09308): F(2x2, 3x3) takes 16 products for a tile of 2 x 2
//! outputs where the definition takes 36, F(4x4, 3x3) takes 36 where the definition takes 144, F(3x3, 2x2) 16 for 36 and
//! F(4x4, 2x2) 25 for 64.
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
use filter::filter;
use kernels::{Axis, Kernels};
use spread::spread;
use three_taps::{F23, F43};
use tile::{Tile, TransposedTile};
use tiling::Tiling;
use two_taps::{F32, F42};
pub(super) use weight::weight_gradient_by;

/// The tiles of a convolution, F(m, r) for m x m outputs and kernels of r x r taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tiles {
    F23,
    F43,
    F32,
    F42,
}

/// Whether this algorithm is the faster one for a direction of a convolution: there have to be enough tiles to share the
/// transforms of the kernels, and enough channels to share those of a tile. The bounds were measured.
pub(super) fn serves(g: &Geometry, direction: Direction) -> bool {
    let fits = g.dilation == [1, 1] && g.groups == 1;
    fits && match (g.kernel, g.stride) {
        ([3, 3], [1, 1]) => serves_three_taps(g, direction),
        ([2, 2], [1, 1]) | ([4, 4], [2, 2]) => serves_two_taps(g, direction),
        _ => false,
    }
}

fn serves_three_taps(g: &Geometry, direction: Direction) -> bool {
    let tiling = Tiling::new(g, direction, 2);
    let is_wide = tiling.to.height > 1 && tiling.to.width > 1;
    let min_tiles = if direction == Direction::Output { 48 } else { 32 };
    is_wide && g.in_channels.min(g.out_channels) >= 16 && tiling.num_tiles() >= min_tiles
}

fn serves_two_taps(g: &Geometry, direction: Direction) -> bool {
    let (tile, products) = if tiles(g, direction) == Tiles::F42 { (4, 25) } else { (3, 16) };
    let tiling = Tiling::new(g, direction, tile);
    let outputs = tiling.batch * tiling.to.height * tiling.to.width;
    let saves_a_third = products * tiling.num_tiles() * 3 <= 4 * outputs * 2;
    let (from, to, tiles) = (tiling.from.depth(), tiling.to.depth(), tiling.num_tiles());
    // What phases are compared with, columns of stride 2, is slower than columns of stride 1.
    let pays = if g.stride == [1, 1] {
        from.min(to) >= 16 && tiles >= 64
    } else {
        let min_to = if direction == Direction::Output { 16 } else { 4 };
        from >= 16 && to >= min_to && from * to >= 256 && tiles >= 16 && tiles * from >= 1024
    };
    saves_a_third && pays
}

/// The tiles that a direction of a convolution takes.
pub(super) fn tiles(g: &Geometry, direction: Direction) -> Tiles {
    if g.kernel == [3, 3] {
        return if prefers_four(g, direction) { Tiles::F43 } else { Tiles::F23 };
    }
    // The fewer products, the larger tiles where they are as many.
    let [three, four] = [3, 4].map(|tile| Tiling::new(g, direction, tile).num_tiles());
    if 25 * four <= 16 * three { Tiles::F42 } else { Tiles::F32 }
}

/// Channels up to which tiles of 4 x 4 are taken. Their rounding is ten times that of 2 x 2 and grows with the channels
/// that are summed: with all layers of a ResNet-18 by them, its third AdamW step was 3e-3 away from PyTorch's loss, which
/// is 1e-4 away from the loss in double precision; with tiles of 2 x 2 it is as close as PyTorch's.
const MAX_CHANNELS_OF_FOUR: usize = 32;

/// Whether tiles of 4 x 4 are faster than those of 2 x 2, and exact enough: where they cover the image well enough to save a
/// third of the products, and are enough to share the 36 numbers that each kernel becomes.
fn prefers_four(g: &Geometry, direction: Direction) -> bool {
    let [two, four] = [2, 4].map(|tile| Tiling::new(g, direction, tile).num_tiles());
    let narrow = g.in_channels.max(g.out_channels) <= MAX_CHANNELS_OF_FOUR;
    narrow && 36 * four * 3 <= 16 * two * 2 && four >= 32 && g.in_channels * g.out_channels <= 2048 * four
}

/// `ys = bias + weight * xs`, as [`super::dense::output`].
pub(super) fn output<T: Element>(g: &Geometry, xs: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    match tiles(g, Direction::Output) {
        Tiles::F23 => output_by::<T, F23, 2, 3, 4>(g, xs, weight, bias),
        Tiles::F43 => output_by::<T, F43, 4, 3, 6>(g, xs, weight, bias),
        Tiles::F32 => output_by::<T, F32, 3, 2, 4>(g, xs, weight, bias),
        Tiles::F42 => output_by::<T, F42, 4, 2, 5>(g, xs, weight, bias),
    }
}

/// The input gradient from the output's, as [`super::dense::input_gradient`].
pub(super) fn input_gradient<T: Element>(g: &Geometry, ys: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    match (tiles(g, Direction::Input), g.stride) {
        (Tiles::F23, _) => input_gradient_by::<T, F23, 2, 3, 4>(g, ys, weight, bias),
        (Tiles::F43, _) => input_gradient_by::<T, F43, 4, 3, 6>(g, ys, weight, bias),
        (Tiles::F32, [1, _]) => input_gradient_by::<T, F32, 3, 2, 4>(g, ys, weight, bias),
        (Tiles::F42, [1, _]) => input_gradient_by::<T, F42, 4, 2, 5>(g, ys, weight, bias),
        (Tiles::F32, _) => phase_gradient_by::<T, F32, 3, 2, 4>(g, ys, weight, bias),
        (Tiles::F42, _) => phase_gradient_by::<T, F42, 4, 2, 5>(g, ys, weight, bias),
    }
}

/// The weight gradient from input and output gradient, as [`super::dense::weight_gradient`].
pub(super) fn weight_gradient<T: Element>(g: &Geometry, xs: &[T], ys: &[T]) -> Vec<T> {
    match tiles(g, Direction::Weight) {
        Tiles::F23 => weight_gradient_by::<T, F23, 2, 3, 4>(g, xs, ys),
        Tiles::F43 => weight_gradient_by::<T, F43, 4, 3, 6>(g, xs, ys),
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
