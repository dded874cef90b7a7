//! Convolution and transposed convolution, right and differentiable for every stride, padding, dilation and grouping.

mod channel_sum;
mod columns;
mod composed;
mod conv3d;
mod conv_transpose1d;
mod dense;
mod depth;
mod depthwise;
mod geometry;
mod op;
mod params;
mod params3d;
#[cfg(test)]
mod tests;
mod volume;
mod whole;
mod winograd;

pub use conv_transpose1d::conv_transpose1d;
pub use conv3d::{conv_transpose3d, conv3d};
pub use params::{Conv1dParams, Conv2dParams, ConvTranspose2dParams, same_padding, symmetric_padding};
pub use params3d::{Conv3dParams, ConvTranspose1dParams, ConvTranspose3dParams};

use candle_core::Tensor;

use crate::Result;
use crate::cpu::{by_float, check_same_kind, is_fused};
use crate::tail::{Tail, TailOp, Tailed};
use geometry::Geometry;
use op::{Convolution, Direction};

/// Slides `weight` over the last two dimensions of `xs`, as PyTorch's `conv2d`.
///
/// `ys[n, o, y, x] = bias[o] + Σ_{c, i, j} weight[o, c, i, j] · xs[n, c₀ + c, y·stride + i·dilation - top,
/// x·stride + j·dilation - left]`, where `c₀` is the first input channel of `o`'s group and elements outside `xs` are 0.
///
/// # Shapes
/// `xs` (N, C, H, W), `weight` (O, C / groups, kernel height, kernel width), `bias` (O) to (N, O, H', W') with
/// `H' = (top + H + bottom - dilation · (kernel height - 1) - 1) / stride + 1`, rounded down; likewise W'.
///
/// Padding may differ between the two sides of an axis, which PyTorch's function does not offer.
///
/// # Errors
/// Where a shape, dtype or device does not fit, a stride, dilation or group count is 0, the groups do not divide the
/// channels, or the kernel is larger than the padded input.
pub fn conv2d(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, params: &Conv2dParams) -> Result<Tensor> {
    conv2d_with(xs, weight, bias, params, &Tail::default()).map(|tailed| tailed.output)
}

/// [`conv2d`] and what follows it, in one operation.
///
/// # Shapes
/// As [`conv2d`], then those of the tail.
///
/// # Errors
/// As [`conv2d`], and where the tail does not fit.
pub fn conv2d_with(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: &Conv2dParams,
    tail: &Tail,
) -> Result<Tailed> {
    const NAME: &str = "conv2d";
    let geometry = Geometry::conv(NAME, &dims4(NAME, "xs", xs)?, &dims4(NAME, "weight", weight)?, params)?;
    check_operands(NAME, xs, weight, bias, geometry.out_channels)?;
    if is_fused(xs) {
        apply(Convolution { geometry, direction: Direction::Output }, xs, weight, bias, tail)
    } else {
        tail.composed(composed::add_bias(composed::output(&geometry, xs, weight)?, bias)?)
    }
}

/// Slides `weight` over the last dimension of `xs`, as PyTorch's `conv1d`: [`conv2d`] with a height of 1.
///
/// `ys[n, o, x] = bias[o] + Σ_{c, j} weight[o, c, j] · xs[n, c₀ + c, x·stride + j·dilation - before]`.
///
/// # Shapes
/// `xs` (N, C, L), `weight` (O, C / groups, kernel size), `bias` (O) to (N, O, L') with
/// `L' = (before + L + after - dilation · (kernel size - 1) - 1) / stride + 1`, rounded down.
///
/// # Errors
/// As [`conv2d`].
pub fn conv1d(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, params: &Conv1dParams) -> Result<Tensor> {
    if xs.rank() != 3 || weight.rank() != 3 {
        candle_core::bail!(
            "conv1d: expected xs (N, C, L) and weight (O, C / groups, kernel size), got {:?} and {:?}",
            xs.dims(),
            weight.dims()
        );
    }
    let params = Conv2dParams {
        stride: [1, params.stride],
        padding: [[0, 0], params.padding],
        dilation: [1, params.dilation],
        groups: params.groups,
    };
    conv2d(&xs.unsqueeze(2)?, &weight.unsqueeze(2)?, bias, &params)?.squeeze(2)
}

/// Spreads each element of `xs` over a window of the output, as PyTorch's `conv_transpose2d`: the input gradient of
/// [`conv2d`] with the same weight.
///
/// `ys[n, o₀ + o, y·stride + i·dilation - padding, x·stride + j·dilation - padding] += weight[c, o, i, j] · xs[n, c, y, x]`,
/// starting from `bias`, where `o₀` is the first output channel of `c`'s group.
///
/// # Shapes
/// `xs` (N, C, H, W), `weight` (C, O / groups, kernel height, kernel width), `bias` (O) to (N, O, H', W') with
/// `H' = (H - 1) · stride - 2 · padding + dilation · (kernel height - 1) + output_padding + 1`; likewise W'.
///
/// # Errors
/// As [`conv2d`], and where `output_padding` is not less than the larger of stride and dilation or nothing is left
/// after cutting `padding`.
pub fn conv_transpose2d(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: &ConvTranspose2dParams,
) -> Result<Tensor> {
    conv_transpose2d_with(xs, weight, bias, params, &Tail::default()).map(|tailed| tailed.output)
}

/// [`conv_transpose2d`] and what follows it, in one operation.
///
/// # Shapes
/// As [`conv_transpose2d`], then those of the tail.
///
/// # Errors
/// As [`conv_transpose2d`], and where the tail does not fit.
pub fn conv_transpose2d_with(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: &ConvTranspose2dParams,
    tail: &Tail,
) -> Result<Tailed> {
    const NAME: &str = "conv_transpose2d";
    let geometry = Geometry::transposed(NAME, &dims4(NAME, "xs", xs)?, &dims4(NAME, "weight", weight)?, params)?;
    check_operands(NAME, xs, weight, bias, geometry.in_channels)?;
    if is_fused(xs) {
        apply(Convolution { geometry, direction: Direction::Input }, xs, weight, bias, tail)
    } else {
        tail.composed(composed::add_bias(composed::input_gradient(&geometry, xs, weight)?, bias)?)
    }
}

fn apply(op: Convolution, xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, tail: &Tail) -> Result<Tailed> {
    let operands: Vec<&Tensor> = [xs, weight].into_iter().chain(bias).collect();
    by_float!("conv2d", xs.dtype(), T => TailOp::<T, _>::apply(op, &operands, xs, tail))
}

fn dims4(name: &str, what: &str, tensor: &Tensor) -> Result<[usize; 4]> {
    match *tensor.dims() {
        [a, b, c, d] => Ok([a, b, c, d]),
        _ => candle_core::bail!("{name}: expected {what} of four dimensions, got {:?}", tensor.dims()),
    }
}

fn check_operands(name: &str, xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, out_channels: usize) -> Result<()> {
    check_same_kind(name, xs, "weight", weight)?;
    let Some(bias) = bias else { return Ok(()) };
    check_same_kind(name, xs, "bias", bias)?;
    if bias.dims() != [out_channels] {
        candle_core::bail!("{name}: expected bias of shape [{out_channels}], got {:?}", bias.dims());
    }
    Ok(())
}
