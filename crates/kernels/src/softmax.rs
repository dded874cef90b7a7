//! softmax

use candle_core::Tensor;

/// Placeholder until the fused version lands.
pub fn softmax(xs: &Tensor, dim: usize) -> crate::Result<Tensor> {
    candle_nn::ops::softmax(xs, dim)
}

/// Placeholder until the fused version lands.
pub fn log_softmax(xs: &Tensor, dim: usize) -> crate::Result<Tensor> {
    candle_nn::ops::log_softmax(xs, dim)
}
