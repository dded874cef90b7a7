//! Every layer under the contract, and every input gradient as a layer under it: its second derivatives against central
//! differences.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use glassbox_cnn::{Conv2d, Conv2dConfig, Padding};
use glassbox_core::candle_core::{Device, Tensor};
use glassbox_core::testkit::{LayerCheck, check_layer};
use glassbox_core::{Activation, Flatten, Layer, LayerNorm, Linear, Pass, Residual, Result, VarBuilder, concat};
use glassbox_gan::*;

const FROZEN: WeightScale = WeightScale::Spectral { power_iterations: 0 };

/// What a loss with a gradient penalty is made of: the output of a layer, and its input gradient.
struct Penalised<L>(L);

impl<L: InputGradient> Layer for Penalised<L> {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (ys, pullback) = self.0.forward_with_pullback(xs, pass)?;
        // Uneven gradients of the output, that depend on it, as in a network.
        let gradient = pullback(&(ys.sin()? + 0.3)?)?;
        concat(&[ys.flatten_from(1)?, gradient.flatten_from(1)?], 1)
    }
}

/// A layer of two inputs, with classes that do not change.
struct WithClasses<F>(F, Vec<u32>);

impl<F: Fn(&Tensor, &Tensor, &Pass) -> Result<Tensor> + Send + Sync> Layer for WithClasses<F> {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        (self.0)(xs, &Tensor::new(self.1.as_slice(), &Device::Cpu)?, pass)
    }
}

fn conv(stride: usize, padding: Padding<glassbox_cnn::Pair>) -> Conv2dConfig {
    Conv2dConfig { stride: stride.into(), padding, ..Default::default() }
}

#[test]
fn scaled_layers() {
    for scale in [FROZEN, WeightScale::EQUALIZED, WeightScale::Equalized { multiplier: 0.01 }] {
        check_layer(|vb| ScaledLinear::new(4, 3, scale, vb), &[5, 4]);
        check_layer(|vb| ScaledConv2d::new(2, 3, 3, conv(2, 1.into()), scale, vb), &[2, 2, 5, 6]);
    }
}

#[test]
fn layers_without_a_condition() {
    check_layer(|vb| SelfAttention::with_scale(8, FROZEN, vb), &[2, 8, 3, 2]);
    check_layer(NoiseInjection::new, &[2, 3, 4, 5]);
    check_layer(|_| Ok(PixelNorm), &[3, 4]);
    check_layer(|_| Ok(HalveImage), &[2, 3, 5, 4]);
    LayerCheck::new(&[2, 3, 2, 4]).accepts_any_shape().run(|_| Ok(SumPool));
    LayerCheck::new(&[4, 3]).accepts_any_shape().run(|_| MinibatchStd::new(2));
    LayerCheck::new(&[6, 2, 2, 3]).accepts_any_shape().run(|_| MinibatchStd::new(4));
    LayerCheck::new(&[3, 4]).accepts_any_shape().run(|_| GumbelSoftmax::new(0.7));
    LayerCheck::new(&[3, 4]).accepts_any_shape().run(|_| CriticDropout::new(0.4));
}

#[test]
fn layers_with_classes() {
    check_layer(
        |vb: VarBuilder| {
            let norm = ConditionalBatchNorm2d::new(3, 2, vb)?;
            Ok(WithClasses(move |xs: &Tensor, c: &Tensor, pass: &Pass| norm.forward(xs, Some(c), pass), vec![1, 0, 1]))
        },
        &[3, 3, 2, 4],
    );
    check_layer(
        |vb: VarBuilder| {
            let head = ProjectionHead::with_scale(4, 3, FROZEN, vb)?;
            Ok(WithClasses(
                move |xs: &Tensor, c: &Tensor, pass: &Pass| head.forward(xs, Some(c), pass),
                vec![2, 0, 1, 1],
            ))
        },
        &[4, 4],
    );
}

#[test]
fn input_gradients_have_right_derivatives() {
    check_layer(|vb| Ok(Penalised(Linear::new(4, 3, vb)?)), &[5, 4]);
    check_layer(|vb| Ok(Penalised(ScaledLinear::new(4, 3, FROZEN, vb)?)), &[5, 4]);
    check_layer(|vb| Ok(Penalised(LayerNorm::new(4, vb)?)), &[5, 4]);
    check_layer(|vb| Ok(Penalised(LayerNorm::new((2, 3), vb)?)), &[2, 2, 3]);
    for (stride, padding) in [(1, 0.into()), (2, 1.into()), (3, 2.into()), (1, Padding::Same)] {
        check_layer(|vb| Ok(Penalised(Conv2d::new(2, 3, (3, 2), conv(stride, padding), vb)?)), &[2, 2, 6, 7]);
    }
    let grouped = Conv2dConfig { groups: 2, dilation: 2.into(), ..conv(2, 1.into()) };
    check_layer(|vb| Ok(Penalised(Conv2d::new(2, 4, 3, grouped, vb)?)), &[2, 2, 6, 7]);
    check_layer(|vb| Ok(Penalised(ScaledConv2d::new(2, 3, 3, conv(2, 1.into()), FROZEN, vb)?)), &[2, 2, 5, 6]);
    check_layer(|vb| Ok(Penalised(Residual(Linear::new(4, 4, vb)?))), &[5, 4]);
    check_layer(|vb| Ok(Penalised(SelfAttention::with_scale(8, FROZEN, vb)?)), &[2, 8, 2, 3]);
}

#[test]
fn input_gradients_of_layers_without_parameters_have_right_derivatives() {
    let any = |shape: &[usize]| LayerCheck::new(shape).accepts_any_shape();
    let smooth = [Activation::Tanh, Activation::Sigmoid, Activation::Silu, Activation::LogSigmoid];
    let bent = [Activation::Relu, Activation::LeakyRelu(0.2), Activation::Elu(0.7)];
    let plus = Activation::Softplus { beta: 1.5, threshold: 20.0 };
    for activation in smooth.into_iter().chain(bent).chain([plus]) {
        any(&[3, 4]).run(|_| Ok(Penalised(activation)));
    }
    any(&[2, 3, 4]).run(|_| Ok(Penalised(Flatten)));
    any(&[2, 2, 5, 4]).run(|_| Ok(Penalised(HalveImage)));
    any(&[2, 3, 2, 2]).run(|_| Ok(Penalised(SumPool)));
    any(&[4, 3, 2]).run(|_| Ok(Penalised(MinibatchStd::new(2)?)));
    any(&[3, 4]).run(|_| Ok(Penalised(CriticDropout::new(0.4)?)));
}

#[test]
fn a_critic_whole() {
    check_layer(
        |vb| {
            let critic = Chain::new(vb)
                .add(|vb| Conv2d::new(1, 4, 4, conv(2, 1.into()), vb))?
                .add(|_| Ok(Activation::LeakyRelu(0.2)))?
                .add(|vb| LayerNorm::new((4, 3, 4), vb))?
                .add(|_| MinibatchStd::new(2))?
                .add(|_| Ok(Flatten))?
                .add(|vb| ScaledLinear::new(60, 1, FROZEN, vb))?;
            Ok(Penalised(critic))
        },
        &[4, 1, 7, 8],
    );
}
