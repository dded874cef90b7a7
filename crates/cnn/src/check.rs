//! Checks of shapes and configurations that several layers share.

use candle_core::Tensor;
use glassbox_core::{Error, Result};

/// Fails unless `xs` is (batch, `channels`, height, width).
pub(crate) fn expect_images(xs: &Tensor, channels: usize) -> Result<()> {
    match *xs.dims() {
        [_, c, _, _] if c == channels => Ok(()),
        _ => Err(wrong_input(format!("(batch, {channels}, height, width)"), xs)),
    }
}

/// Fails unless `xs` is (batch, `channels`, depth, height, width).
pub(crate) fn expect_volumes(xs: &Tensor, channels: usize) -> Result<()> {
    match *xs.dims() {
        [_, c, _, _, _] if c == channels => Ok(()),
        _ => Err(wrong_input(format!("(batch, {channels}, depth, height, width)"), xs)),
    }
}

/// Fails unless `xs` is (batch, `channels`, length).
pub(crate) fn expect_sequences(xs: &Tensor, channels: usize) -> Result<()> {
    match *xs.dims() {
        [_, c, _] if c == channels => Ok(()),
        _ => Err(wrong_input(format!("(batch, {channels}, length)"), xs)),
    }
}

pub(crate) fn wrong_input(expected: String, xs: &Tensor) -> Error {
    Error::invalid("input", expected, format!("{:?}", xs.dims()))
}

/// Fails unless every one of `values` is at least 1.
pub(crate) fn expect_positive(what: &str, values: &[usize]) -> Result<()> {
    if values.contains(&0) {
        return Err(Error::invalid(what, "at least 1", format!("{values:?}")));
    }
    Ok(())
}

/// Fails unless `groups` divides both numbers of channels, which are not 0.
pub(crate) fn expect_groups(groups: usize, in_channels: usize, out_channels: usize) -> Result<()> {
    expect_positive("in_channels and out_channels", &[in_channels, out_channels])?;
    if groups == 0 || !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
        let expected = format!("a divisor of in_channels {in_channels} and out_channels {out_channels}");
        return Err(Error::invalid("groups", expected, groups));
    }
    Ok(())
}

/// Fails unless a transposed convolution's `output_padding` is less than the larger of stride and dilation on every axis.
pub(crate) fn expect_output_padding(output_padding: &[usize], stride: &[usize], dilation: &[usize]) -> Result<()> {
    let windows = stride.iter().zip(dilation);
    if output_padding.iter().zip(windows).any(|(padding, (stride, dilation))| padding >= stride.max(dilation)) {
        let expected = format!("less than the larger of stride {stride:?} and dilation {dilation:?}");
        return Err(Error::invalid("output_padding", expected, format!("{output_padding:?}")));
    }
    Ok(())
}
