//! The layers that every family uses.

mod activation;
mod dropout;
mod embedding;
mod linear;
mod mlp;
mod norm;

pub use activation::{LogSoftmax, PRelu, Softmax};
pub use dropout::{ChannelDropout, Dropout};
pub use embedding::Embedding;
pub use glassbox_kernels::activation::Activation;
pub use linear::Linear;
pub use mlp::{Mlp, MlpConfig};
pub use norm::{GroupNorm, LayerNorm, NormConfig, RmsNorm};

use crate::{Error, Result};

/// Fails where a layer's number of something is 0.
fn expect_count(what: &str, count: usize) -> Result<()> {
    if count > 0 { Ok(()) } else { Err(Error::invalid(what, "1 or more", count)) }
}
