//! Views: what one kind of network does inside, what it gets wrong, what its data and its descent look like.
//!
//! Each view is a function over tensors, or over a closure that runs the network, so that it works for any model; each
//! gives numbers, and most have a `figure` for the [report](crate::report).

pub mod adversarial;
pub mod attention;
pub mod convolution;
pub mod data;
pub mod descent;
pub(crate) mod figures;
pub mod labels;
mod mistakes;
pub mod recurrence;

pub use mistakes::{BINS, Mistakes, Worst};
