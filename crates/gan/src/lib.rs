//! Generative adversarial networks: losses, exact gradient penalties, layers, models, the training step, and measures of
//! what comes out.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod game;
mod input_gradient;
mod layers;
mod loss;
pub mod measures;
mod models;
mod penalty;
mod picture;
pub mod sampling;
#[cfg(feature = "images")]
mod snapshots;
mod step;

pub use game::{Critic, FromLatents, Generator, Verdict};
pub use input_gradient::{Branches, Chain, HalveImage, InputGradient, Pullback, SumPool, input_gradient};
pub use layers::{
    ConditionalBatchNorm2d, CriticDropout, GumbelSoftmax, MinibatchStd, NoiseInjection, PixelNorm, ProjectionHead,
    ScaledConv2d, ScaledLinear, SelfAttention, WeightScale,
};
pub use loss::AdversarialLoss;
pub use models::*;
pub use penalty::Penalty;
#[cfg(feature = "images")]
pub use picture::write_png;
pub use picture::{image_grid, scatter};
#[cfg(feature = "images")]
pub use snapshots::Snapshots;
pub use step::{DiffAugment, GanStep, InstanceNoise};
