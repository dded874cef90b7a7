//! Convolution, pooling, batch normalisation and upsampling.

mod avg_pool;
mod batch_norm;
mod conv;
mod conv_transpose;
mod max_pool;
mod upsample;

pub use avg_pool::{AdaptiveAvgPool1d, AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, GlobalAvgPool};
pub use batch_norm::{BatchNorm1d, BatchNorm2d, BatchNormConfig};
pub use conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig};
pub use conv_transpose::{ConvTranspose2d, ConvTranspose2dConfig};
pub use max_pool::{MaxPool1d, MaxPool2d};
pub use upsample::{Interpolation, Resize, Upsample};
