//! Convolution, pooling, batch normalisation and upsampling.

mod avg_pool;
mod batch_norm;
mod conv;
mod conv3d;
mod conv_transpose;
mod conv_transpose1d;
mod conv_transpose3d;
mod max_pool;
mod pool3d;
mod upsample;

pub use avg_pool::{AdaptiveAvgPool1d, AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, GlobalAvgPool};
pub use batch_norm::{BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormConfig};
pub use conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig};
pub use conv_transpose::{ConvTranspose2d, ConvTranspose2dConfig};
pub use conv_transpose1d::{ConvTranspose1d, ConvTranspose1dConfig};
pub use conv_transpose3d::{ConvTranspose3d, ConvTranspose3dConfig};
pub use conv3d::{Conv3d, Conv3dConfig};
pub use max_pool::{MaxPool1d, MaxPool2d};
pub use pool3d::{AdaptiveAvgPool3d, AvgPool3d, MaxPool3d};
pub use upsample::{Interpolation, Resize, Upsample};
