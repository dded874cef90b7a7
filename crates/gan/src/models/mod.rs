//! Generators and critics.

mod critic;
mod dcgan;
mod mlp;

pub use critic::{ClassHead, ImageCritic};
pub use dcgan::{CriticNorm, DcganConfig, DcganGenerator, dcgan_critic};
pub use mlp::{MlpCritic, MlpGanConfig, MlpGenerator};
