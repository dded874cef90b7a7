//! What goes wrong is an error that says where, what was expected and what came.

use candle_core::{DType, Device, Tensor};
use glassbox_cnn::*;
use glassbox_core::{Layer, ParamStore, Pass, Result, Seed, Sequential, VarBuilder};

fn root() -> VarBuilder {
    ParamStore::new(Seed(1), &Device::Cpu).root()
}

#[track_caller]
fn assert_error<T>(result: Result<T>, parts: &[&str]) {
    let message = result.err().map(|e| e.to_string()).unwrap_or_default();
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
}

#[test]
fn configurations() {
    let (plain, vb) = (Conv2dConfig::default(), root().pp("stem"));
    let conv = |config| Conv2d::new(4, 6, 3, config, vb.clone());
    let expected = "at `stem`: groups: expected a divisor of in_channels 4 and out_channels 6, got 4";
    assert_error(conv(Conv2dConfig { groups: 4, ..plain }), &[expected]);
    assert_error(conv(Conv2dConfig { groups: 0, ..plain }), &["groups", "got 0"]);
    assert_error(conv(Conv2dConfig { stride: (1, 0).into(), ..plain }), &["at `stem`: stride: expected at least 1"]);
    assert_error(conv(Conv2dConfig { dilation: 0.into(), ..plain }), &["dilation: expected at least 1"]);
    let same = Conv2dConfig { padding: Padding::Same, stride: 2.into(), ..plain };
    assert_error(conv(same), &["at `stem`: padding `Same`: expected stride 1, got stride [2, 2]"]);
    assert_error(Conv2d::new(4, 6, 0, plain, root()), &["kernel_size: expected at least 1"]);
    assert_error(
        Conv2d::new(0, 6, 3, plain, root()),
        &["in_channels and out_channels: expected at least 1, got [0, 6]"],
    );
    let config = Conv1dConfig { padding: Padding::Same, stride: 3, ..Default::default() };
    assert_error(Conv1d::new(1, 1, 3, config, root()), &["padding `Same`: expected stride 1"]);
    let config = ConvTranspose2dConfig { stride: 2.into(), output_padding: 2.into(), ..Default::default() };
    assert_error(ConvTranspose2d::new(1, 1, 3, config, root()), &["output_padding: expected less than the larger"]);
    let config = ConvTranspose1dConfig { dilation: 0, ..Default::default() };
    assert_error(ConvTranspose1d::new(1, 1, 3, config, root()), &["dilation: expected at least 1, got [0]"]);
    let config = ConvTranspose1dConfig { output_padding: 1, ..Default::default() };
    assert_error(ConvTranspose1d::new(1, 1, 3, config, root()), &["output_padding: expected less than the larger"]);
    let config = ConvTranspose3dConfig { stride: (2, 1, 2).into(), output_padding: 1.into(), ..Default::default() };
    let expected =
        "output_padding: expected less than the larger of stride [2, 1, 2] and dilation [1, 1, 1], got [1, 1, 1]";
    assert_error(ConvTranspose3d::new(1, 1, 3, config, root()), &[expected]);
    assert_error(ConvTranspose3d::new(3, 1, (1, 0, 1), config, root()), &["kernel_size: expected at least 1"]);
    let plain = Conv3dConfig::default();
    assert_error(
        Conv3d::new(4, 6, 3, Conv3dConfig { groups: 4, ..plain }, root().pp("c")),
        &["at `c`: groups: expected"],
    );
    let config = Conv3dConfig { stride: (1, 2, 1).into(), padding: Padding::Same, ..plain };
    assert_error(Conv3d::new(4, 6, 3, config, root()), &["padding `Same`: expected stride 1, got stride [1, 2, 1]"]);
    assert_error(Conv3d::new(4, 6, (3, 0, 3), plain, root()), &["kernel_size: expected at least 1, got [3, 0, 3]"]);
    let config = BatchNormConfig::default();
    assert_error(BatchNorm2d::new(0, config, root()), &["num_features: expected at least 1"]);
    let infinite = BatchNormConfig { eps: f64::INFINITY, ..config };
    assert_error(BatchNorm1d::new(3, infinite, root()), &["eps: expected a finite number of at least 0, got inf"]);
    let nan = BatchNormConfig { momentum: Some(f64::NAN), ..config };
    assert_error(BatchNorm1d::new(3, nan, root()), &["momentum: expected within [0, 1], or none, got NaN"]);
}

#[test]
fn configurations_of_models() {
    let config = LeNet5Config { image_size: 30, ..Default::default() };
    assert_error(LeNet5::new(config, root()), &["image_size: expected 28 or 32, got 30"]);
    let config = SmallCnnConfig { image_size: 3.into(), ..Default::default() };
    assert_error(SmallCnn::new(config, root()), &["image_size: expected large enough to be halved 2 times, got 3 x 3"]);
    let config = SmallCnnConfig { channels: vec![1; 100], ..Default::default() };
    assert_error(SmallCnn::new(config, root()), &["halved 100 times"]);
    let config = SmallCnnConfig { channels: vec![], ..Default::default() };
    assert_error(SmallCnn::new(config, root()), &["channels: expected at least one convolution"]);
    let config = SmallCnnConfig { dropout: 1.5, ..Default::default() };
    assert_error(SmallCnn::new(config, root()), &["dropout probability"]);
    let config = ResNetConfig { layers: [1, 0, 1, 1], ..ResNetConfig::resnet18() };
    assert_error(ResNet::new(config, root()), &["layers: expected at least 1, got [1, 0, 1, 1]"]);
}

fn forward<L: Layer>(layer: Result<L>, shape: &[usize]) -> Result<Tensor> {
    layer?.forward(&Tensor::zeros(shape, DType::F32, &Device::Cpu)?, &Pass::train(Seed(1)))
}

#[test]
fn inputs() {
    let conv = || Conv2d::new(3, 4, 3, Conv2dConfig::default(), root().pp("stem.conv"));
    let expected = "at `stem.conv`: input: expected (batch, 3, height, width), got [2, 4, 8, 8]";
    assert_error(forward(conv(), &[2, 4, 8, 8]), &[expected]);
    assert_error(forward(conv(), &[3, 8, 8]), &["expected (batch, 3, height, width), got [3, 8, 8]"]);
    assert_error(forward(conv(), &[1, 3, 2, 8]), &["at `stem.conv`", "kernel"]);
    let conv = Conv1d::new(3, 4, 3, Conv1dConfig::default(), root().pp("c"));
    assert_error(forward(conv, &[2, 5, 8]), &["at `c`: input: expected (batch, 3, length), got [2, 5, 8]"]);
    let conv = || Conv3d::new(3, 4, 3, Conv3dConfig::default(), root().pp("c"));
    let expected = "at `c`: input: expected (batch, 3, depth, height, width), got [3, 8, 8, 8]";
    assert_error(forward(conv(), &[3, 8, 8, 8]), &[expected]);
    assert_error(forward(conv(), &[1, 3, 2, 8, 8]), &["at `c`: conv3d: expected a kernel", "(2) on axis 2, got 3"]);
    let conv = ConvTranspose3d::new(3, 4, 3, ConvTranspose3dConfig::default(), root().pp("c"));
    assert_error(forward(conv, &[1, 2, 8, 8, 8]), &["at `c`: input: expected (batch, 3, depth, height, width)"]);
    let conv = ConvTranspose1d::new(3, 4, 3, ConvTranspose1dConfig::default(), root().pp("c"));
    assert_error(forward(conv, &[1, 2, 8]), &["at `c`: input: expected (batch, 3, length), got [1, 2, 8]"]);
    let norm = BatchNorm3d::new(3, BatchNormConfig::default(), root().pp("bn"));
    assert_error(forward(norm, &[1, 3, 2, 2]), &["at `bn`: input: expected (batch, 3, depth, height, width)"]);
    let pool = MaxPool3d::new(3);
    assert_error(forward(Ok(pool), &[1, 1, 3, 3, 2]), &["max_pool3d: expected a kernel", "(2) on axis 4, got 3"]);
    let norm = || BatchNorm1d::new(3, BatchNormConfig::default(), root().pp("bn"));
    assert_error(forward(norm(), &[2, 5]), &["at `bn`: input: expected (batch, 3) or (batch, 3, length), got [2, 5]"]);
    assert_error(forward(norm(), &[1, 3]), &["at `bn`", "more than 1 element per channel, got 1"]);
    let pool = |pool| Sequential::new(root().pp("m")).add(|_| Ok(pool));
    assert_error(forward(pool(MaxPool2d::new(3)), &[1, 1, 2, 2]), &["at `m.0`", "kernel no larger than"]);
    assert_error(forward(pool(MaxPool2d::new(3).padding(2)), &[1, 1, 8, 8]), &["padding of at most half the kernel"]);
    assert_error(forward(pool(MaxPool2d::new(0)), &[1, 1, 8, 8]), &["of at least 1"]);
    let up = |factor| forward(Ok(Upsample::nearest(Resize::by(factor))), &[1, 1, 2, 2]);
    assert_error(up(f64::NAN), &["scale factor: expected above 0, and a size below 1e9, got NaN of 2"]);
    assert_error(up(1e12), &["scale factor"]);
    assert_error(up(0.1), &["output size of at least 1 x 1"]);
    let lenet = LeNet5::new(LeNet5Config::default(), root().pp("net"));
    assert_error(
        forward(lenet, &[1, 1, 32, 32]),
        &["at `net`: input: expected (batch, 1, 28, 28), got [1, 1, 32, 32]"],
    );
}
