//! Which tiles a convolution takes, if any.

use super::super::geometry::Geometry;
use super::super::op::{Direction, Role};
use super::tiling::Tiling;

/// The tiles of a convolution, F(m, r) for m x m outputs and kernels of r x r taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::conv) enum Tiles {
    F23,
    F43,
    F22,
    F32,
    F42,
}

/// The tiles for a direction of a convolution where this algorithm is the faster one: there have to be enough tiles to
/// share the transforms of the kernels, and enough channels to share those of a tile. The bounds were measured.
pub(in crate::conv) fn choose(g: &Geometry, direction: Direction, role: Role) -> Option<Tiles> {
    if g.dilation != [1, 1] || g.groups != 1 {
        return None;
    }
    match (g.kernel, g.stride) {
        ([3, 3], [1, 1]) => three_taps(g, direction),
        ([2, 2], [1, 1]) | ([4, 4], [2, 2]) => two_taps(g, direction, role),
        _ => None,
    }
}

fn three_taps(g: &Geometry, direction: Direction) -> Option<Tiles> {
    let tiling = Tiling::new(g, direction, 2);
    let is_wide = tiling.to.height > 1 && tiling.to.width > 1;
    let min_tiles = if direction == Direction::Output { 48 } else { 32 };
    let pays = is_wide && g.in_channels.min(g.out_channels) >= 16 && tiling.num_tiles() >= min_tiles;
    pays.then(|| if prefers_four(g, direction) { Tiles::F43 } else { Tiles::F23 })
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

/// The tiles with the fewest products of those that are exact enough.
///
/// F(4, 2) rounds twice as much as F(2, 2), F(3, 2) or plain sums do. For a gradient that is nothing; but an activation
/// next to 0 may come out on the other side, and then turns on what a ReLU had turned off. With activations by F(4, 2) the
/// losses of a DCGAN were 4e-4 away from the exact ones within three AdamW steps, as they are with noise of that size
/// (1.2e-6 of the activations) in double precision; with half of the noise they are at most 1e-5 away.
fn two_taps(g: &Geometry, direction: Direction, role: Role) -> Option<Tiles> {
    let products = |tile: usize| (tile + 1) * (tile + 1) * Tiling::new(g, direction, tile).num_tiles();
    let mut best = if products(2) <= products(3) { (Tiles::F22, products(2)) } else { (Tiles::F32, products(3)) };
    if role == Role::Gradient && products(4) <= best.1 {
        best = (Tiles::F42, products(4));
    }
    let Tiling { batch, from, to, .. } = Tiling::new(g, direction, 1);
    let outputs = batch * to.height * to.width;
    let saves_a_third = best.1 * 3 <= 4 * outputs * 2;
    let (from, to) = (from.depth(), to.depth());
    // What phases are compared with, columns of stride 2, is slower than columns of stride 1.
    let pays = if g.stride == [1, 1] {
        from.min(to) >= 16 && outputs >= 1024
    } else {
        let is_output = direction == Direction::Output;
        let shares_kernels = from * to <= 512 * outputs || !is_output;
        let is_deep = from >= 16 && to >= if is_output { 16 } else { 4 } && from * to >= 256;
        is_deep && shares_kernels && outputs >= 256 && outputs * from >= 1 << 14
    };
    (saves_a_third && pays).then_some(best.0)
}
