//! The transforms of tiles in two dimensions: `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` for a tile `d` of inputs, a kernel `g` of
//! `R` x `R` and a tile `Y` of outputs.

use super::lanes::{LANES, Lanes};
use super::pixels::Window;
use super::tile::{Tile, TransposedTile};
use super::tiling::{Part, Stack};
use crate::cpu::Element;

/// Each row of tiles: where its first pixel lies, the number of its first tile.
#[inline(always)]
fn rows(part: &Part, window: &Window) -> impl Iterator<Item = (usize, usize)> {
    let (tile, rows, width) = (part.tile, part.rows.len(), part.width);
    let (height, line) = (window.height, window.width);
    (0..part.images * rows).map(move |row| ((row / rows * height + row % rows * tile) * line, row * width))
}

/// The `N` pixels from `at` downwards.
#[inline(always)]
fn pixel_column<T: Element, const N: usize>(window: &Window, pixels: &[[T; LANES]], at: usize) -> [Lanes<T>; N] {
    let mut column = [Lanes::zero(); N];
    for (i, lanes) in column.iter_mut().enumerate() {
        *lanes = Lanes(pixels[at + i * window.width]);
    }
    column
}

/// Element `i` of every column: a row.
#[inline(always)]
pub(super) fn row<T: Element, const N: usize, const M: usize>(columns: &[[Lanes<T>; N]; M], i: usize) -> [Lanes<T>; M] {
    let mut row = [Lanes::zero(); M];
    for (lanes, column) in row.iter_mut().zip(columns) {
        *lanes = column[i];
    }
    row
}

/// `vs[i, j] = (Bᵀ d B)[i, j]` of every tile (rows) at some channels (columns).
#[inline(always)]
pub(super) fn input_tiles<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    part: &Part,
    window: &Window,
    channel: usize,
    pixels: &[[T; LANES]],
    stack: &Stack,
    vs: &mut [T],
) {
    for (pixel, tile) in rows(part, window) {
        let mut columns = [[Lanes::zero(); A]; A];
        for (j, column) in columns.iter_mut().skip(M).enumerate() {
            *column = K::input(pixel_column(window, pixels, pixel + j));
        }
        for x in 0..part.width {
            // Neighbouring tiles share columns.
            columns.copy_within(M.., 0);
            for (j, column) in columns.iter_mut().enumerate().skip(A - M) {
                *column = K::input(pixel_column(window, pixels, pixel + M * x + j));
            }
            let at = (tile + x) * stack.pitch + channel;
            for i in 0..A {
                let v = K::input(row(&columns, i));
                for (j, v) in v.iter().enumerate() {
                    v.store(vs, stack.at(A * i + j) + at);
                }
            }
        }
    }
}

/// `pixels = Aᵀ ms A + bias` of every tile (rows) at some channels (columns).
#[inline(always)]
pub(super) fn output_tiles<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    part: &Part,
    window: &Window,
    channel: usize,
    (stack, ms): (&Stack, &[T]),
    bias: Option<&[T]>,
    pixels: &mut [[T; LANES]],
) {
    let bias = bias.map_or(Lanes::zero(), |bias| Lanes::load_some(&bias[channel..]));
    for (pixel, tile) in rows(part, window) {
        for x in 0..part.width {
            let at = (tile + x) * stack.pitch + channel;
            let mut columns = [[Lanes::zero(); M]; A];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = K::output(stack_column(stack, ms, j, at));
            }
            for i in 0..M {
                let ys = K::output(row(&columns, i));
                let row = &mut pixels[pixel + i * window.width + M * x..][..M];
                row.iter_mut().zip(ys).for_each(|(pixel, y)| *pixel = (y + bias).0);
            }
        }
    }
}

/// Column `j` of the elements at `at` of a stack's matrices.
#[inline(always)]
pub(super) fn stack_column<T: Element, const A: usize>(stack: &Stack, ms: &[T], j: usize, at: usize) -> [Lanes<T>; A] {
    let mut column = [Lanes::zero(); A];
    for (i, lanes) in column.iter_mut().enumerate() {
        *lanes = Lanes::load(ms, stack.at(A * i + j) + at);
    }
    column
}

/// `us[i, j] = (A y Aᵀ)[i, j]` of every tile (rows) of a gradient at some channels (columns).
#[inline(always)]
pub(super) fn gradient_tiles<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    part: &Part,
    window: &Window,
    channel: usize,
    pixels: &[[T; LANES]],
    stack: &Stack,
    us: &mut [T],
) {
    for (pixel, tile) in rows(part, window) {
        for x in 0..part.width {
            let mut columns = [[Lanes::zero(); A]; M];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = K::output_transposed(pixel_column(window, pixels, pixel + M * x + j));
            }
            let at = (tile + x) * stack.pitch + channel;
            for i in 0..A {
                let u = K::output_transposed(row(&columns, i));
                for (j, u) in u.iter().enumerate() {
                    u.store(us, stack.at(A * i + j) + at);
                }
            }
        }
    }
}

/// Adds `B ms Bᵀ` of every tile (rows) at some channels (columns) to the inputs under it.
#[inline(always)]
pub(super) fn input_tiles_transposed<
    T: Element,
    K: TransposedTile<M, R, A>,
    const M: usize,
    const R: usize,
    const A: usize,
>(
    part: &Part,
    window: &Window,
    channel: usize,
    (stack, ms): (&Stack, &[T]),
    pixels: &mut [[T; LANES]],
) {
    for (pixel, tile) in rows(part, window) {
        for x in 0..part.width {
            let at = (tile + x) * stack.pitch + channel;
            let mut columns = [[Lanes::zero(); A]; A];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = K::input_transposed(stack_column(stack, ms, j, at));
            }
            for i in 0..A {
                let xs = K::input_transposed(row(&columns, i));
                let row = &mut pixels[pixel + i * window.width + M * x..][..A];
                row.iter_mut().zip(xs).for_each(|(pixel, x)| *pixel = (Lanes(*pixel) + x).0);
            }
        }
    }
}
