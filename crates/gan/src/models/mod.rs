//! Generators and critics.

mod mlp;

pub use mlp::{MlpCritic, MlpGanConfig, MlpGenerator};
