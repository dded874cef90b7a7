//! Layers of the families that are still to come, on the kernels that are there.

mod attention;

pub use attention::{CausalSelfAttention, MultiheadAttention};
