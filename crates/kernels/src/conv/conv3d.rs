//! Convolution and transposed convolution of volumes: videos, and scans of bodies.

use candle_core::Tensor;

use super::composed;
use super::depth::Depth;
use super::geometry::Geometry;
use super::params3d::{Conv3dParams, ConvTranspose3dParams};
use super::volume::Volumes;
use super::{check_operands, conv_transpose2d, conv2d};
use crate::Result;
use crate::cpu::is_fused;

/// From so many volumes on, working on whole ones keeps the threads busy.
const MIN_VOLUMES: usize = 4;

/// Slides `weight` over the last three dimensions of `xs`, as PyTorch's `conv3d`.
///
/// `ys[n, o, z, y, x] = bias[o] + Σ_{c, h, i, j} weight[o, c, h, i, j] · xs[n, c₀ + c, z·stride + h·dilation - front,
/// y·stride + i·dilation - top, x·stride + j·dilation - left]`, where `c₀` is the first input channel of `o`'s group and
/// elements outside `xs` are 0.
///
/// # Shapes
/// `xs` (N, C, D, H, W), `weight` (O, C / groups, kernel depth, kernel height, kernel width), `bias` (O) to
/// (N, O, D', H', W') with `D' = (front + D + back - dilation · (kernel depth - 1) - 1) / stride + 1`, rounded down;
/// likewise H' and W'.
///
/// Padding may differ between the two sides of an axis, which PyTorch's function does not offer.
///
/// # Errors
/// Where a shape, dtype or device does not fit, a stride, dilation or group count is 0, the groups do not divide the
/// channels, or the kernel is larger than the padded input.
pub fn conv3d(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, params: &Conv3dParams) -> Result<Tensor> {
    let op = convolution(xs, weight, params)?;
    check_operands("conv3d", xs, weight, bias, op.images.out_channels)?;
    if goes_by_columns(&op, xs) {
        let ys = conv2d(&xs.flatten_from(3)?, &weight.flatten_from(3)?, bias, &params.along_depth())?;
        return ys.reshape(op.output_dims().to_vec());
    }
    if is_fused(xs) { op.apply(xs, weight, bias) } else { composed_output(&op, xs, weight, bias) }
}

/// Spreads each element of `xs` over a window of the output, as PyTorch's `conv_transpose3d`: the input gradient of
/// [`conv3d`] with the same weight.
///
/// `ys[n, o₀ + o, z·stride + h·dilation - padding, …] += weight[c, o, h, i, j] · xs[n, c, z, y, x]`, height and width
/// likewise, starting from `bias`, where `o₀` is the first output channel of `c`'s group.
///
/// # Shapes
/// `xs` (N, C, D, H, W), `weight` (C, O / groups, kernel depth, kernel height, kernel width), `bias` (O) to
/// (N, O, D', H', W') with `D' = (D - 1) · stride - 2 · padding + dilation · (kernel depth - 1) + output_padding + 1`;
/// likewise H' and W'.
///
/// # Errors
/// As [`conv3d`], and where `output_padding` is not less than the larger of stride and dilation or nothing is left
/// after cutting `padding`.
pub fn conv_transpose3d(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: &ConvTranspose3dParams,
) -> Result<Tensor> {
    let op = transposed(xs, weight, params)?;
    check_operands("conv_transpose3d", xs, weight, bias, op.in_channels())?;
    if goes_by_columns(&op, xs) {
        let ys = conv_transpose2d(&xs.flatten_from(3)?, &weight.flatten_from(3)?, bias, &params.along_depth())?;
        return ys.reshape(op.input_dims().to_vec());
    }
    if is_fused(xs) { op.apply(xs, weight, bias) } else { composed_input(&op, xs, weight, bias) }
}

/// Whether the kernel has one row and one column, so that volumes (N, C, D, H · W) are images, and there are enough.
fn goes_by_columns(op: &Volumes, xs: &Tensor) -> bool {
    op.images.is_pointwise() && (op.batch() >= MIN_VOLUMES || !is_fused(xs))
}

pub(super) fn convolution(xs: &Tensor, weight: &Tensor, params: &Conv3dParams) -> Result<Volumes> {
    const NAME: &str = "conv3d";
    let [n, c, depth, height, width] = dims5(NAME, "xs", xs)?;
    let [o, group_in, taps, rows, columns] = dims5(NAME, "weight", weight)?;
    check_steps(NAME, params.stride, params.dilation)?;
    let along = Geometry::conv(NAME, &[n, c, depth, 1], &[o, group_in, taps, 1], &params.along_depth())?;
    let depth = Depth::of(&along);
    let (images, weight) = ([n * depth.output, c * taps, height, width], [o, group_in * taps, rows, columns]);
    let images = Geometry::conv(&of_slices(NAME), &images, &weight, &params.of_slices())?;
    Ok(Volumes { depth, images, transposed: false })
}

fn transposed(xs: &Tensor, weight: &Tensor, params: &ConvTranspose3dParams) -> Result<Volumes> {
    const NAME: &str = "conv_transpose3d";
    let [n, c, depth, height, width] = dims5(NAME, "xs", xs)?;
    let [rows_in, group_out, taps, rows, columns] = dims5(NAME, "weight", weight)?;
    check_steps(NAME, params.stride, params.dilation)?;
    let along = Geometry::transposed(NAME, &[n, c, depth, 1], &[rows_in, group_out, taps, 1], &params.along_depth())?;
    let depth = Depth::of(&along);
    let (images, weight) = ([n * depth.output, c, height, width], [c, group_out * taps, rows, columns]);
    let images = Geometry::transposed(&of_slices(NAME), &images, &weight, &params.of_slices())?;
    let op = Volumes { depth, images, transposed: true };
    // The one buffer that neither geometry has checked.
    let dims = op.input_dims();
    match dims.iter().try_fold(16usize, |len, &size| len.checked_mul(size)) {
        Some(len) if len <= isize::MAX as usize => Ok(op),
        _ => candle_core::bail!("{NAME}: an output of {dims:?} elements is too large"),
    }
}

/// The name for errors about the slices, whose axes are not the volumes'.
fn of_slices(name: &str) -> String {
    format!("{name} of slices (N, C, H, W)")
}

/// The convolution from Candle's operations.
fn composed_output(op: &Volumes, xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ys = composed::output(&op.images, &op.depth.unfold_composed(xs)?, &op.image_weight(weight)?)?;
    let [n, o, depth, height, width] = op.output_dims();
    composed::add_bias(ys, bias)?.reshape((n, depth, o, height, width))?.transpose(1, 2)?.contiguous()
}

/// The transposed convolution from Candle's operations.
fn composed_input(op: &Volumes, xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let images = Depth::each(op.depth.output).unfold_composed(xs)?;
    let images = composed::input_gradient(&op.images, &images, &op.image_weight(weight)?)?;
    let ys = op.depth.fold_composed(&images)?;
    match bias {
        Some(bias) => ys.broadcast_add(&bias.reshape((1, (), 1, 1, 1))?),
        None => Ok(ys),
    }
}

fn dims5(name: &str, what: &str, tensor: &Tensor) -> Result<[usize; 5]> {
    match *tensor.dims() {
        [n, c, d, h, w] if ![c, d, h, w].contains(&0) => Ok([n, c, d, h, w]),
        _ => candle_core::bail!(
            "{name}: expected {what} of five dimensions, none but the batch empty, got {:?}",
            tensor.dims()
        ),
    }
}

fn check_steps(name: &str, stride: [usize; 3], dilation: [usize; 3]) -> Result<()> {
    for (what, steps) in [("stride", stride), ("dilation", dilation)] {
        if steps.contains(&0) {
            candle_core::bail!("{name}: expected a {what} of at least 1, got {steps:?}");
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn composed_for_test(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: &Conv3dParams,
) -> Result<Tensor> {
    composed_output(&convolution(xs, weight, params)?, xs, weight, bias)
}

#[cfg(test)]
pub(super) fn composed_transposed_for_test(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: &ConvTranspose3dParams,
) -> Result<Tensor> {
    composed_input(&transposed(xs, weight, params)?, xs, weight, bias)
}
