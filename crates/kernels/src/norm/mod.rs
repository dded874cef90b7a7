//! Normalisations.

mod group;
mod layer;
mod rms;
pub use group::*;
pub use layer::*;
pub use rms::*;
