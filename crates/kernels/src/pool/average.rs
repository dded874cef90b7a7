//! Average pooling: a mean along each axis in turn.

use candle_core::Tensor;

use super::separable::{Axis, Taps, separable};
use super::{Pool1dParams, Pool2dParams, Windows, as_image, dims4};
use crate::Result;

/// The mean of each window, as PyTorch's `avg_pool2d`.
///
/// `ys[n, c, y, x] = Σ xs[n, c, window] / count`, where `count` is the number of elements under the window, with the
/// padding (zeros) counted where `count_include_pad` is true. PyTorch counts it by default.
///
/// # Shapes
/// `xs` (N, C, H, W) to (N, C, H', W') with `H' = (H + 2 · padding - kernel) / stride + 1`, rounded down, or up with
/// `ceil_mode` unless the last window would begin in the padding after the input; likewise W'.
///
/// # Errors
/// Where `xs` has not four dimensions, kernel or stride is 0, the padding exceeds half the kernel, or the kernel is
/// larger than the padded input.
pub fn avg_pool2d(xs: &Tensor, params: &Pool2dParams, count_include_pad: bool) -> Result<Tensor> {
    let [rows, columns] = average_axes("avg_pool2d", xs, params, count_include_pad)?;
    separable(xs, rows, columns)
}

/// The mean of each window of a sequence, as PyTorch's `avg_pool1d`; see [`avg_pool2d`].
///
/// # Shapes
/// `xs` (N, C, L) to (N, C, L').
///
/// # Errors
/// As [`avg_pool2d`], for three dimensions.
pub fn avg_pool1d(xs: &Tensor, params: &Pool1dParams, count_include_pad: bool) -> Result<Tensor> {
    as_image("avg_pool1d", xs, |xs| avg_pool2d(xs, &params.as_2d(), count_include_pad))
}

/// The mean of windows chosen such that the output has `output_size`, as PyTorch's `adaptive_avg_pool2d`.
///
/// Window i of n over a length L reaches from `floor(i · L / n)` to `ceil((i + 1) · L / n)`.
///
/// # Shapes
/// `xs` (N, C, H, W) to (N, C, `output_size[0]`, `output_size[1]`).
///
/// # Errors
/// Where `xs` has not four dimensions or an output size is 0.
pub fn adaptive_avg_pool2d(xs: &Tensor, output_size: [usize; 2]) -> Result<Tensor> {
    let [rows, columns] = adaptive_axes("adaptive_avg_pool2d", xs, output_size)?;
    separable(xs, rows, columns)
}

/// The mean of windows chosen such that the output has length `output_size`; see [`adaptive_avg_pool2d`].
///
/// # Shapes
/// `xs` (N, C, L) to (N, C, `output_size`).
///
/// # Errors
/// As [`adaptive_avg_pool2d`], for three dimensions.
pub fn adaptive_avg_pool1d(xs: &Tensor, output_size: usize) -> Result<Tensor> {
    as_image("adaptive_avg_pool1d", xs, |xs| adaptive_avg_pool2d(xs, [1, output_size]))
}

/// The mean of each channel: `ys[n, c] = Σ_{y, x} xs[n, c, y, x] / (H · W)`.
///
/// # Shapes
/// `xs` (N, C, H, W) to (N, C).
///
/// # Errors
/// Where `xs` has not four dimensions.
pub fn global_avg_pool2d(xs: &Tensor) -> Result<Tensor> {
    adaptive_avg_pool2d(xs, [1, 1])?.flatten_from(1)
}

pub(super) fn average_axes(
    name: &str,
    xs: &Tensor,
    params: &Pool2dParams,
    count_include_pad: bool,
) -> Result<[Axis; 2]> {
    let [_, _, height, width] = dims4(name, xs)?;
    let axis = |input, axis| -> Result<Axis> {
        let windows = Windows::new(name, input, params, axis)?;
        let taps = |index| {
            let range = windows.range(index);
            let count = if count_include_pad { windows.padded_len(index) } else { range.len() };
            Taps::mean(range, count)
        };
        Ok(Axis { input, taps: (0..windows.output).map(taps).collect() })
    };
    Ok([axis(height, 0)?, axis(width, 1)?])
}

pub(super) fn adaptive_axes(name: &str, xs: &Tensor, output_size: [usize; 2]) -> Result<[Axis; 2]> {
    let [_, _, height, width] = dims4(name, xs)?;
    if output_size.contains(&0) {
        candle_core::bail!("{name}: expected an output size of at least 1, got {output_size:?}");
    }
    let axis = |input: usize, output: usize| {
        let taps = |i: usize| {
            let range = i * input / output..((i + 1) * input).div_ceil(output);
            Taps::mean(range.clone(), range.len())
        };
        Axis { input, taps: (0..output).map(taps).collect() }
    };
    Ok([axis(height, output_size[0]), axis(width, output_size[1])])
}
