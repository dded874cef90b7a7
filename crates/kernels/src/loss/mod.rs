//! Losses on logits, fused with the reduction over their elements.

mod bce;
mod cross_entropy;
mod ctc;

pub use bce::bce_with_logits;
pub use cross_entropy::cross_entropy;
pub use ctc::{CtcParams, ctc};

/// How the losses of the elements become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean (weighted, where the loss has weights).
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// They stay as they are.
    None,
}
