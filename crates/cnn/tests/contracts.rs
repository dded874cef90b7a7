//! The contract of layers, for every layer, block and small model: seeds, files, errors, gradients, f32.

use glassbox_cnn::*;
use glassbox_core::testkit::check_layer;
use glassbox_core::{Activation, Init};

#[test]
fn conv1d() {
    check_layer(|vb| Conv1d::new(3, 4, 3, Conv1dConfig::default(), vb), &[2, 3, 6]);
    let config = Conv1dConfig { stride: 2, padding: 2.into(), dilation: 2, groups: 2, ..Default::default() };
    check_layer(|vb| Conv1d::new(4, 6, 3, config, vb), &[2, 4, 7]);
}

#[test]
fn conv2d() {
    check_layer(|vb| Conv2d::new(3, 4, 3, Conv2dConfig::default(), vb), &[2, 3, 4, 5]);
    let same = Conv2dConfig { padding: Padding::Same, dilation: (1, 2).into(), bias: false, ..Default::default() };
    check_layer(|vb| Conv2d::new(2, 3, (2, 4), same, vb), &[2, 2, 4, 5]);
    let grouped = Conv2dConfig {
        stride: (2, 1).into(),
        padding: (1, 2).into(),
        groups: 2,
        weight_init: Init::Normal { mean: 0.0, std: 0.5 },
        ..Default::default()
    };
    check_layer(|vb| Conv2d::new(4, 2, (3, 2), grouped, vb), &[2, 4, 5, 4]);
    let depthwise = Conv2dConfig { stride: 2.into(), padding: 1.into(), groups: 3, ..Default::default() };
    check_layer(|vb| Conv2d::new(3, 3, 3, depthwise, vb), &[2, 3, 5, 6]);
}

#[test]
fn conv_transpose2d() {
    let config = ConvTranspose2dConfig { stride: 2.into(), padding: 1.into(), ..Default::default() };
    check_layer(|vb| ConvTranspose2d::new(3, 2, 4, config, vb), &[2, 3, 3, 2]);
    let config = ConvTranspose2dConfig {
        stride: (2, 3).into(),
        output_padding: (1, 2).into(),
        groups: 2,
        bias: false,
        dilation: (2, 1).into(),
        ..Default::default()
    };
    check_layer(|vb| ConvTranspose2d::new(4, 6, (3, 2), config, vb), &[1, 4, 2, 3]);
}

#[test]
fn conv3d() {
    check_layer(|vb| Conv3d::new(2, 3, 2, Conv3dConfig::default(), vb), &[2, 2, 3, 2, 3]);
    let same = Conv3dConfig { padding: Padding::Same, dilation: (2, 1, 1).into(), bias: false, ..Default::default() };
    check_layer(|vb| Conv3d::new(2, 2, (2, 3, 1), same, vb), &[1, 2, 4, 2, 3]);
    let grouped = Conv3dConfig { stride: (2, 1, 2).into(), padding: (1, 0, 1).into(), groups: 2, ..Default::default() };
    check_layer(|vb| Conv3d::new(4, 2, (3, 1, 2), grouped, vb), &[1, 4, 3, 2, 3]);
    // Whole volumes as images.
    let temporal = Conv3dConfig { padding: (1, 0, 0).into(), ..Default::default() };
    check_layer(|vb| Conv3d::new(2, 2, (3, 1, 1), temporal, vb), &[4, 2, 3, 2, 2]);
}

#[test]
fn conv_transpose1d() {
    let config = ConvTranspose1dConfig { stride: 2, padding: 1, ..Default::default() };
    check_layer(|vb| ConvTranspose1d::new(3, 2, 4, config, vb), &[2, 3, 4]);
    let config = ConvTranspose1dConfig { stride: 3, output_padding: 2, groups: 2, bias: false, ..Default::default() };
    check_layer(|vb| ConvTranspose1d::new(4, 6, 2, config, vb), &[1, 4, 3]);
}

#[test]
fn conv_transpose3d() {
    let config = ConvTranspose3dConfig { stride: 2.into(), padding: (1, 0, 0).into(), ..Default::default() };
    check_layer(|vb| ConvTranspose3d::new(2, 2, (4, 2, 3), config, vb), &[2, 2, 2, 1, 2]);
    let config = ConvTranspose3dConfig {
        stride: (1, 2, 1).into(),
        output_padding: (0, 1, 1).into(),
        groups: 2,
        bias: false,
        dilation: (1, 1, 2).into(),
        ..Default::default()
    };
    check_layer(|vb| ConvTranspose3d::new(4, 2, (2, 1, 2), config, vb), &[1, 4, 2, 2, 2]);
}

#[test]
fn pooling_of_volumes() {
    check_layer(|_| Ok(MaxPool3d::new((2, 1, 2)).stride(1).padding((1, 0, 0))), &[2, 2, 3, 2, 3]);
    check_layer(|_| Ok(AvgPool3d::new((2, 3, 2)).padding((0, 1, 0)).ceil_mode()), &[2, 2, 3, 4, 3]);
    check_layer(|_| Ok(AdaptiveAvgPool3d::new((2, 1, 3))), &[2, 2, 3, 2, 4]);
}

#[test]
fn pooling() {
    check_layer(|_| Ok(MaxPool1d::new(3).stride(2).padding(1)), &[2, 2, 8]);
    check_layer(|_| Ok(MaxPool2d::new(2)), &[2, 2, 5, 6]);
    check_layer(|_| Ok(MaxPool2d::new((3, 2)).stride((2, 1)).padding((1, 0)).ceil_mode()), &[2, 2, 6, 5]);
    check_layer(|_| Ok(AvgPool1d::new(3).stride(2).padding(1)), &[2, 2, 8]);
    check_layer(|_| Ok(AvgPool2d::new(2)), &[2, 2, 5, 6]);
    check_layer(|_| Ok(AvgPool2d::new(3).stride(2).padding(1).ceil_mode().count_include_pad(false)), &[2, 2, 6, 5]);
    check_layer(|_| Ok(AdaptiveAvgPool1d::new(3)), &[2, 2, 7]);
    check_layer(|_| Ok(AdaptiveAvgPool2d::new((3, 4))), &[2, 2, 7, 5]);
    check_layer(|_| Ok(AdaptiveAvgPool2d::new((3, 4))), &[2, 2, 3, 4]);
    check_layer(|_| Ok(GlobalAvgPool), &[2, 3, 4, 5]);
}

#[test]
fn batch_norm() {
    let config = BatchNormConfig::default();
    check_layer(|vb| BatchNorm1d::new(3, config, vb), &[4, 3]);
    check_layer(|vb| BatchNorm1d::new(3, BatchNormConfig { momentum: None, ..config }, vb), &[2, 3, 4]);
    check_layer(|vb| BatchNorm2d::new(3, config, vb), &[2, 3, 3, 2]);
    check_layer(|vb| BatchNorm2d::new(3, BatchNormConfig { affine: false, ..config }, vb), &[2, 3, 3, 2]);
    check_layer(|vb| BatchNorm2d::new(3, BatchNormConfig { track_running_stats: false, ..config }, vb), &[2, 3, 3, 2]);
    check_layer(|vb| BatchNorm3d::new(2, config, vb), &[2, 2, 2, 3, 2]);
}

#[test]
fn upsample() {
    check_layer(|_| Ok(Upsample::nearest(Resize::by(2.0))), &[2, 2, 3, 4]);
    check_layer(|_| Ok(Upsample::bilinear(Resize::Scale { height: 2.0, width: 1.5 }, false)), &[2, 2, 3, 4]);
    check_layer(|_| Ok(Upsample::bilinear(Resize::to((5, 3)), true)), &[2, 2, 3, 4]);
}

#[test]
fn conv_norm_act() {
    let config = ConvNormActConfig { stride: 2.into(), activation: Some(Activation::Silu), ..Default::default() };
    check_layer(|vb| ConvNormAct::new(3, 4, 3, config, vb), &[2, 3, 5, 4]);
    let config = ConvNormActConfig { dilation: 2.into(), groups: 2, activation: None, ..Default::default() };
    check_layer(|vb| ConvNormAct::new(2, 4, (3, 5), config, vb), &[2, 2, 5, 4]);
}

#[test]
fn residual_blocks() {
    let config = ResidualConfig::default();
    check_layer(|vb| BasicBlock::new(3, 3, config, vb), &[2, 3, 4, 3]);
    check_layer(|vb| BasicBlock::new(2, 3, ResidualConfig { stride: 2, ..config }, vb), &[2, 2, 4, 5]);
    check_layer(|vb| Bottleneck::new(8, 2, config, vb), &[2, 8, 3, 4]);
    check_layer(|vb| Bottleneck::new(2, 2, ResidualConfig { stride: 2, ..config }, vb), &[2, 2, 5, 4]);
}

#[test]
fn squeeze_excitation_and_depthwise_separable() {
    check_layer(|vb| SqueezeExcitation::new(4, 3, vb), &[2, 4, 3, 4]);
    let config = DepthwiseSeparableConfig { stride: 2.into(), ..Default::default() };
    check_layer(|vb| DepthwiseSeparable::new(3, 4, 3, config, vb), &[2, 3, 5, 4]);
}

#[test]
fn models() {
    // Smooth activations: among so many ReLUs one would be within a step of its kink.
    let config = SmallCnnConfig {
        channels: vec![3, 4],
        hidden: 5,
        num_classes: 3,
        activation: Activation::Gelu,
        dropout: 0.3,
        batch_norm: true,
        ..Default::default()
    };
    check_layer(|vb| SmallCnn::new(config.clone(), vb), &[2, 1, 8, 8]);
    check_layer(|vb| SmallCnn::new(SmallCnnConfig { batch_norm: false, ..config.clone() }, vb), &[2, 1, 8, 8]);
    let config = LeNet5Config { num_classes: 3, ..Default::default() };
    check_layer(|vb| LeNet5::new(config, vb), &[1, 1, 28, 28]);
}
