//! Convolutional networks for Glassbox: layers, blocks, LeNet and ResNet.
//!
//! Images are tensors (batch, channels, height, width), sequences (batch, channels, length), volumes (batch, channels,
//! depth, height, width). Parameters have PyTorch's names, shapes and initial values, so weights go back and forth as
//! safetensors files.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use glassbox_cnn::{SmallCnn, SmallCnnConfig};
//! use glassbox_core::{Layer, ParamStore, Pass, Seed};
//!
//! let params = ParamStore::new(Seed(42), &Device::Cpu);
//! let model = SmallCnn::new(SmallCnnConfig { num_classes: 10, ..Default::default() }, params.root())?;
//! let digits = Tensor::zeros((2, 1, 8, 8), DType::F32, &Device::Cpu)?;
//! assert_eq!(model.forward(&digits, &Pass::eval())?.dims(), [2, 10]);
//! # Ok::<(), glassbox_core::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod blocks;
mod check;
pub mod layers;
pub mod models;
mod pair;
mod triple;

pub use blocks::*;
pub use layers::*;
pub use models::*;
pub use pair::{Padding, Pair};
pub use triple::Triple;

/// The README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
