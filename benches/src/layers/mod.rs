//! Layers of the families that are still to come, on the kernels that are there.

mod attention;
mod kernels;

pub use attention::{CausalSelfAttention, MultiheadAttention};
