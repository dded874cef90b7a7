//! Layers that are used together.

mod conv_norm_act;
mod depthwise_separable;
mod residual;
mod squeeze_excitation;

pub use conv_norm_act::{ConvNormAct, ConvNormActConfig};
pub use depthwise_separable::{DepthwiseSeparable, DepthwiseSeparableConfig};
pub use residual::{BasicBlock, Bottleneck, ResidualConfig};
pub(crate) use residual::{conv, norm};
pub use squeeze_excitation::SqueezeExcitation;

use candle_core::Tensor;
use glassbox_core::fusion::Follower;
use glassbox_core::{Layer, Pass, Result, Site, VarBuilder};
use glassbox_kernels::graph::add;

use crate::{BatchNorm2d, Conv2d};

/// A layer without parameters, shown to probes at a place of its own.
pub(crate) struct Shown<L> {
    site: Site,
    layer: L,
}

impl<L: Layer> Shown<L> {
    pub(crate) fn new(layer: L, vb: VarBuilder) -> Self {
        Self { site: Site::new(vb.path(), layer.kind()), layer }
    }
}

impl<L: Layer> Layer for Shown<L> {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || self.layer.forward(xs, pass))
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }

    fn follower(&self) -> Option<Follower<'_>> {
        self.layer.follower()
    }
}

/// `activation(norm(conv(xs)) + residual)`, in one operation unless a probe is to see every layer.
pub(crate) fn conv_norm_act(
    conv: &Conv2d,
    norm: &BatchNorm2d,
    residual: Option<&Tensor>,
    activation: Option<&dyn Layer>,
    xs: &Tensor,
    pass: &Pass,
) -> Result<Tensor> {
    let followers: Vec<_> = norm.follower().into_iter().chain(activation.and_then(|a| a.follower())).collect();
    if pass.probe().is_none() && followers.len() == 1 + usize::from(activation.is_some()) {
        return conv.forward_with(xs, pass, residual, &followers).map(|(ys, _)| ys);
    }
    let ys = norm.forward(&conv.forward(xs, pass)?, pass)?;
    let ys = residual.map_or(Ok(ys.clone()), |residual| add(&ys, residual))?;
    activation.map_or(Ok(ys.clone()), |activation| activation.forward(&ys, pass))
}
