//! Linear layers and convolutions: the gradient goes back through the same weight.

use candle_core::Tensor;
use glassbox_cnn::Conv2d;
use glassbox_core::{Layer, Linear, Pass, Result};
use glassbox_kernels::conv::{Conv2dParams, ConvTranspose2dParams, conv_transpose2d};
use glassbox_kernels::linear::linear;

use super::{InputGradient, Pullback};

impl InputGradient for Linear {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let ys = self.forward(xs, pass)?;
        Ok((ys, linear_pullback(self.weight().get(pass))))
    }
}

impl InputGradient for Conv2d {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let ys = self.forward(xs, pass)?;
        Ok((ys, conv2d_pullback(xs, self.weight().get(pass), *self.params())?))
    }
}

/// Of `y = x · weightᵀ`: `g · weight`.
pub(crate) fn linear_pullback(weight: Tensor) -> Pullback {
    Box::new(move |g| Ok(linear(g, &weight.t()?, None, None)?))
}

/// Of the convolution of `xs` by `weight`: the transposed convolution.
pub(crate) fn conv2d_pullback(xs: &Tensor, weight: Tensor, params: Conv2dParams) -> Result<Pullback> {
    let (_, _, height, width) = xs.dims4()?;
    let (_, _, kernel_height, kernel_width) = weight.dims4()?;
    let (size, kernel) = ([height, width], [kernel_height, kernel_width]);
    // Zeros around the input that differ between two sides are cut off afterwards.
    let even = params.padding.iter().all(|[before, after]| before == after);
    let padding = if even { params.padding.map(|[before, _]| before) } else { [0, 0] };
    // What the strides of the forward left over at the end.
    let rest = |axis: usize| {
        let padded = size[axis] + params.padding[axis].iter().sum::<usize>();
        (padded - params.dilation[axis] * (kernel[axis] - 1) - 1) % params.stride[axis]
    };
    let transposed = ConvTranspose2dParams {
        stride: params.stride,
        padding,
        output_padding: [rest(0), rest(1)],
        dilation: params.dilation,
        groups: params.groups,
    };
    Ok(Box::new(move |g| {
        let full = conv_transpose2d(g, &weight, None, &transposed)?;
        if even {
            return Ok(full);
        }
        Ok(full.narrow(2, params.padding[0][0], size[0])?.narrow(3, params.padding[1][0], size[1])?.contiguous()?)
    }))
}
