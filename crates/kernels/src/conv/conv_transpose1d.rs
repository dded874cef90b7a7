//! Transposed convolution of sequences.

use candle_core::Tensor;

use super::conv_transpose2d;
use super::params3d::ConvTranspose1dParams;
use crate::Result;

/// Spreads each element of `xs` over a window of the output, as PyTorch's `conv_transpose1d`: [`conv_transpose2d`] with a
/// height of 1, and the input gradient of [`conv1d`](super::conv1d) with the same weight.
///
/// `ys[n, o₀ + o, x·stride + j·dilation - padding] += weight[c, o, j] · xs[n, c, x]`, starting from `bias`.
///
/// # Shapes
/// `xs` (N, C, L), `weight` (C, O / groups, kernel size), `bias` (O) to (N, O, L') with
/// `L' = (L - 1) · stride - 2 · padding + dilation · (kernel size - 1) + output_padding + 1`.
///
/// # Errors
/// As [`conv_transpose2d`].
pub fn conv_transpose1d(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: &ConvTranspose1dParams,
) -> Result<Tensor> {
    if xs.rank() != 3 || weight.rank() != 3 {
        candle_core::bail!(
            "conv_transpose1d: expected xs (N, C, L) and weight (C, O / groups, kernel size), got {:?} and {:?}",
            xs.dims(),
            weight.dims()
        );
    }
    conv_transpose2d(&xs.unsqueeze(2)?, &weight.unsqueeze(2)?, bias, &params.as_2d())?.squeeze(2)
}
