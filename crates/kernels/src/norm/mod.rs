//! Normalisation.

mod batch;
pub use batch::*;
