//! The Rust half of `tools/check_torchvision.py`, which exchanges weights of ResNet-18 with torchvision.
//!
//! `resnet_logits FOLDER` reads `FOLDER/torchvision.safetensors` (weights) and `FOLDER/images.safetensors` (`images`), and
//! writes `FOLDER/ours.safetensors` (weights of a seeded model of ours) and `FOLDER/logits.safetensors`: `torchvision` and
//! `ours`, the logits that our network gives with each.

use std::collections::HashMap;
use std::path::PathBuf;

use glassbox_cnn::{ResNet, ResNetConfig};
use glassbox_core::candle_core::{self, Device, Tensor};
use glassbox_core::{Error, Layer, ParamStore, Pass, Result, Seed};

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| Error::invalid("arguments", "a folder", "none"))?;
    let images = candle_core::safetensors::load(folder.join("images.safetensors"), &Device::Cpu)?;
    let images = images.get("images").ok_or_else(|| Error::invalid("images.safetensors", "`images`", "none"))?;
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = ResNet::new(ResNetConfig::resnet18(), params.root())?;
    // Fills the running statistics, so that they are part of what is exchanged.
    model.forward(images, &Pass::train(Seed(2)))?;
    params.save(folder.join("ours.safetensors"))?;
    let ours = model.forward(images, &Pass::eval())?;
    println!("{}", params.load(folder.join("torchvision.safetensors"))?);
    let logits: HashMap<&str, Tensor> =
        HashMap::from([("torchvision", model.forward(images, &Pass::eval())?), ("ours", ours)]);
    Ok(candle_core::safetensors::save(&logits, folder.join("logits.safetensors"))?)
}
