//! Between images and their column matrix, whose rows are (channel, kernel row, kernel column) of one group and whose
//! columns are (image, output row, output column).

use std::ops::Range;

use super::geometry::Geometry;
use crate::cpu::{Element, simd};

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
    if g.stride[1] == 2 {
        return Split::of(g, part).images_to_columns(g, part, xs, columns);
    }
    let (width, stride) = (g.output[1], g.stride[1]);
    part.for_each_row(g, |offset, channel, image, kx, row| {
        let to = &mut columns[offset..offset + width];
        let Some(row) = row else { return to.fill(T::zero()) };
        let from = &xs[((image * g.in_channels + channel) * g.input[0] + row) * g.input[1]..][..g.input[1]];
        let (inside, x) = g.output_columns(kx);
        let Some(to) = inner(to, inside) else { return };
        if stride == 1 {
            to.copy_from_slice(&from[x..x + to.len()]);
        } else {
            for (to, &from) in to.iter_mut().zip(from[x..].iter().step_by(stride)) {
                *to = from;
            }
        }
    });
}

/// The part of a row of columns that lies inside the image, if any; the rest becomes zero.
#[inline(always)]
fn inner<T: Element>(row: &mut [T], inside: Range<usize>) -> Option<&mut [T]> {
    row[..inside.start].fill(T::zero());
    row[inside.end..].fill(T::zero());
    if inside.is_empty() { None } else { Some(&mut row[inside]) }
}

/// Adds `columns` to the elements of `xs` (images, C, H, W) that they stand for.
pub(super) fn add_columns_to_images<T: Element>(g: &Geometry, part: &Part, columns: &[T], xs: &mut [T]) {
    if g.stride[1] == 2 {
        return Split::of(g, part).add_columns_to_images(g, part, columns, xs);
    }
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

/// At stride 2, a kernel column meets every other element of a row. With the even elements of each row before its odd
/// ones those are neighbours, and a row is taken apart once for all taps of the kernel.
struct Split {
    /// Rows of the image that the part meets.
    rows: Range<usize>,
    /// Even elements of a row, and room for as many odd ones.
    half: usize,
}

impl Split {
    fn of(g: &Geometry, part: &Part) -> Self {
        let first = part.rows.start * g.stride[0];
        let last = part.rows.end.saturating_sub(1) * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0];
        let end = (last + 1).saturating_sub(g.padding[0]).min(g.input[0]);
        Self { rows: first.saturating_sub(g.padding[0]).min(end)..end, half: g.input[1].div_ceil(2) }
    }

    fn len(&self, g: &Geometry, part: &Part) -> usize {
        part.images * g.group_in() * self.rows.len() * 2 * self.half
    }

    /// Where a row's halves begin.
    #[inline(always)]
    fn offset(&self, g: &Geometry, part: &Part, image: usize, channel: usize, row: usize) -> usize {
        let plane = image * g.group_in() + channel - part.group * g.group_in();
        (plane * self.rows.len() + row - self.rows.start) * 2 * self.half
    }

    /// Calls `run(row of an image, its place in the halves)` for all rows.
    fn for_each_image_row(&self, g: &Geometry, part: &Part, mut run: impl FnMut(usize, usize)) {
        for image in 0..part.images {
            for channel in part.group * g.group_in()..(part.group + 1) * g.group_in() {
                for row in self.rows.clone() {
                    let from = ((image * g.in_channels + channel) * g.input[0] + row) * g.input[1];
                    run(from, self.offset(g, part, image, channel, row));
                }
            }
        }
    }

    fn images_to_columns<T: Element>(&self, g: &Geometry, part: &Part, xs: &[T], columns: &mut [T]) {
        T::with_scratch(self.len(g, part), |halves| {
            simd(|| {
                self.for_each_image_row(g, part, |from, to| {
                    let (pairs, rest) = xs[from..from + g.input[1]].as_chunks::<2>();
                    let (even, odd) = halves[to..to + 2 * self.half].split_at_mut(self.half);
                    for ((even, odd), &[a, b]) in even.iter_mut().zip(odd).zip(pairs) {
                        (*even, *odd) = (a, b);
                    }
                    even[pairs.len()..].copy_from_slice(rest);
                });
            });
            part.for_each_row(g, |offset, channel, image, kx, row| {
                let to = &mut columns[offset..offset + g.output[1]];
                let Some(row) = row else { return to.fill(T::zero()) };
                let (inside, x) = g.output_columns(kx);
                let Some(to) = inner(to, inside) else { return };
                let from = self.offset(g, part, image, channel, row) + x % 2 * self.half + x / 2;
                to.copy_from_slice(&halves[from..from + to.len()]);
            });
        });
    }

    fn add_columns_to_images<T: Element>(&self, g: &Geometry, part: &Part, columns: &[T], xs: &mut [T]) {
        T::with_scratch(self.len(g, part), |halves| {
            halves.fill(T::zero());
            part.for_each_row(g, |offset, channel, image, kx, row| {
                let Some(row) = row else { return };
                let (inside, x) = g.output_columns(kx);
                let from = &columns[offset..offset + g.output[1]][inside];
                if from.is_empty() {
                    return;
                }
                let to = self.offset(g, part, image, channel, row) + x % 2 * self.half + x / 2;
                halves[to..to + from.len()].iter_mut().zip(from).for_each(|(to, &from)| *to += from);
            });
            self.for_each_image_row(g, part, |to, from| {
                let (even, odd) = halves[from..from + 2 * self.half].split_at(self.half);
                let (pairs, rest) = xs[to..to + g.input[1]].as_chunks_mut::<2>();
                rest.iter_mut().zip(&even[pairs.len()..]).for_each(|(x, &e)| *x += e);
                for ([a, b], (&even, &odd)) in pairs.iter_mut().zip(even.iter().zip(odd)) {
                    (*a, *b) = (*a + even, *b + odd);
                }
            });
        });
    }
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
