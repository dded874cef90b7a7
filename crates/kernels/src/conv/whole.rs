//! Convolution by a kernel that covers the whole input: one output pixel, and so the products of a linear layer, for which
//! the images are their own columns.

use super::geometry::Geometry;
use crate::cpu::{Element, Matrix, product_of};

/// Whether the kernel meets each input element once, and nothing else.
pub(super) fn serves(g: &Geometry) -> bool {
    g.groups == 1 && g.kernel == g.input && g.output == [1, 1] && g.padding == [0, 0] && g.dilation == [1, 1]
}

/// `ys[n, o] = bias[o] + Σ_k weight[o, k] · xs[n, k]`.
pub(super) fn output<T: Element>(g: &Geometry, xs: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let (depth, out) = (g.depth(), g.out_channels);
    let lhs = Matrix::rows(xs, depth); // (N, C · H · W)
    let rhs = Matrix::rows(weight, depth).transposed(); // (C · H · W, O)
    add_channels((g.batch, depth, out), lhs, rhs, bias, 1)
}

/// `xs[n, k] = Σ_o weight[o, k] · ys[n, o]`, plus a bias per channel of `xs`.
pub(super) fn input_gradient<T: Element>(g: &Geometry, ys: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let (depth, out) = (g.depth(), g.out_channels);
    let lhs = Matrix::rows(ys, out); // (N, O)
    let rhs = Matrix::rows(weight, depth); // (O, C · H · W)
    add_channels((g.batch, out, depth), lhs, rhs, bias, g.taps())
}

/// `weight[o, k] = Σ_n ys[n, o] · xs[n, k]`.
pub(super) fn weight_gradient<T: Element>(g: &Geometry, xs: &[T], ys: &[T]) -> Vec<T> {
    let (depth, out) = (g.depth(), g.out_channels);
    let lhs = Matrix::rows(ys, out).transposed(); // (O, N)
    product_of((out, g.batch, depth), lhs, Matrix::rows(xs, depth), None)
}

/// The product of two matrices, and the bias of each channel, which is `plane` columns of it.
fn add_channels<T: Element>(
    size: (usize, usize, usize),
    lhs: Matrix<T>,
    rhs: Matrix<T>,
    bias: Option<&[T]>,
    plane: usize,
) -> Vec<T> {
    let Some(bias) = bias else { return product_of(size, lhs, rhs, None) };
    let finish = |column: usize, row: &mut [T]| {
        row.iter_mut().enumerate().for_each(|(j, x)| *x += bias[(column + j) / plane]);
    };
    product_of(size, lhs, rhs, Some(&finish))
}
