//! Whole networks for classifying images.

mod lenet;
mod resnet;
mod small_cnn;

pub use lenet::{LeNet5, LeNet5Config};
pub use resnet::{ResNet, ResNetConfig, ResidualKind, Stem};
pub use small_cnn::{SmallCnn, SmallCnnConfig};
