//! Between images and their column matrix, whose rows are (channel, kernel row, kernel column) of one group and whose
//! columns are (image, output row, output column).

use std::ops::Range;

use super::geometry::Geometry;
use crate::cpu::Element;

/// What of a batch is handled together: the images of one block, one group's channels, a band of output rows.
#[derive(Clone)]
pub(super) struct Part {
    pub images: usize,
    pub group: usize,
    pub rows: Range<usize>,
}

impl Part {
    /// Columns of this part's matrix.
    pub fn columns(&self, geometry: &Geometry) -> usize {
        self.images * self.rows.len() * geometry.output[1]
    }

    /// Calls `run` with each stretch of `output[1]` columns: its offset in the column matrix, channel, image, kernel
    /// column, and the input row that it comes from (`None` for padding).
    #[inline(always)]
    fn for_each_row(&self, g: &Geometry, mut run: impl FnMut(usize, usize, usize, usize, Option<usize>)) {
        let mut offset = 0;
        for channel in self.group * g.group_in()..(self.group + 1) * g.group_in() {
            for ky in 0..g.kernel[0] {
                for kx in 0..g.kernel[1] {
                    for image in 0..self.images {
                        for oy in self.rows.clone() {
                            run(offset, channel, image, kx, g.input_row(oy, ky));
                            offset += g.output[1];
                        }
                    }
                }
            }
        }
    }
}

/// Fills `columns` from `xs`, the images of a block (images, C, H, W).
pub(super) fn images_to_columns<T: Element>(g: &Geometry, part: &Part, xs: &[T], columns: &mut [T]) {
    let (width, stride) = (g.output[1], g.stride[1]);
    part.for_each_row(g, |offset, channel, image, kx, row| {
        let to = &mut columns[offset..offset + width];
        let Some(row) = row else { return to.fill(T::zero()) };
        let from = &xs[((image * g.in_channels + channel) * g.input[0] + row) * g.input[1]..][..g.input[1]];
        let (inside, x) = g.output_columns(kx);
        to[..inside.start].fill(T::zero());
        to[inside.end..].fill(T::zero());
        if inside.is_empty() {
            return;
        }
        let to = &mut to[inside];
        if stride == 1 {
            to.copy_from_slice(&from[x..x + to.len()]);
        } else {
            for (to, &from) in to.iter_mut().zip(from[x..].iter().step_by(stride)) {
                *to = from;
            }
        }
    });
}

/// Adds `columns` to the elements of `xs` (images, C, H, W) that they stand for.
pub(super) fn add_columns_to_images<T: Element>(g: &Geometry, part: &Part, columns: &[T], xs: &mut [T]) {
    let (width, stride) = (g.output[1], g.stride[1]);
    part.for_each_row(g, |offset, channel, image, kx, row| {
        let Some(row) = row else { return };
        let to = &mut xs[((image * g.in_channels + channel) * g.input[0] + row) * g.input[1]..][..g.input[1]];
        let (inside, x) = g.output_columns(kx);
        let from = &columns[offset..offset + width][inside];
        if from.is_empty() {
            return;
        }
        if stride == 1 {
            for (to, &from) in to[x..x + from.len()].iter_mut().zip(from) {
                *to += from;
            }
        } else {
            for (to, &from) in to[x..].iter_mut().step_by(stride).zip(from) {
                *to += from;
            }
        }
    });
}

/// Copies one group's channels of `ys` (images, O, plane) to `columns` (O / groups, images, plane).
pub(super) fn gather_outputs<T: Element>(g: &Geometry, part: &Part, ys: &[T], columns: &mut [T]) {
    let plane = g.output_plane();
    for (row, columns) in columns.chunks_exact_mut(part.images * plane).enumerate() {
        for (image, columns) in columns.chunks_exact_mut(plane).enumerate() {
            let channel = image * g.out_channels + part.group * g.group_out() + row;
            columns.copy_from_slice(&ys[channel * plane..][..plane]);
        }
    }
}

/// Copies `columns` (O / groups, images, plane) to one group's channels of `ys` (images, O, plane), adding the bias.
pub(super) fn scatter_outputs<T: Element>(g: &Geometry, part: &Part, columns: &[T], bias: Option<&[T]>, ys: &mut [T]) {
    let plane = g.output_plane();
    for (row, columns) in columns.chunks_exact(part.images * plane).enumerate() {
        let channel = part.group * g.group_out() + row;
        let bias = bias.map_or(T::zero(), |bias| bias[channel]);
        for (image, columns) in columns.chunks_exact(plane).enumerate() {
            let ys = &mut ys[(image * g.out_channels + channel) * plane..][..plane];
            for (y, &column) in ys.iter_mut().zip(columns) {
                *y = column + bias;
            }
        }
    }
}
