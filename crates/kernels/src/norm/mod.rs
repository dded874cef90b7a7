//! Normalisations.

mod batch;
mod group;
mod layer;
mod rms;

pub use batch::*;
pub use group::*;
pub use layer::*;
pub use rms::*;
