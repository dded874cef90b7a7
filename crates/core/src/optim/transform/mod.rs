//! Changes to gradients on their way to the optimizer.

mod accumulate;
mod clip;

pub use accumulate::Accumulate;
pub use clip::{ClipNorm, ClipValue};
