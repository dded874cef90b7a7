//! Layers and blocks against PyTorch's and torchvision's: outputs, gradients and running statistics, in f64.
#![allow(clippy::unwrap_used)]

use glassbox_cnn::*;
use glassbox_core::testkit::Golden;
use glassbox_core::{Activation, Layer, ParamStore, Pass, Result, Seed, TensorExt, VarBuilder};

fn golden() -> Golden {
    Golden::open("tests/fixtures/layers.safetensors").unwrap()
}

/// Against the case in training, and in evaluation where the fixture holds that too.
#[track_caller]
fn check<L: Layer>(case: &str, make: impl Fn(VarBuilder) -> Result<L>) {
    let golden = golden();
    golden.check_layer_in(case, &Pass::train(Seed(1)), &make);
    let evaluation = format!("{case}.eval");
    if golden.cases().contains(&evaluation.as_str()) {
        golden.check_layer(&evaluation, make);
    }
}

#[test]
fn conv1d() {
    let config = Conv1dConfig { stride: 2, padding: 2.into(), dilation: 2, ..Default::default() };
    check("conv1d", |vb| Conv1d::new(3, 4, 3, config, vb));
    let config = Conv1dConfig { padding: Padding::Same, groups: 2, bias: false, ..Default::default() };
    check("conv1d.same", |vb| Conv1d::new(4, 4, 4, config, vb));
}

#[test]
fn conv2d() {
    let plain = Conv2dConfig::default();
    check("conv2d", |vb| Conv2d::new(3, 4, 3, plain, vb));
    let both = (1, 2);
    let strided =
        Conv2dConfig { stride: (2, 1).into(), padding: both.into(), dilation: both.into(), groups: 2, ..plain };
    check("conv2d.strided", |vb| Conv2d::new(4, 6, (3, 2), strided, vb));
    let same = Conv2dConfig { padding: Padding::Same, dilation: both.into(), bias: false, ..plain };
    check("conv2d.same", |vb| Conv2d::new(2, 3, (2, 4), same, vb));
    let depthwise = Conv2dConfig { stride: 2.into(), padding: 1.into(), groups: 3, ..plain };
    check("conv2d.depthwise", |vb| Conv2d::new(3, 3, 3, depthwise, vb));
}

#[test]
fn conv_transpose2d() {
    let config = ConvTranspose2dConfig { stride: 2.into(), padding: 1.into(), ..Default::default() };
    check("conv_transpose2d", |vb| ConvTranspose2d::new(3, 4, 4, config, vb));
    let config = ConvTranspose2dConfig {
        stride: (2, 3).into(),
        padding: (1, 0).into(),
        output_padding: (1, 2).into(),
        groups: 2,
        bias: false,
        dilation: (2, 1).into(),
        ..Default::default()
    };
    check("conv_transpose2d.grouped", |vb| ConvTranspose2d::new(4, 6, (3, 2), config, vb));
}

#[test]
fn conv3d() {
    let plain = Conv3dConfig::default();
    check("conv3d", |vb| Conv3d::new(2, 3, 3, plain, vb));
    let strided = Conv3dConfig {
        stride: (2, 1, 2).into(),
        padding: (1, 2, 0).into(),
        dilation: (2, 1, 1).into(),
        groups: 2,
        ..plain
    };
    check("conv3d.strided", |vb| Conv3d::new(4, 2, (2, 3, 1), strided, vb));
    let same = Conv3dConfig { padding: Padding::Same, dilation: (1, 1, 2).into(), bias: false, ..plain };
    check("conv3d.same", |vb| Conv3d::new(2, 2, (3, 2, 2), same, vb));
    check("conv3d.pointwise", |vb| Conv3d::new(2, 3, 1, plain, vb));
}

#[test]
fn conv_transpose1d() {
    let config = ConvTranspose1dConfig { stride: 2, padding: 1, ..Default::default() };
    check("conv_transpose1d", |vb| ConvTranspose1d::new(3, 4, 4, config, vb));
    let config = ConvTranspose1dConfig {
        stride: 3,
        padding: 1,
        output_padding: 2,
        groups: 2,
        bias: false,
        dilation: 2,
        ..Default::default()
    };
    check("conv_transpose1d.grouped", |vb| ConvTranspose1d::new(4, 6, 3, config, vb));
}

#[test]
fn conv_transpose3d() {
    let config = ConvTranspose3dConfig { stride: 2.into(), padding: (0, 1, 1).into(), ..Default::default() };
    check("conv_transpose3d", |vb| ConvTranspose3d::new(2, 3, (2, 4, 4), config, vb));
    let config = ConvTranspose3dConfig {
        stride: (2, 3, 1).into(),
        padding: (1, 0, 0).into(),
        output_padding: (1, 2, 0).into(),
        groups: 2,
        bias: false,
        dilation: (2, 1, 1).into(),
        ..Default::default()
    };
    check("conv_transpose3d.grouped", |vb| ConvTranspose3d::new(4, 2, (3, 1, 2), config, vb));
}

#[test]
fn pooling_of_volumes() {
    check("max_pool3d", |_| Ok(MaxPool3d::new(2)));
    check("max_pool3d.strided", |_| Ok(MaxPool3d::new((3, 2, 3)).stride((2, 1, 2)).padding((1, 0, 1)).ceil_mode()));
    check("avg_pool3d", |_| Ok(AvgPool3d::new((2, 3, 2)).stride((2, 2, 1)).padding((1, 1, 0)).ceil_mode()));
    check("avg_pool3d.exclude", |_| Ok(AvgPool3d::new(3).stride(2).padding(1).count_include_pad(false)));
    check("adaptive_avg_pool3d", |_| Ok(AdaptiveAvgPool3d::new((2, 3, 1))));
}

#[test]
fn pooling() {
    check("max_pool1d", |_| Ok(MaxPool1d::new(3).stride(2).padding(1)));
    check("max_pool2d", |_| Ok(MaxPool2d::new(2)));
    check("max_pool2d.strided", |_| Ok(MaxPool2d::new((3, 2)).stride((2, 1)).padding((1, 0))));
    check("max_pool2d.ceil", |_| Ok(MaxPool2d::new(3).stride(2).ceil_mode()));
    check("avg_pool1d", |_| Ok(AvgPool1d::new(3).stride(2).padding(1)));
    check("avg_pool2d", |_| Ok(AvgPool2d::new(2)));
    check("avg_pool2d.strided", |_| Ok(AvgPool2d::new(3).stride(2).padding(1).ceil_mode()));
    let exclude = AvgPool2d::new((2, 3)).stride((1, 2)).padding(1).count_include_pad(false);
    check("avg_pool2d.exclude", |_| Ok(exclude));
    check("adaptive_avg_pool1d", |_| Ok(AdaptiveAvgPool1d::new(3)));
    check("adaptive_avg_pool2d", |_| Ok(AdaptiveAvgPool2d::new((3, 4))));
    check("global_avg_pool", |_| Ok(GlobalAvgPool));
}

#[test]
fn batch_norm() {
    let config = BatchNormConfig::default();
    check("batch_norm1d", |vb| BatchNorm1d::new(3, config, vb));
    let other = BatchNormConfig { eps: 1e-3, momentum: Some(0.3), ..config };
    check("batch_norm1d.length", |vb| BatchNorm1d::new(3, other, vb));
    check("batch_norm2d", |vb| BatchNorm2d::new(3, config, vb));
    let cumulative = BatchNormConfig { momentum: None, ..config };
    check("batch_norm2d.cumulative", |vb| BatchNorm2d::new(3, cumulative, vb));
    let plain = BatchNormConfig { affine: false, ..config };
    check("batch_norm2d.plain", |vb| BatchNorm2d::new(3, plain, vb));
    let untracked = BatchNormConfig { track_running_stats: false, ..config };
    check("batch_norm2d.untracked", |vb| BatchNorm2d::new(3, untracked, vb));
    check("batch_norm3d", |vb| BatchNorm3d::new(3, config, vb));
}

/// Three training steps, then the running statistics and an evaluation.
fn check_steps<L: Layer>(case: &str, make: impl Fn(VarBuilder) -> Result<L>) {
    let golden = golden();
    let params = ParamStore::with_dtype(Seed(1), candle_core::DType::F64, &candle_core::Device::Cpu);
    let layer = make(params.root()).unwrap();
    for step in 0..3 {
        layer.forward(golden.tensor(case, &format!("input.{step}")).unwrap(), &Pass::train(Seed(1))).unwrap();
    }
    let output = layer.forward(golden.tensor(case, "input").unwrap(), &Pass::eval()).unwrap();
    let buffers = ["running_mean", "running_var", "num_batches_tracked"];
    let buffers = buffers.map(|name| (format!("after.{name}"), params.get(name).unwrap().value()));
    for (name, got) in std::iter::once(("output".to_string(), output)).chain(buffers) {
        let expected = golden.tensor(case, &name).unwrap();
        assert_eq!((got.dims(), got.dtype()), (expected.dims(), expected.dtype()), "{case}/{name}");
        for (got, expected) in got.to_f64_vec().unwrap().iter().zip(expected.to_f64_vec().unwrap()) {
            // All in f64, a few roundings each.
            assert!((got - expected).abs() <= 1e-12 * (1.0 + expected.abs()), "{case}/{name}: {got}, not {expected}");
        }
    }
}

#[test]
fn batch_norm_over_several_steps() {
    let config = BatchNormConfig::default();
    check_steps("steps.default", |vb| BatchNorm2d::new(3, config, vb));
    check_steps("steps.cumulative", |vb| BatchNorm1d::new(3, BatchNormConfig { momentum: None, ..config }, vb));
    check_steps("steps.momentum", |vb| BatchNorm1d::new(2, BatchNormConfig { momentum: Some(0.4), ..config }, vb));
}

#[test]
fn upsample() {
    check("upsample.nearest", |_| Ok(Upsample::nearest(Resize::by(2.0))));
    check("upsample.nearest_size", |_| Ok(Upsample::nearest(Resize::to((5, 3)))));
    check("upsample.bilinear", |_| Ok(Upsample::bilinear(Resize::Scale { height: 2.0, width: 1.5 }, false)));
    check("upsample.corners", |_| Ok(Upsample::bilinear(Resize::to((5, 3)), true)));
}

#[test]
fn conv_norm_act() {
    let config = ConvNormActConfig { stride: 2.into(), activation: Some(Activation::Silu), ..Default::default() };
    check("conv_norm_act", |vb| ConvNormAct::new(3, 4, 3, config, vb));
    let config = ConvNormActConfig { dilation: 2.into(), groups: 2, activation: None, ..Default::default() };
    check("conv_norm_act.dilated", |vb| ConvNormAct::new(2, 2, (3, 5), config, vb));
}

#[test]
fn residual_blocks() {
    let (config, strided) = (ResidualConfig::default(), ResidualConfig { stride: 2, ..Default::default() });
    check("basic_block", |vb| BasicBlock::new(2, 2, config, vb));
    check("basic_block.downsample", |vb| BasicBlock::new(2, 3, strided, vb));
    check("bottleneck", |vb| Bottleneck::new(4, 1, config, vb));
    check("bottleneck.downsample", |vb| Bottleneck::new(2, 1, strided, vb));
}

#[test]
fn squeeze_excitation() {
    check("squeeze_excitation", |vb| SqueezeExcitation::new(6, 3, vb));
}

#[test]
fn depthwise_separable() {
    let config = DepthwiseSeparableConfig { stride: 2.into(), ..Default::default() };
    check("depthwise_separable", |vb| DepthwiseSeparable::new(3, 5, 3, config, vb));
}

#[test]
fn every_case_of_the_fixture_is_tried() {
    let source = include_str!("parity.rs");
    let golden = golden();
    for case in golden.cases().into_iter().filter(|case| !case.ends_with(".eval")) {
        assert!(source.contains(&format!("(\"{case}\"")), "{case}");
    }
}
