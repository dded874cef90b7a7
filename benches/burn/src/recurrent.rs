//! Recurrent networks over 64 steps of 128 features, with a class for every step.

use burn::module::Module;
use burn::nn::{BiGru, BiGruConfig, Linear, LinearConfig, Lstm, LstmConfig};
use burn::tensor::{Device, Int, Tensor};

use crate::train::{Step, integers, normal, supervised, token_loss};

const CLASSES: usize = 65;

/// Inputs `[32, 64, 128]` and a class for each of the steps.
fn batch(device: &Device) -> (Tensor<3>, Tensor<2, Int>) {
    (normal([32, 64, 128], device), integers([32, 64], CLASSES, device))
}

#[derive(Module, Debug)]
struct LstmClassifier {
    lstm: Lstm,
    head: Linear,
}

pub fn lstm(device: &Device) -> Step {
    let model = LstmClassifier {
        lstm: LstmConfig::new(128, 256, true).init(device),
        head: LinearConfig::new(256, CLASSES).init(device),
    };
    let (inputs, targets) = batch(device);
    supervised(model, move |model| {
        let (outputs, _) = model.lstm.forward(inputs.clone(), None);
        token_loss(model.head.forward(outputs), targets.clone())
    })
}

/// Burn's layer is one layer deep: two of them, the second over the outputs of both directions of the first.
#[derive(Module, Debug)]
struct BiGruClassifier {
    layers: Vec<BiGru>,
    head: Linear,
}

pub fn bigru(device: &Device) -> Step {
    let model = BiGruClassifier {
        layers: [128, 512].map(|inputs| BiGruConfig::new(inputs, 256, true).init(device)).into(),
        head: LinearConfig::new(512, CLASSES).init(device),
    };
    let (inputs, targets) = batch(device);
    supervised(model, move |model| {
        let outputs = model.layers.iter().fold(inputs.clone(), |x, layer| layer.forward(x, None).0);
        token_loss(model.head.forward(outputs), targets.clone())
    })
}
