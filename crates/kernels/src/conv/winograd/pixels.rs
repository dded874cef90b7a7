//! Between planes (channels, height, width) and pixels (height, width, [`LANES`] channels), in which the transforms of a
//! tile are vectors of channels.
//!
//! Nothing here runs compiled for the machine's best instructions: a compiler that knows of scattered stores takes them
//! for these loops, and they are slower than the plain ones.

use super::lanes::LANES;
use super::tiling::{Part, Planes, Tiling};
use crate::cpu::Element;

/// A window of every image of a part.
#[derive(Clone, Copy)]
pub(super) struct Window {
    images: usize,
    pub height: usize,
    pub width: usize,
    /// Row and column of the image where the window begins.
    pub origin: [isize; 2],
    /// Rows and columns of the image from one pixel to the next.
    step: usize,
}

impl Window {
    /// The inputs under the tiles of `part`.
    pub fn of_inputs(tiling: &Tiling, part: &Part) -> Self {
        Self::new(part, tiling.padding.map(|padding| -padding), tiling.taps - 1, tiling.from.step)
    }

    /// The outputs of the tiles of `part`.
    pub fn of_outputs(part: &Part) -> Self {
        Self::new(part, [0, 0], 0, 1)
    }

    fn new(part: &Part, [y, x]: [isize; 2], overlap: usize, step: usize) -> Self {
        Self {
            images: part.images,
            height: part.tile * part.rows.len() + overlap,
            width: part.tile * part.width + overlap,
            origin: [y + (step * part.tile * part.rows.start) as isize, x],
            step,
        }
    }

    /// Pixels of all windows.
    pub fn len(&self) -> usize {
        self.images * self.height * self.width
    }

    /// The row of the image under phase `phase` of a row of the window.
    pub fn row(&self, planes: &Planes, row: usize, phase: usize) -> Option<usize> {
        usize::try_from(self.origin[0] + (self.step * row + phase) as isize).ok().filter(|&y| y < planes.height)
    }

    /// The first column of the window inside the image, the column of the image there, and how many follow.
    fn columns(&self, planes: &Planes) -> (usize, usize, usize) {
        let skipped = self.origin[1].min(0).unsigned_abs().min(self.width);
        let first = self.origin[1].max(0) as usize;
        (skipped, first, planes.width.saturating_sub(first).min(self.width - skipped))
    }
}

/// Fills `pixels` with the windows of some channels of `images`, the first of which is `channel`; what lies outside the
/// image is zero.
pub(super) fn gather<T: Element>(
    planes: &Planes,
    window: &Window,
    channel: usize,
    images: &[T],
    pixels: &mut [[T; LANES]],
) {
    let (skipped, first, count) = window.columns(planes);
    let plane = planes.height * planes.width;
    for (row, pixels) in pixels.chunks_exact_mut(window.width).enumerate() {
        let (image, row) = (row / window.height, row % window.height);
        let Some(row) = window.row(planes, row, 0).filter(|_| count > 0) else {
            pixels.fill([T::zero(); LANES]);
            continue;
        };
        let (before, pixels) = pixels.split_at_mut(skipped);
        let (pixels, after) = pixels.split_at_mut(count);
        before.fill([T::zero(); LANES]);
        after.fill([T::zero(); LANES]);
        let at = image * planes.len() + row * planes.width + first;
        for group in (0..LANES).step_by(GROUP) {
            let mut rows: [&[T]; GROUP] = [&[]; GROUP];
            for (lane, from) in rows.iter_mut().enumerate() {
                // What lies beyond the last channel is never read as a result; any value does.
                let channel = (channel + group + lane).min(planes.channels - 1);
                *from = &images[at + channel * plane..][..count];
            }
            for (x, pixel) in pixels.iter_mut().enumerate() {
                let mut lanes = [T::zero(); GROUP];
                for (lane, row) in lanes.iter_mut().zip(&rows) {
                    *lane = row[x];
                }
                pixel[group..group + GROUP].copy_from_slice(&lanes);
            }
        }
    }
}

/// Channels that are read side by side.
const GROUP: usize = 8;

/// Writes `pixels`, the windows of some channels of `images`, to where they lie inside of them.
pub(super) fn scatter<T: Element>(
    planes: &Planes,
    window: &Window,
    channel: usize,
    pixels: &[[T; LANES]],
    images: &mut [T],
) {
    let plane = planes.height * planes.width;
    let count = planes.width.min(window.width);
    for (row, pixels) in pixels.chunks_exact(window.width).enumerate() {
        let (image, row) = (row / window.height, row % window.height);
        let Some(row) = window.row(planes, row, 0) else { continue };
        let at = image * planes.len() + row * planes.width;
        for lane in 0..LANES.min(planes.channels - channel) {
            let to = &mut images[at + (channel + lane) * plane..][..count];
            for (to, pixel) in to.iter_mut().zip(pixels) {
                *to = pixel[lane];
            }
        }
    }
}
