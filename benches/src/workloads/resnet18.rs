//! ResNet-18 on images of CIFAR's size.

use glassbox::prelude::*;

use super::supervised::Supervised;
use super::{Size, ids, normal};

/// Multiply-adds: what the convolutions and the last layer report.
pub fn workload(size: Size) -> Result<Supervised> {
    let samples = size.batch.unwrap_or(32);
    let batch = Batch { input: normal("input", (samples, 3, 32, 32))?, target: ids("target", 10, samples)? };
    let config = ResNetConfig { num_classes: 10, stem: Stem::Cifar, ..ResNetConfig::resnet18() };
    Supervised::new(|vb| ResNet::new(config, vb), CrossEntropy::default(), batch, size.dtype)
}
