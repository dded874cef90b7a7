//! Convolution from Candle's operations, for devices without a kernel of ours.
//!
//! Candle derives the size of the input gradient from the height alone and knows one stride, one padding and one
//! dilation for both axes. Its backward is right where the padded input is exactly as large as the windows cover, so
//! the input is padded and cut to that first.

use candle_core::Tensor;

use super::geometry::Geometry;
use crate::Result;
use crate::cpu::of_nothing;

/// The output of `geometry` from `xs` and `weight`.
pub(super) fn output(geometry: &Geometry, xs: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mut g = *geometry;
    if xs.elem_count() == 0 {
        return of_nothing((xs.dim(0)?, g.out_channels, g.output[0], g.output[1]), &[xs, weight]);
    }
    for axis in 0..2 {
        // What nothing depends on may as well agree with the other axis.
        if g.output[axis] == 1 {
            g.stride[axis] = g.stride[1 - axis];
        }
        if g.kernel[axis] == 1 {
            g.dilation[axis] = g.dilation[1 - axis];
        }
    }
    if g.dilation[0] != g.dilation[1] {
        let weight = spread(weight, g.dilation)?;
        let (_, _, height, width) = weight.dims4()?;
        return output(&Geometry { dilation: [1, 1], kernel: [height, width], ..g }, xs, &weight);
    }
    if g.stride[0] != g.stride[1] {
        let dense = [0, 1].map(|axis| (g.output[axis] - 1) * g.stride[axis] + 1);
        let ys = output(&Geometry { stride: [1, 1], output: dense, ..g }, xs, weight)?;
        return every(&every(&ys, 2, g.stride[0])?, 3, g.stride[1]);
    }
    let xs = fit(&fit(xs, 2, &g)?, 3, &g)?;
    xs.conv2d(&weight.contiguous()?, 0, g.stride[0], g.dilation[0], g.groups)
}

/// The input gradient of `geometry` from `ys` and `weight`: the transposed convolution, as a convolution of `ys` with
/// zeros between its elements.
pub(super) fn input_gradient(geometry: &Geometry, ys: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let g = geometry;
    let ys = spread(ys, g.stride)?;
    let output = [0, 1].map(|axis| (g.output[axis] - 1) * g.stride[axis] + 1);
    let (mut xs, mut padding) = (ys, [0; 2]);
    for axis in 0..2 {
        // Where the forward padding is wider than the kernel, the first elements of `ys` are never met.
        let reach = g.dilation[axis] * (g.kernel[axis] - 1);
        let cut = g.padding[axis].saturating_sub(reach).min(output[axis] - 1);
        xs = xs.narrow(axis + 2, cut, output[axis] - cut)?;
        padding[axis] = (reach + cut).saturating_sub(g.padding[axis]);
    }
    let swapped = Geometry {
        in_channels: g.out_channels,
        out_channels: g.in_channels,
        input: [xs.dim(2)?, xs.dim(3)?],
        output: g.input,
        stride: [1, 1],
        padding,
        ..*g
    };
    self::output(&swapped, &xs.contiguous()?, &flip_and_swap(g, weight)?)
}

/// (O, C / groups, ...) to (C, O / groups, ...), with the kernel turned by 180 degrees.
fn flip_and_swap(g: &Geometry, weight: &Tensor) -> Result<Tensor> {
    let [height, width] = g.kernel;
    let weight = weight.reshape((g.groups, g.group_out(), g.group_in(), height, width))?;
    let weight = weight.transpose(1, 2)?.reshape((g.in_channels, g.group_out(), height, width))?;
    let reversed = |len: usize| Tensor::from_iter((0..len as u32).rev(), weight.device());
    weight.contiguous()?.index_select(&reversed(height)?, 2)?.index_select(&reversed(width)?, 3)
}

/// Puts `step - 1` zeros between the elements of the last two dimensions.
fn spread(xs: &Tensor, step: [usize; 2]) -> Result<Tensor> {
    let (n, c, height, width) = xs.dims4()?;
    let xs = xs.reshape((n, c, height, 1, width, 1))?;
    let xs = xs.pad_with_zeros(3, 0, step[0] - 1)?.pad_with_zeros(5, 0, step[1] - 1)?;
    xs.reshape((n, c, height * step[0], width * step[1]))?
        .narrow(2, 0, (height - 1) * step[0] + 1)?
        .narrow(3, 0, (width - 1) * step[1] + 1)?
        .contiguous()
}

/// Every `step`-th element of a dimension.
fn every(xs: &Tensor, dim: usize, step: usize) -> Result<Tensor> {
    let indexes = (0..xs.dim(dim)? as u32).step_by(step);
    xs.contiguous()?.index_select(&Tensor::from_iter(indexes, xs.device())?, dim)
}

/// Pads and cuts a dimension to exactly what the windows cover.
fn fit(xs: &Tensor, dim: usize, g: &Geometry) -> Result<Tensor> {
    let axis = dim - 2;
    let covered = (g.output[axis] - 1) * g.stride[axis] + g.dilation[axis] * (g.kernel[axis] - 1) + 1;
    let before = g.padding[axis];
    let after = covered.saturating_sub(before + xs.dim(dim)?);
    xs.pad_with_zeros(dim, before, after)?.narrow(dim, 0, covered)?.contiguous()
}

/// Adds a bias to each channel of `ys` (N, C, H, W).
pub(super) fn add_bias(ys: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => ys.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(ys),
    }
}
