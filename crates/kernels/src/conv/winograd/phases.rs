//! Between planes taken apart into 2 x 2 phases and pixels: a convolution of stride 2 is the sum of the convolutions of
//! stride 1 of the phases, each with its share of the kernel's taps.
//!
//! The lanes of a pixel are (channel, row's phase, column's phase), so that two lanes are neighbours in the image too.

use super::lanes::LANES;
use super::pixels::Window;
use super::tiling::Planes;
use crate::cpu::Element;

/// Phases of a channel.
const PHASES: usize = 4;

/// As [`super::pixels::gather`]; `channel` counts phases.
pub(super) fn gather<T: Element>(
    planes: &Planes,
    window: &Window,
    channel: usize,
    images: &[T],
    pixels: &mut [[T; LANES]],
) {
    for (row, pixels) in pixels.chunks_exact_mut(window.width).enumerate() {
        pixels.fill([T::zero(); LANES]);
        for_each_row(planes, window, channel, row, |lane, at| {
            take_apart(&images[at..at + planes.width], before(window), pixels, lane);
        });
    }
}

/// Adds `pixels`, the windows of some channels of `images`, to where they lie inside of them.
pub(super) fn scatter_add<T: Element>(
    planes: &Planes,
    window: &Window,
    channel: usize,
    pixels: &[[T; LANES]],
    images: &mut [T],
) {
    for (row, pixels) in pixels.chunks_exact(window.width).enumerate() {
        for_each_row(planes, window, channel, row, |lane, at| {
            add_together(&mut images[at..at + planes.width], before(window), pixels, lane);
        });
    }
}

/// Columns of padding before the image.
fn before(window: &Window) -> usize {
    window.origin[1].min(0).unsigned_abs()
}

/// Calls `run(lane, place in the images)` for each row of an image under row `row` of the windows.
#[inline(always)]
fn for_each_row(planes: &Planes, window: &Window, channel: usize, row: usize, mut run: impl FnMut(usize, usize)) {
    let (image, row) = (row / window.height, row % window.height);
    let channel = channel / PHASES;
    for phase in 0..2 {
        let Some(row) = window.row(planes, row, phase) else { continue };
        for i in 0..(LANES / PHASES).min(planes.channels - channel) {
            let plane = image * planes.channels + channel + i;
            run(PHASES * i + 2 * phase, (plane * planes.height + row) * planes.width);
        }
    }
}

/// One row of an image, with `before` columns of padding, to lanes `lane` and `lane + 1`; what lies beyond the window is
/// left out.
#[inline(always)]
fn take_apart<T: Element>(image: &[T], before: usize, pixels: &mut [[T; LANES]], lane: usize) {
    // Known to be inside of a pixel, so that no access is checked.
    let lane = lane.min(LANES - 2);
    let odd = before % 2;
    let pixels = pixels.get_mut(before / 2..).unwrap_or_default();
    // With an odd padding the image begins with an element of the odd phase.
    if let (1, Some(pixel)) = (odd, pixels.first_mut()) {
        pixel[lane + 1] = image[0];
    }
    let (pairs, rest) = image[odd..].as_chunks::<2>();
    let pixels = pixels.get_mut(odd..).unwrap_or_default();
    for (pair, pixel) in pairs.iter().zip(pixels.iter_mut()) {
        (pixel[lane], pixel[lane + 1]) = (pair[0], pair[1]);
    }
    if let (Some(&last), Some(pixel)) = (rest.first(), pixels.get_mut(pairs.len())) {
        pixel[lane] = last;
    }
}

/// Adds lanes `lane` and `lane + 1` to one row of an image with `before` columns of padding.
#[inline(always)]
fn add_together<T: Element>(image: &mut [T], before: usize, pixels: &[[T; LANES]], lane: usize) {
    // Known to be inside of a pixel, so that no access is checked.
    let lane = lane.min(LANES - 2);
    let odd = before % 2;
    let pixels = pixels.get(before / 2..).unwrap_or_default();
    if let (1, Some(pixel)) = (odd, pixels.first()) {
        image[0] += pixel[lane + 1];
    }
    let (pairs, rest) = image[odd..].as_chunks_mut::<2>();
    let pixels = pixels.get(odd..).unwrap_or_default();
    for (pair, pixel) in pairs.iter_mut().zip(pixels) {
        *pair = [pair[0] + pixel[lane], pair[1] + pixel[lane + 1]];
    }
    if let (Some(last), Some(pixel)) = (rest.first_mut(), pixels.get(pairs.len())) {
        *last += pixel[lane];
    }
}
