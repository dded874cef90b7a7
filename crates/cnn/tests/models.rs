//! Whole models against PyTorch's and torchvision's.
#![allow(clippy::unwrap_used)]

mod formula;

use candle_core::{DType, Device, Tensor, Var};
use glassbox_cnn::*;
use glassbox_core::testkit::Golden;
use glassbox_core::{Activation, Layer, ParamStore, Pass, Result, Seed, TensorExt, VarBuilder};

fn golden() -> Golden {
    Golden::open("tests/fixtures/models.safetensors").unwrap()
}

/// The largest absolute difference.
fn difference(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.dims(), expected.dims());
    let (got, expected) = (got.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
    // A NaN must not be lost in the maximum.
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d <= m { m } else { d })
}

/// Logits in f64, and the gradients of Σ logits² at the image and at the first convolution.
fn check_small<L: Layer>(case: &str, shape: &[usize], make: impl Fn(VarBuilder) -> Result<L>) {
    let params = ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu);
    let model = make(params.root()).unwrap();
    formula::fill(&params).unwrap();
    let images = Var::from_tensor(&formula::images(shape, DType::F64).unwrap()).unwrap();
    let output = model.forward(images.as_tensor(), &Pass::train(Seed(1))).unwrap();
    let grads = output.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let weight = params.get("conv1.weight").unwrap();
    let got = [
        ("output", &output),
        ("grad_input", grads.get(images.as_tensor()).unwrap()),
        ("grad.conv1.weight", grads.get(weight.var().as_tensor()).unwrap()),
    ];
    for (name, got) in got {
        let difference = difference(got, golden().tensor(case, name).unwrap());
        // Values around 1 in f64.
        assert!(difference < 1e-12, "{case}/{name}: {difference}");
    }
}

#[test]
fn lenet() {
    check_small("lenet28", &[2, 1, 28, 28], |vb| LeNet5::new(LeNet5Config::default(), vb));
    let config = LeNet5Config { image_size: 32, ..Default::default() };
    check_small("lenet32", &[1, 1, 32, 32], |vb| LeNet5::new(config, vb));
}

#[test]
fn small_cnn() {
    let config = SmallCnnConfig {
        in_channels: 3,
        num_classes: 5,
        channels: vec![4, 6],
        hidden: 8,
        activation: Activation::Gelu,
        batch_norm: true,
        ..Default::default()
    };
    // Images of another size than configured: the fixture averages to 2 x 2 as well.
    check_small("small_cnn", &[3, 3, 13, 10], |vb| SmallCnn::new(config.clone(), vb));
}

/// Absolute; the logits are below 2 and in f32.
const LOGIT_TOLERANCE: f64 = 1e-4;

#[test]
fn resnet18_gives_torchvisions_logits() {
    let (golden, params) = (golden(), ParamStore::new(Seed(1), &Device::Cpu));
    let model = ResNet::new(ResNetConfig::resnet18(), params.root()).unwrap();
    formula::fill(&params).unwrap();
    let images = formula::images(&[4, 3, 64, 64], DType::F32).unwrap();
    for (case, pass) in [("resnet18.eval", Pass::eval()), ("resnet18.train", Pass::train(Seed(1)))] {
        let logits = model.forward(&images, &pass).unwrap();
        let difference = difference(&logits, golden.tensor(case, "output").unwrap());
        println!("{case}: largest difference {difference:e}");
        assert!(difference < LOGIT_TOLERANCE, "{case}: {difference}");
    }
    for name in ["bn1.running_mean", "layer4.1.bn2.running_var", "layer4.1.bn2.num_batches_tracked"] {
        let expected = golden.tensor("resnet18.train", &format!("after.{name}")).unwrap();
        assert!(difference(&params.get(name).unwrap().value(), expected) < 1e-5, "{name}");
    }
}

#[test]
fn resnet50_gives_torchvisions_logits() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = ResNetConfig { num_classes: 10, ..ResNetConfig::resnet50() };
    let model = ResNet::new(config, params.root()).unwrap();
    formula::fill(&params).unwrap();
    let logits = model.forward(&formula::images(&[1, 3, 64, 64], DType::F32).unwrap(), &Pass::eval()).unwrap();
    let difference = difference(&logits, golden().tensor("resnet50.eval", "output").unwrap());
    assert!(difference < LOGIT_TOLERANCE, "{difference}");
}

#[test]
fn names_and_shapes_are_torchvisions() {
    let list = include_str!("fixtures/torchvision_resnet.txt");
    let configs = [
        ("resnet18", ResNetConfig::resnet18(), 11_689_512),
        ("resnet34", ResNetConfig::resnet34(), 21_797_672),
        ("resnet50", ResNetConfig::resnet50(), 25_557_032),
    ];
    for (name, config, num_params) in configs {
        let params = ParamStore::new(Seed(1), &Device::Cpu);
        ResNet::new(config, params.root()).unwrap();
        let ours: Vec<String> =
            params.all().iter().map(|p| format!("{name} {} {:?}", p.name(), p.shape().dims())).collect();
        let theirs: Vec<&str> = list.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(ours, theirs);
        assert_eq!(params.num_params(), num_params);
    }
}

#[test]
fn zero_init_residual_starts_every_block_as_its_shortcut() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = ResNetConfig { width: 4, zero_init_residual: true, ..ResNetConfig::resnet50() };
    ResNet::new(config, params.root()).unwrap();
    for param in params.trainable().iter().filter(|p| p.name().ends_with("weight") && p.name().contains("bn")) {
        let zeros = param.value().to_f64_vec().unwrap().iter().all(|&v| v == 0.0);
        assert_eq!(zeros, param.name().ends_with("bn3.weight"), "{}", param.name());
    }
}

#[test]
fn cifar_stem_keeps_small_images_whole() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = ResNetConfig { width: 4, stem: Stem::Cifar, num_classes: 10, ..ResNetConfig::resnet18() };
    let model = ResNet::new(config, params.root()).unwrap();
    assert_eq!(params.get("conv1.weight").unwrap().shape().dims(), [4, 3, 3, 3]);
    let images = Tensor::zeros((2, 3, 32, 32), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(model.features(&images, &Pass::eval()).unwrap().dims(), [2, 32]);
    assert_eq!(model.forward(&images, &Pass::eval()).unwrap().dims(), [2, 10]);
}

#[test]
fn small_cnn_takes_other_images_with_a_change_of_its_configuration_only() {
    for (in_channels, size) in [(1, 8), (1, 28), (3, 8), (3, 32)] {
        let params = ParamStore::new(Seed(1), &Device::Cpu);
        let config = SmallCnnConfig { in_channels, image_size: size.into(), ..Default::default() };
        let model = SmallCnn::new(config, params.root()).unwrap();
        let images = Tensor::zeros((2, in_channels, size, size), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(model.features(&images, &Pass::eval()).unwrap().dims(), [2, 128]);
        assert_eq!(model.forward(&images, &Pass::eval()).unwrap().dims(), [2, 10]);
    }
}
