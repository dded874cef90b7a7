//! Losses whose fused form is more stable or needs far less memory than one made of smaller operations.

mod bce;
mod cross_entropy;

pub use bce::bce_with_logits;
pub use cross_entropy::{cross_entropy, cross_entropy_denominator};
