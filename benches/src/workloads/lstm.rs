//! One LSTM layer with a class for every step.

use glassbox::prelude::*;

use super::supervised::Supervised;
use super::{CHARACTERS, Size, sequences};

/// Multiply-adds a step: 4 · 256 · (128 + 256) + 256 · 65.
pub fn workload(size: Size) -> Result<Supervised> {
    let network = |vb| {
        Sequential::new(vb)
            .add_named("model", |vb| Lstm::new(128, 256, LstmConfig::default(), vb))?
            .add_named("head", |vb| Linear::new(256, CHARACTERS, vb))
    };
    Ok(Supervised::new(network, CrossEntropy::default(), sequences(size)?, size.dtype)?.of_sequences())
}
