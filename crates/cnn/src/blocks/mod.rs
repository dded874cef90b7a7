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
use glassbox_core::{Layer, Pass, Result, Site, VarBuilder};

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
}
