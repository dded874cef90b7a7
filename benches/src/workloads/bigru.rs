//! Two GRU layers in both directions with a class for every step.

use glassbox::prelude::*;

use super::supervised::Supervised;
use super::{CHARACTERS, Size, sequences};
use crate::layers::BidirectionalGru;

/// Multiply-adds a step: 2 · 3 · 256 · (128 + 256) + 2 · 3 · 256 · (512 + 256) + 512 · 65.
pub fn workload(size: Size) -> Result<Supervised> {
    let network = |vb| {
        Sequential::new(vb)
            .add_named("model", |vb| BidirectionalGru::new(128, 256, 2, vb))?
            .add_named("head", |vb| Linear::new(2 * 256, CHARACTERS, vb))
    };
    Ok(Supervised::new(network, CrossEntropy::default(), sequences(size)?, size.dtype)?.of_sequences())
}
