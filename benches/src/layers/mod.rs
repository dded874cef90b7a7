//! Layers of the families that are still to come, on the kernels that are there.

mod attention;
mod recurrent;

pub use attention::{CausalSelfAttention, MultiheadAttention};
pub use recurrent::{BidirectionalGru, Lstm};
