//! What models do beyond the contract of layers: learning, being watched, evaluating without a trace.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Tensor};
use glassbox_cnn::*;
use glassbox_core::candle_nn::loss::cross_entropy;
use glassbox_core::optim::AdamW;
use glassbox_core::{Gradients, Layer, Optimizer, ParamStore, Pass, Probe, Result, Seed, Seen, TensorExt};

/// 32 random images with random labels: nothing to understand, all to be learned by heart.
fn overfit(config: SmallCnnConfig) -> f64 {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = SmallCnn::new(config, params.root()).unwrap();
    let mut rng = Seed(2).rng();
    let images = rng.normal_tensor((32, 1, 8, 8), 0.0, 1.0, DType::F32, &Device::Cpu).unwrap();
    let labels: Vec<u32> = (0..32).map(|_| rng.below(10) as u32).collect();
    let labels = Tensor::new(labels, &Device::Cpu).unwrap();
    let mut optimizer = AdamW::new(&params, 3e-3).unwrap();
    for step in 0..40 {
        let logits = model.forward(&images, &Pass::train(Seed(3).index(step))).unwrap();
        let gradients = Gradients::of(&cross_entropy(&logits, &labels).unwrap(), &params).unwrap();
        gradients.expect_all(&params).unwrap();
        optimizer.step(&gradients, 1.0).unwrap();
    }
    let logits = model.forward(&images, &Pass::train(Seed(4))).unwrap();
    cross_entropy(&logits, &labels).unwrap().to_f64().unwrap()
}

#[test]
fn small_cnn_learns_a_batch_by_heart() {
    // From ln 10 = 2.3; below 0.1 all 32 labels are right.
    for batch_norm in [false, true] {
        let loss = overfit(SmallCnnConfig { batch_norm, ..Default::default() });
        assert!(loss < 0.1, "batch_norm {batch_norm}: {loss}");
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<(String, String, u64)>>);

impl Probe for Recorder {
    fn output(&self, seen: &Seen<'_>) -> Result<()> {
        self.0.lock().unwrap().push((seen.path.to_string(), seen.kind.to_string(), seen.multiply_adds));
        Ok(())
    }
}

fn watched<L: Layer>(model: &L, shape: &[usize]) -> Vec<(String, String, u64)> {
    let recorder = Arc::new(Recorder::default());
    let images = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    model.forward(&images, &Pass::eval().with_probe(recorder.clone())).unwrap();
    recorder.0.lock().unwrap().clone()
}

#[test]
fn a_probe_sees_every_layer_and_its_cost() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model =
        SmallCnn::new(SmallCnnConfig { batch_norm: true, ..Default::default() }, params.root().pp("net")).unwrap();
    let seen = watched(&model, &[1, 1, 8, 8]);
    let places: Vec<String> = seen.iter().map(|(path, kind, _)| format!("{path} {kind}")).collect();
    let expected = [
        "net.conv1 Conv2d",
        "net.bn1 BatchNorm2d",
        "net.act1 Relu",
        "net.pool1 MaxPool2d", //
        "net.conv2 Conv2d",
        "net.bn2 BatchNorm2d",
        "net.act2 Relu",
        "net.pool2 MaxPool2d",
        "net.grid AdaptiveAvgPool2d",
        "net.flatten Flatten",
        "net.fc1 Linear",
        "net.act Relu",
        "net.dropout Dropout",
        "net.fc2 Linear",
    ];
    assert_eq!(places, expected);
    let costs: Vec<u64> = seen.iter().map(|s| s.2).filter(|&cost| cost > 0).collect();
    assert_eq!(costs, [9 * 32 * 64, 9 * 32 * 64 * 16, 256 * 128, 128 * 10]);
}

#[test]
fn a_probe_sees_inside_residual_networks() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = ResNetConfig { width: 2, layers: [1; 4], ..ResNetConfig::resnet50() };
    let seen = watched(&ResNet::new(config, params.root()).unwrap(), &[1, 3, 32, 32]);
    let paths: Vec<&str> = seen.iter().map(|s| s.0.as_str()).collect();
    for path in ["conv1", "relu", "maxpool", "layer1.0.relu2", "layer4.0.downsample.0", "layer4.0", "avgpool", "fc"] {
        assert_eq!(paths.iter().filter(|&&p| p == path).count(), 1, "{path} in {paths:?}");
    }
}

#[test]
fn resnet18_costs_what_the_literature_says() {
    // 1.8 billion multiply-adds at 224 x 224; an eighth of the width in each direction is a 64th, but for the stem's 8th.
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = ResNetConfig { width: 8, ..ResNetConfig::resnet18() };
    let seen = watched(&ResNet::new(config, params.root()).unwrap(), &[1, 3, 224, 224]);
    let cost = |stem: bool| seen.iter().filter(|s| (s.0 == "conv1") == stem).map(|s| s.2).sum::<u64>();
    let head = 64 * 1000;
    assert_eq!(cost(true) * 8 + (cost(false) - head) * 64 + head * 8, 1_814_073_344);
}

#[test]
fn transposed_convolution_costs_by_its_input() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = ConvTranspose2dConfig { stride: 2.into(), ..Default::default() };
    let layer = ConvTranspose2d::new(3, 5, 2, config, params.root().pp("up")).unwrap();
    assert_eq!(watched(&layer, &[2, 3, 4, 4]), [("up".to_string(), "ConvTranspose2d".to_string(), 96 * 20)]);
}

#[test]
fn evaluation_leaves_no_trace_in_the_running_statistics() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let layer = BatchNorm2d::new(2, BatchNormConfig::default(), params.root()).unwrap();
    let images = Tensor::full(3f32, (2, 2, 3, 3), &Device::Cpu).unwrap();
    let mean = || params.get("running_mean").unwrap().value().to_f64_vec().unwrap();
    layer.forward(&images, &Pass::eval()).unwrap();
    assert_eq!(mean(), [0.0, 0.0]);
    layer.forward(&images, &Pass::train(Seed(1))).unwrap();
    // 0.1 of 3, in f32.
    assert!(mean().iter().all(|m| (m - 0.3).abs() < 1e-7), "{:?}", mean());
}
