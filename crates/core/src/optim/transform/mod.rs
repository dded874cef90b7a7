//! Changes to gradients on their way to the optimizer.
//!
//! Wrong settings are found at the first [`GradTransform::apply`](super::GradTransform::apply).

mod accumulate;
mod clip;

pub use accumulate::Accumulate;
pub use clip::{ClipNorm, ClipValue};
