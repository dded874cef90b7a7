//! What a layer is, and layers made of layers.

use candle_core::Tensor;
use glassbox_kernels::graph::{add, reshape};

use crate::fusion::Follower;
use crate::{Pass, Result, Site, VarBuilder};

/// Tensor in, tensor out, under a [`Pass`].
///
/// ```
/// use candle_core::Tensor;
/// use glassbox_core::{Layer, Linear, Pass, Result, VarBuilder};
///
/// struct Gated { value: Linear, gate: Linear }
///
/// impl Gated {
///     fn new(features: usize, vb: VarBuilder) -> Result<Self> {
///         let linear = |name| Linear::new(features, features, vb.pp(name));
///         Ok(Self { value: linear("value")?, gate: linear("gate")? })
///     }
/// }
///
/// impl Layer for Gated {
///     fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
///         let gate = candle_nn::ops::sigmoid(&self.gate.forward(xs, pass)?)?;
///         Ok((self.value.forward(xs, pass)? * gate)?)
///     }
/// }
/// ```
pub trait Layer: Send + Sync {
    /// The output for the input `xs`.
    ///
    /// # Errors
    /// An input that does not suit the layer; the error carries the layer's path.
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor>;

    /// Where the layer stands, if it shows itself to probes. Containers show the layers that don't.
    fn site(&self) -> Option<&Site> {
        None
    }

    /// The layer's type, such as `Linear`.
    fn kind(&self) -> &'static str {
        let full = std::any::type_name::<Self>();
        let plain = full.split('<').next().unwrap_or(full);
        plain.rsplit("::").next().unwrap_or(plain)
    }

    /// What the layer does, where the one before it may do it in one operation with its own; see [`fusion`](crate::fusion).
    fn follower(&self) -> Option<Follower<'_>> {
        None
    }

    /// The forward of this layer and of as many `followers` as are done in the same operation, and how many those are.
    /// The result is the same to the bit as that of one layer after the other.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    fn forward_fused(&self, xs: &Tensor, pass: &Pass, followers: &[Follower<'_>]) -> Result<(Tensor, usize)> {
        let _ = followers;
        self.forward(xs, pass).map(|ys| (ys, 0))
    }
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        (**self).forward(xs, pass)
    }

    fn site(&self) -> Option<&Site> {
        (**self).site()
    }

    fn kind(&self) -> &'static str {
        (**self).kind()
    }

    fn follower(&self) -> Option<Follower<'_>> {
        (**self).follower()
    }

    fn forward_fused(&self, xs: &Tensor, pass: &Pass, followers: &[Follower<'_>]) -> Result<(Tensor, usize)> {
        (**self).forward_fused(xs, pass, followers)
    }
}

impl<L: Layer + ?Sized> Layer for std::sync::Arc<L> {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        (**self).forward(xs, pass)
    }

    fn site(&self) -> Option<&Site> {
        (**self).site()
    }

    fn kind(&self) -> &'static str {
        (**self).kind()
    }

    fn follower(&self) -> Option<Follower<'_>> {
        (**self).follower()
    }

    fn forward_fused(&self, xs: &Tensor, pass: &Pass, followers: &[Follower<'_>]) -> Result<(Tensor, usize)> {
        (**self).forward_fused(xs, pass, followers)
    }
}

/// Layers one after another, each named by its position as in PyTorch, or by a name of its own.
///
/// ```
/// use glassbox_core::{Activation, Flatten, Linear, ParamStore, Seed, Sequential};
/// let params = ParamStore::new(Seed(1), &candle_core::Device::Cpu);
/// let model = Sequential::new(params.root())
///     .add(|_| Ok(Flatten))?
///     .add(|vb| Linear::new(64, 32, vb))?
///     .add(|_| Ok(Activation::Relu))?
///     .add(|vb| Linear::new(32, 10, vb))?;
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct Sequential {
    vb: VarBuilder,
    layers: Vec<(Site, Box<dyn Layer>)>,
}

impl Sequential {
    /// No layers yet, at the place of `vb`: the identity.
    pub fn new(vb: VarBuilder) -> Self {
        Self { vb, layers: vec![] }
    }

    /// Adds the layer that `make` builds, named by its position: `0`, `1`, ….
    ///
    /// # Errors
    /// Those of `make`.
    #[allow(clippy::should_implement_trait)] // PyTorch's and Keras's word.
    pub fn add<L: Layer + 'static>(self, make: impl FnOnce(VarBuilder) -> Result<L>) -> Result<Self> {
        let name = self.layers.len().to_string();
        self.add_named(&name, make)
    }

    /// Adds the layer that `make` builds, called `name`.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn add_named<L: Layer + 'static>(
        mut self,
        name: &str,
        make: impl FnOnce(VarBuilder) -> Result<L>,
    ) -> Result<Self> {
        let vb = self.vb.pp(name);
        let path = vb.path().to_string();
        let layer = make(vb)?;
        self.layers.push((Site::new(path, layer.kind()), Box::new(layer)));
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

impl Layer for Sequential {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        // A probe sees every layer's output, so each runs by itself.
        if pass.probe().is_some() { self.forward_one_by_one(xs, pass) } else { self.forward_in_groups(xs, pass) }
    }
}

impl Sequential {
    fn forward_one_by_one(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut xs = xs.clone();
        for (site, layer) in &self.layers {
            // A layer with a site of its own shows itself; the others are shown under their place here.
            xs = match layer.site() {
                Some(_) => layer.forward(&xs, pass)?,
                None => site.run(&xs, pass, || layer.forward(&xs, pass))?,
            };
        }
        Ok(xs)
    }

    /// Each layer together with those behind it that it can do in one operation.
    fn forward_in_groups(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut xs = xs.clone();
        let mut rest = &self.layers[..];
        while let Some(((site, layer), behind)) = rest.split_first() {
            let followers: Vec<_> = behind.iter().map_while(|(_, layer)| layer.follower()).collect();
            let run = || layer.forward_fused(&xs, pass, &followers);
            let (ys, done) = match layer.site() {
                Some(_) => run()?,
                None => run().map_err(|e| e.at(site.path()))?,
            };
            (xs, rest) = (ys, behind.get(done..).unwrap_or_default());
        }
        Ok(xs)
    }
}

/// `xs + inner(xs)`: a residual connection (He et al. 2015, arXiv 1512.03385).
pub struct Residual<L>(pub L);

impl<L: Layer> Layer for Residual<L> {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let ys = self.0.forward(xs, pass)?;
        Ok(add(xs, &ys)?)
    }
}

/// Merges all dimensions but the first: (batch, …) to (batch, features).
#[derive(Clone, Copy, Debug, Default)]
pub struct Flatten;

impl Layer for Flatten {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        let features: usize = xs.dims().iter().skip(1).product();
        Ok(reshape(xs, (xs.dims().first().copied().unwrap_or(1), features))?)
    }
}
