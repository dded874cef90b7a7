//! Two GRU layers in both directions with a class for every step.

use glassbox::prelude::*;

use super::supervised::Supervised;
use super::{CHARACTERS, Size, sequences};

/// Multiply-adds a step: 2 · 3 · 256 · (128 + 256) + 2 · 3 · 256 · (512 + 256) + 512 · 65.
pub fn workload(size: Size) -> Result<Supervised> {
    let layers = GruConfig { num_layers: 2, bidirectional: true, ..Default::default() };
    let network = |vb| {
        Sequential::new(vb)
            .add_named("model", |vb| Gru::new(128, 256, layers, vb))?
            .add_named("head", |vb| Linear::new(2 * 256, CHARACTERS, vb))
    };
    Ok(Supervised::new(network, CrossEntropy::default(), sequences(size)?, size.dtype)?.of_sequences())
}
