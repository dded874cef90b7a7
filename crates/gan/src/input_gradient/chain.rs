//! Layers one after another.

use std::sync::Arc;

use candle_core::Tensor;
use glassbox_core::{Layer, Pass, Result, Sequential, VarBuilder};

use super::{InputGradient, Pullback};

/// Layers one after another, as [`Sequential`], all of which have an [`InputGradient`]: a critic.
///
/// Names of parameters are those of `Sequential`, and the forward is its forward.
pub struct Chain {
    plain: Sequential,
    layers: Vec<(String, Arc<dyn InputGradient>)>,
    path: String,
}

impl Chain {
    /// No layers yet, at the place of `vb`: the identity.
    pub fn new(vb: VarBuilder) -> Self {
        let path = vb.path().to_string();
        Self { plain: Sequential::new(vb), layers: vec![], path }
    }

    /// Adds the layer that `make` builds, named by its position: `0`, `1`, ….
    ///
    /// # Errors
    /// Those of `make`.
    #[allow(clippy::should_implement_trait)] // PyTorch's and Keras's word.
    pub fn add<L: InputGradient + 'static>(self, make: impl FnOnce(VarBuilder) -> Result<L>) -> Result<Self> {
        let name = self.layers.len().to_string();
        self.add_named(&name, make)
    }

    /// Adds the layer that `make` builds, called `name`.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn add_named<L: InputGradient + 'static>(
        mut self,
        name: &str,
        make: impl FnOnce(VarBuilder) -> Result<L>,
    ) -> Result<Self> {
        let mut shared = None;
        self.plain = self.plain.add_named(name, |vb| {
            let layer = Arc::new(make(vb)?);
            shared = Some(Arc::clone(&layer));
            Ok(layer)
        })?;
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) };
        self.layers.extend(shared.map(|layer| (path, layer as Arc<dyn InputGradient>)));
        Ok(self)
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether it has no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Layer for Chain {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.plain.forward(xs, pass)
    }
}

impl InputGradient for Chain {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let mut xs = xs.clone();
        let mut pullbacks = Vec::with_capacity(self.layers.len());
        for (path, layer) in &self.layers {
            let (ys, pullback) = layer.forward_with_pullback(&xs, pass).map_err(|e| e.at(path))?;
            pullbacks.push(pullback);
            xs = ys;
        }
        Ok((xs, Box::new(move |g| pullbacks.iter().rev().try_fold(g.clone(), |g, pullback| pullback(&g)))))
    }
}
