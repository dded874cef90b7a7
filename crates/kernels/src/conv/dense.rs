//! The three directions of a convolution as matrix products on column matrices: a job is a block of images, the
//! products inside it are serial.

use rayon::prelude::*;

use super::columns::{Part, add_columns_to_images, gather_outputs, images_to_columns, scatter_outputs};
use super::geometry::Geometry;
use crate::cpu::{Element, Matrix, product, transpose_into, zeros_in_chunks};

/// Elements of all partial weight gradients together, at most, where a partial one is not already larger.
const PARTIAL_ELEMENTS: usize = 1 << 22;
/// Partial weight gradients at most; fixed, so that the order of the sum never depends on the number of threads.
const MAX_PARTIALS: usize = 16;

/// `ys[n, o, p] = bias[o] + Σ_k weight[o, k] · columns(xs)[n, k, p]`.
pub(super) fn output<T: Element>(g: &Geometry, xs: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let images = g.images_per_block();
    let (input, output) = (g.in_channels * g.input_plane(), g.out_channels * g.output_plane());
    zeros_in_chunks(g.batch * output, images * output, |i, ys| {
        let xs = &xs[i * images * input..][..ys.len() / output * input];
        for part in parts(g, ys.len() / output, images) {
            output_part(g, &part, xs, weight, bias, ys);
        }
    })
}

/// `xs = images(Σ_o weight[o, k] · ys[n, o, p])`, plus a bias per channel of `xs`.
pub(super) fn input_gradient<T: Element>(g: &Geometry, ys: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let images = g.images_per_block();
    let (input, output) = (g.in_channels * g.input_plane(), g.out_channels * g.output_plane());
    let weight = transposed_groups(g, weight);
    zeros_in_chunks(g.batch * input, images * input, |i, xs| {
        let ys = &ys[i * images * output..][..xs.len() / input * output];
        if let Some(bias) = bias {
            fill_channels(xs, g.input_plane(), bias);
        }
        for part in parts(g, ys.len() / output, images) {
            input_part(g, &part, ys, &weight, xs);
        }
    })
}

/// `weight[o, k] = Σ_{n, p} ys[n, o, p] · columns(xs)[n, k, p]`.
pub(super) fn weight_gradient<T: Element>(g: &Geometry, xs: &[T], ys: &[T]) -> Vec<T> {
    let (input, output) = (g.in_channels * g.input_plane(), g.out_channels * g.output_plane());
    let len = g.out_channels * g.depth();
    let images = g.images_per_block();
    let blocks = g.batch.div_ceil(images);
    let partials = (PARTIAL_ELEMENTS / len).clamp(2, MAX_PARTIALS).min(blocks).max(1);
    let chunk = blocks.div_ceil(partials).max(1) * images;
    let mut sums = vec![T::zero(); g.batch.div_ceil(chunk).max(1) * len];
    let chunks = xs.par_chunks(chunk * input).zip(ys.par_chunks(chunk * output));
    sums.par_chunks_mut(len).zip(chunks).for_each(|(sum, (xs, ys))| {
        for (xs, ys) in xs.chunks(images * input).zip(ys.chunks(images * output)) {
            for part in parts(g, ys.len() / output, images) {
                weight_part(g, &part, xs, ys, sum);
            }
        }
    });
    let sum = sum_partials(sums, len);
    if packs_outputs(g) { transposed_back(g, &sum) } else { sum }
}

/// The parts of a block of `images` images.
fn parts(g: &Geometry, images: usize, images_per_block: usize) -> impl Iterator<Item = Part> {
    let (groups, height, rows) = (g.groups, g.output[0], g.rows_per_band(images_per_block));
    // A pointwise convolution builds no columns, so nothing has to fit in a cache.
    let rows = if g.is_pointwise() { height } else { rows };
    (0..groups).flat_map(move |group| {
        (0..height).step_by(rows).map(move |y| Part { images, group, rows: y..(y + rows).min(height) })
    })
}

/// Runs `run` on this part's column matrix and the distance between its rows.
fn with_columns<T: Element>(g: &Geometry, part: &Part, xs: &[T], run: impl FnOnce(&[T], usize)) {
    if g.is_pointwise() && part.images == 1 {
        let plane = g.input_plane();
        return run(&xs[part.group * g.group_in() * plane..], plane);
    }
    let columns = part.columns(g);
    T::with_scratch(g.depth() * columns, |scratch| {
        images_to_columns(g, part, xs, scratch);
        run(scratch, columns);
    });
}

/// Runs `run` on this part's output matrix (O / groups, columns) and the distance between its rows.
fn with_outputs<T: Element>(g: &Geometry, part: &Part, ys: &[T], run: impl FnOnce(&[T], usize)) {
    if part.images == 1 {
        return run(&ys[output_offset(g, part)..], g.output_plane());
    }
    let columns = part.columns(g);
    T::with_scratch(g.group_out() * columns, |scratch| {
        gather_outputs(g, part, ys, scratch);
        run(scratch, columns);
    });
}

/// Where the output matrix of a part of one image begins.
fn output_offset(g: &Geometry, part: &Part) -> usize {
    part.group * g.group_out() * g.output_plane() + part.rows.start * g.output[1]
}

fn output_part<T: Element>(g: &Geometry, part: &Part, xs: &[T], weight: &[T], bias: Option<&[T]>, ys: &mut [T]) {
    let (rows, depth, columns) = (g.group_out(), g.depth(), part.columns(g));
    let size = (rows, depth, columns);
    let weight = Matrix::rows(&weight[part.group * rows * depth..], depth);
    with_columns(g, part, xs, |matrix, row_stride| {
        let matrix = Matrix::rows(matrix, row_stride);
        if part.images > 1 {
            return T::with_scratch(rows * columns, |scratch| {
                product(size, scratch, columns, false, weight, matrix);
                scatter_outputs(g, part, scratch, bias, ys);
            });
        }
        let ys = &mut ys[output_offset(g, part)..];
        if let Some(bias) = bias {
            for (row, &bias) in bias[part.group * rows..][..rows].iter().enumerate() {
                ys[row * g.output_plane()..][..columns].fill(bias);
            }
        }
        product(size, ys, g.output_plane(), bias.is_some(), weight, matrix);
    });
}

/// `weight` is transposed within each group: (groups, depth, O / groups), so that the product need not pack it.
fn input_part<T: Element>(g: &Geometry, part: &Part, ys: &[T], weight: &[T], xs: &mut [T]) {
    let (depth, rows, columns) = (g.depth(), g.group_out(), part.columns(g));
    let size = (depth, rows, columns);
    let weight = Matrix::rows(&weight[part.group * rows * depth..], rows);
    with_outputs(g, part, ys, |matrix, row_stride| {
        let matrix = Matrix::rows(matrix, row_stride);
        if g.is_pointwise() && part.images == 1 {
            let plane = g.input_plane();
            return product(size, &mut xs[part.group * depth * plane..], plane, true, weight, matrix);
        }
        T::with_scratch(depth * columns, |scratch| {
            product(size, scratch, columns, false, weight, matrix);
            add_columns_to_images(g, part, scratch, xs);
        });
    });
}

/// The operand whose rows become the vectors of the product has to be packed, since the sum runs along its rows; that
/// is the outputs where they have fewer rows than the columns and enough to fill a vector.
fn packs_outputs(g: &Geometry) -> bool {
    (16..=g.depth()).contains(&g.group_out())
}

fn weight_part<T: Element>(g: &Geometry, part: &Part, xs: &[T], ys: &[T], sum: &mut [T]) {
    let (rows, depth, columns) = (g.group_out(), g.depth(), part.columns(g));
    let sum = &mut sum[part.group * rows * depth..][..rows * depth];
    with_columns(g, part, xs, |matrix, row_stride| {
        let inputs = Matrix::rows(matrix, row_stride);
        with_outputs(g, part, ys, |matrix, row_stride| {
            let outputs = Matrix::rows(matrix, row_stride);
            if packs_outputs(g) {
                product((depth, columns, rows), sum, rows, true, inputs, outputs.transposed());
            } else {
                product((rows, columns, depth), sum, depth, true, outputs, inputs.transposed());
            }
        });
    });
}

/// The sum of `sums.len() / len` vectors, in their order.
fn sum_partials<T: Element>(mut sums: Vec<T>, len: usize) -> Vec<T> {
    let (first, others) = sums.split_at_mut(len);
    for other in others.chunks_exact(len) {
        for (sum, &value) in first.iter_mut().zip(other) {
            *sum += value;
        }
    }
    sums.truncate(len);
    sums
}

/// (groups, O / groups, depth) to (groups, depth, O / groups).
fn transposed_groups<T: Element>(g: &Geometry, weight: &[T]) -> Vec<T> {
    transpose_each(weight, g.groups, g.group_out(), g.depth())
}

/// (groups, depth, O / groups) to (groups, O / groups, depth).
fn transposed_back<T: Element>(g: &Geometry, weight: &[T]) -> Vec<T> {
    transpose_each(weight, g.groups, g.depth(), g.group_out())
}

/// Transposes each of `count` matrices of `rows` x `columns`.
fn transpose_each<T: Element>(from: &[T], count: usize, rows: usize, columns: usize) -> Vec<T> {
    let mut to = vec![T::zero(); from.len()];
    for (from, to) in from.chunks_exact(rows * columns).zip(to.chunks_exact_mut(rows * columns)).take(count) {
        transpose_into(from, columns, to);
    }
    to
}

/// Sets each plane of `xs` (images, channels, plane) to its channel's value.
pub(super) fn fill_channels<T: Element>(xs: &mut [T], plane: usize, values: &[T]) {
    for (xs, &value) in xs.chunks_exact_mut(plane).zip(values.iter().cycle()) {
        xs.fill(value);
    }
}
