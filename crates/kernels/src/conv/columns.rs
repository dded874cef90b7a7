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
}

/// Fills `columns` from `xs`, the images of a block (images, C, H, W).
pub(super) fn images_to_columns<T: Element>(g: &Geometry, part: &Part, xs: &[T], columns: &mut [T]) {
    let padded = Padded::of(g, part);
    T::with_scratch(padded.len(g, part), |rows| {
        simd(|| {
            rows.fill(T::zero());
            padded.for_each_image_row(g, part, |image, row| padded.take_apart(g, &xs[image], &mut rows[row]));
            padded.for_each_row(g, part, |column, row| copy_row(&mut columns[column], &rows[row]));
        });
    });
}

/// Adds `columns` to the elements of `xs` (images, C, H, W) that they stand for.
pub(super) fn add_columns_to_images<T: Element>(g: &Geometry, part: &Part, columns: &[T], xs: &mut [T]) {
    let padded = Padded::of(g, part);
    T::with_scratch(padded.len(g, part), |rows| {
        simd(|| {
            rows.fill(T::zero());
            padded.for_each_row(g, part, |column, row| add_row(&mut rows[row], &columns[column]));
            padded.for_each_image_row(g, part, |image, row| padded.add_together(g, &rows[row], &mut xs[image]));
        });
    });
}

/// The rows of an image that a part meets, with the padding around them, and each taken apart into phases: the elements
/// a stride apart are neighbours, so that what one tap of the kernel meets along an output row is one stretch of a phase.
struct Padded {
    /// Padded rows, the first of which is the first under the part's first output row.
    rows: usize,
    /// The image rows among them, and the padded row of the first one.
    inside: Range<usize>,
    first: usize,
    /// Elements of a phase.
    phase: usize,
}

impl Padded {
    fn of(g: &Geometry, part: &Part) -> Self {
        let start = part.rows.start * g.stride[0];
        let span = |outputs: usize, axis: usize| {
            outputs.saturating_sub(1) * g.stride[axis] + (g.kernel[axis] - 1) * g.dilation[axis] + 1
        };
        let rows = span(part.rows.len(), 0);
        let inside = start.saturating_sub(g.padding[0])..(start + rows).saturating_sub(g.padding[0]).min(g.input[0]);
        let first = g.padding[0].saturating_sub(start);
        Self { rows, inside, first, phase: span(g.output[1], 1).div_ceil(g.stride[1]) }
    }

    fn row_len(&self, g: &Geometry) -> usize {
        g.stride[1] * self.phase
    }

    fn len(&self, g: &Geometry, part: &Part) -> usize {
        part.images * g.group_in() * self.rows * self.row_len(g)
    }

    /// Calls `run(place in the image block, place of the padded row)` for every row of an image.
    #[inline(always)]
    fn for_each_image_row(&self, g: &Geometry, part: &Part, mut run: impl FnMut(Range<usize>, Range<usize>)) {
        let (width, row_len) = (g.input[1], self.row_len(g));
        for image in 0..part.images {
            for channel in 0..g.group_in() {
                let plane = image * g.in_channels + part.group * g.group_in() + channel;
                let padded = (image * g.group_in() + channel) * self.rows + self.first;
                for (i, row) in self.inside.clone().enumerate() {
                    let (from, to) = ((plane * g.input[0] + row) * width, (padded + i) * row_len);
                    run(from..from + width, to..to + row_len);
                }
            }
        }
    }

    /// Calls `run(place in the columns, place in the padded rows)` for every output row under every tap.
    #[inline(always)]
    fn for_each_row(&self, g: &Geometry, part: &Part, mut run: impl FnMut(Range<usize>, Range<usize>)) {
        let (width, row_len) = (g.output[1], self.row_len(g));
        let mut column = 0;
        for channel in 0..g.group_in() {
            for ky in 0..g.kernel[0] {
                for kx in 0..g.kernel[1] {
                    let x = kx * g.dilation[1];
                    let start = x % g.stride[1] * self.phase + x / g.stride[1];
                    for image in 0..part.images {
                        let plane = image * g.group_in() + channel;
                        let mut row = (plane * self.rows + ky * g.dilation[0]) * row_len + start;
                        for _ in 0..part.rows.len() {
                            run(column..column + width, row..row + width);
                            column += width;
                            row += g.stride[0] * row_len;
                        }
                    }
                }
            }
        }
    }

    /// The element of phase 0 of a padded row that the image's first element would be, and its phase.
    fn origin(&self, g: &Geometry) -> (usize, usize) {
        (g.padding[1] / g.stride[1], g.padding[1] % g.stride[1])
    }

    /// One row of an image to its phases; elements that no output meets are left out.
    #[inline(always)]
    fn take_apart<T: Element>(&self, g: &Geometry, image: &[T], row: &mut [T]) {
        let (at, phase) = self.origin(g);
        match g.stride[1] {
            1 => {
                let len = image.len().min(row.len().saturating_sub(at));
                row[at.min(self.phase)..][..len].copy_from_slice(&image[..len]);
            }
            2 => {
                let (even, odd) = row.split_at_mut(self.phase);
                // With an odd padding the image begins with an element of the odd phase.
                let (head, image) = image.split_at(phase.min(image.len()));
                head.iter().zip(odd.iter_mut().skip(at)).for_each(|(&x, odd)| *odd = x);
                let at = at + phase;
                let (even, odd) = (&mut even[at.min(self.phase)..], &mut odd[at.min(self.phase)..]);
                let (pairs, rest) = image.as_chunks::<2>();
                even.iter_mut().zip(pairs).for_each(|(even, pair)| *even = pair[0]);
                odd.iter_mut().zip(pairs).for_each(|(odd, pair)| *odd = pair[1]);
                even.iter_mut().skip(pairs.len()).zip(rest).for_each(|(even, &x)| *even = x);
            }
            stride => {
                for (i, &x) in image.iter().enumerate() {
                    let i = i + g.padding[1];
                    if i / stride < self.phase {
                        row[i % stride * self.phase + i / stride] = x;
                    }
                }
            }
        }
    }

    /// Adds the phases of a row to the elements of the image.
    #[inline(always)]
    fn add_together<T: Element>(&self, g: &Geometry, row: &[T], image: &mut [T]) {
        let (at, phase) = self.origin(g);
        match g.stride[1] {
            1 => image.iter_mut().zip(&row[at.min(self.phase)..]).for_each(|(x, &r)| *x += r),
            2 => {
                let (even, odd) = row.split_at(self.phase);
                let (head, image) = image.split_at_mut(phase.min(image.len()));
                head.iter_mut().zip(odd.iter().skip(at)).for_each(|(x, &odd)| *x += odd);
                let at = (at + phase).min(self.phase);
                let (even, odd) = (&even[at..], &odd[at..]);
                let (pairs, rest) = image.as_chunks_mut::<2>();
                let both = pairs.len().min(even.len()).min(odd.len());
                for (pair, (&even, &odd)) in pairs.iter_mut().zip(even[..both].iter().zip(&odd[..both])) {
                    *pair = [pair[0] + even, pair[1] + odd];
                }
                // The last output may end between the two of a pair.
                if let (Some(pair), Some(&even)) = (pairs.get_mut(both), even.get(both)) {
                    pair[0] += even;
                }
                rest.iter_mut().zip(even.iter().skip(pairs.len())).for_each(|(x, &even)| *x += even);
            }
            stride => {
                for (i, x) in image.iter_mut().enumerate() {
                    let i = i + g.padding[1];
                    if i / stride < self.phase {
                        *x += row[i % stride * self.phase + i / stride];
                    }
                }
            }
        }
    }
}

/// Copies a short row: the usual lengths in one or a few instructions instead of a call.
#[inline(always)]
fn copy_row<T: Element>(to: &mut [T], from: &[T]) {
    #[inline(always)]
    fn fixed<T: Element, const N: usize>(to: &mut [T], from: &[T]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
            *to = *from;
        }
    }
    match to.len() {
        1 => fixed::<T, 1>(to, from),
        2 => fixed::<T, 2>(to, from),
        4 => fixed::<T, 4>(to, from),
        8 => fixed::<T, 8>(to, from),
        16 => fixed::<T, 16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Adds a short row; see [`copy_row`].
#[inline(always)]
fn add_row<T: Element>(to: &mut [T], from: &[T]) {
    #[inline(always)]
    fn fixed<T: Element, const N: usize>(to: &mut [T], from: &[T]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to += from);
        }
    }
    match to.len() {
        1 => fixed::<T, 1>(to, from),
        4 => fixed::<T, 4>(to, from),
        8 => fixed::<T, 8>(to, from),
        16 => fixed::<T, 16>(to, from),
        _ => to.iter_mut().zip(from).for_each(|(to, &from)| *to += from),
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
