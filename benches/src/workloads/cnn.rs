//! A small convolutional network on images of MNIST's size.

use glassbox::Flatten;
use glassbox::prelude::*;

use super::supervised::Supervised;
use super::{Size, ids, normal};

/// Multiply-adds a sample: 28² · 32 · 9 + 14² · 64 · 288 + 3136 · 128 + 128 · 10.
pub fn workload(size: Size) -> Result<Supervised> {
    let samples = size.batch.unwrap_or(64);
    let batch = Batch { input: normal("input", (samples, 1, 28, 28))?, target: ids("target", 10, samples)? };
    Supervised::new(network, CrossEntropy::default(), batch, size.dtype)
}

fn network(vb: VarBuilder) -> Result<Sequential> {
    let same = Conv2dConfig { padding: 1.into(), ..Default::default() };
    Sequential::new(vb)
        .add(|vb| Conv2d::new(1, 32, 3, same, vb))?
        .add(|_| Ok(Activation::Relu))?
        .add(|_| Ok(MaxPool2d::new(2)))?
        .add(|vb| Conv2d::new(32, 64, 3, same, vb))?
        .add(|_| Ok(Activation::Relu))?
        .add(|_| Ok(MaxPool2d::new(2)))?
        .add(|_| Ok(Flatten))?
        .add(|vb| Linear::new(64 * 7 * 7, 128, vb))?
        .add(|_| Ok(Activation::Relu))?
        .add(|vb| Linear::new(128, 10, vb))
}
