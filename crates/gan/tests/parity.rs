//! Gradient penalties against PyTorch's double backward.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use glassbox_cnn::{Conv2d, Conv2dConfig};
use glassbox_core::candle_core::Tensor;
use glassbox_core::testkit::Golden;
use glassbox_core::{Activation, Flatten, Layer, LayerNorm, Linear, Pass, Result, Seed, VarBuilder};
use glassbox_gan::*;

/// The mean score, WGAN-GP's penalty and R1: what the fixture's cases give.
struct Penalised(Chain);

impl Layer for Penalised {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (scores, gradient) = input_gradient(&self.0, xs, pass)?;
        let penalties =
            Penalty::Gradient { weight: 10.0 }.term(&gradient)? + Penalty::R1 { gamma: 2.0 }.term(&gradient)?;
        Ok((scores.mean_all()? + penalties?)?)
    }
}

const LEAKY: Activation = Activation::LeakyRelu(0.2);

fn conv(stride: usize, padding: usize) -> Conv2dConfig {
    Conv2dConfig { stride: stride.into(), padding: padding.into(), ..Default::default() }
}

fn dense(vb: VarBuilder) -> Result<Penalised> {
    let chain = Chain::new(vb.pp("critic"))
        .add(|vb| Linear::new(4, 6, vb))?
        .add(|_| Ok(LEAKY))?
        .add(|vb| LayerNorm::new(6, vb))?
        .add(|vb| Linear::new(6, 5, vb))?
        .add(|_| Ok(LEAKY))?
        .add(|vb| Linear::new(5, 1, vb))?;
    Ok(Penalised(chain))
}

fn smooth(vb: VarBuilder) -> Result<Penalised> {
    let plus = Activation::Softplus { beta: 1.0, threshold: 20.0 };
    let mut chain = Chain::new(vb.pp("critic")).add(|vb| Linear::new(4, 6, vb))?;
    for (activation, to) in [(Activation::Tanh, 6), (Activation::Silu, 6), (plus, 1)] {
        chain = chain.add(|_| Ok(activation))?.add(|vb| Linear::new(6, to, vb))?;
    }
    Ok(Penalised(chain))
}

fn convolutional(vb: VarBuilder) -> Result<Penalised> {
    let chain = Chain::new(vb.pp("critic"))
        .add(|vb| Conv2d::new(2, 3, 4, conv(2, 1), vb))?
        .add(|_| Ok(LEAKY))?
        .add(|vb| LayerNorm::new((3, 3, 4), vb))?
        .add(|vb| Conv2d::new(3, 4, 3, conv(2, 0), vb))?
        .add(|_| Ok(LEAKY))?
        .add(|_| Ok(Flatten))?
        .add(|vb| Linear::new(4, 1, vb))?;
    Ok(Penalised(chain))
}

fn spectral(vb: VarBuilder) -> Result<Penalised> {
    let chain = Chain::new(vb.pp("critic"))
        .add(|vb| ScaledConv2d::new(2, 3, 3, conv(2, 1), WeightScale::SPECTRAL, vb))?
        .add(|_| Ok(LEAKY))?
        .add(|_| Ok(Flatten))?
        .add(|vb| ScaledLinear::new(27, 1, WeightScale::SPECTRAL, vb))?;
    Ok(Penalised(chain))
}

/// f64; 1e-12 below the root of a norm is 1e-9 of a short one's length.
fn fixture() -> Golden {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/penalties.safetensors");
    Golden::open(path).unwrap().tolerance(1e-8)
}

#[test]
fn penalties_are_pytorchs_double_backward() {
    fixture().check_layer("dense", dense);
    fixture().check_layer("smooth", smooth);
    fixture().check_layer("conv", convolutional);
}

#[test]
fn spectral_norm_and_its_penalty_are_pytorchs() {
    fixture().check_layer("spectral", spectral);
    fixture().check_layer_in("spectral_training", &Pass::train(Seed(1)), spectral);
}
