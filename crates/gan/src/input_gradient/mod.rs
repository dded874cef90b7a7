//! The gradient of a network's output with respect to its input, as a forward computation.
//!
//! A gradient penalty is a term of the loss that holds ∂D/∂x. Its gradient with respect to the parameters is a second
//! derivative, which Candle's backward does not give. Here ∂D/∂x is written as operations that have a backward themselves,
//! so that the ordinary, first-order backward of the loss is the exact double backward: layer after layer, from the last to
//! the first, each maps the gradient of its output to the gradient of its input.

mod activation;
mod chain;
mod linear;
mod norm;
mod shape;

use candle_core::Tensor;
use glassbox_core::{Layer, Pass, Residual, Result};
use glassbox_kernels::graph::add;

pub use chain::Chain;
pub(crate) use linear::{conv2d_pullback, linear_pullback};
pub use shape::{HalveImage, SumPool};

/// Maps the gradient of a layer's output to the gradient of its input. What it computes is itself differentiable, with
/// respect to that gradient, to the layer's parameters and to the input of the forward that it belongs to.
pub type Pullback = Box<dyn Fn(&Tensor) -> Result<Tensor> + Send>;

/// A layer whose input gradient is computed forwards, so that a loss may depend on it: what a critic under a gradient
/// penalty is made of.
///
/// Of Glassbox's layers these are: `Linear`, `Conv2d`, `LayerNorm`, activations, `Flatten`, `Residual`, and those of this
/// crate that say so. Batch normalisation is not among them: it makes the output of one sample depend on the others, so that
/// a penalty on each sample's gradient has no meaning (Gulrajani et al. 2017).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Activation, Linear, ParamStore, Pass, Seed};
/// use glassbox_gan::{Chain, InputGradient, input_gradient};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let critic = Chain::new(params.root())
///     .add(|vb| Linear::new(2, 16, vb))?
///     .add(|_| Ok(Activation::LeakyRelu(0.2)))?
///     .add(|vb| Linear::new(16, 1, vb))?;
/// let points = Tensor::zeros((4, 2), DType::F32, &Device::Cpu)?;
/// let (scores, gradient) = input_gradient(&critic, &points, &Pass::eval().with_gradients())?;
/// assert_eq!((scores.dims(), gradient.dims()), (&[4, 1][..], &[4, 2][..]));
/// gradient.sqr()?.sum_all()?.backward()?; // the parameters' gradients of a penalty
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub trait InputGradient: Layer {
    /// The output for `xs`, and the map from the output's gradient to the input's.
    ///
    /// # Errors
    /// An input that does not suit the layer; an activation without a formula for its derivative.
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)>;
}

/// The output of `layer` for `xs`, and the gradient of the output's sum with respect to `xs`: both differentiable with
/// respect to the parameters.
///
/// # Errors
/// As [`InputGradient::forward_with_pullback`].
pub fn input_gradient<L: InputGradient + ?Sized>(layer: &L, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Tensor)> {
    let (ys, pullback) = layer.forward_with_pullback(xs, pass)?;
    let gradient = pullback(&ys.ones_like()?)?;
    Ok((ys, gradient))
}

impl<L: InputGradient + ?Sized> InputGradient for Box<L> {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        (**self).forward_with_pullback(xs, pass)
    }
}

impl<L: InputGradient + ?Sized> InputGradient for std::sync::Arc<L> {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        (**self).forward_with_pullback(xs, pass)
    }
}

impl<L: InputGradient> InputGradient for Residual<L> {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let (ys, inner) = self.0.forward_with_pullback(xs, pass)?;
        Ok((add(xs, &ys)?, Box::new(move |g| Ok((g + inner(g)?)?))))
    }
}

/// `main(xs) + shortcut(xs)`: a residual connection whose shortcut changes the size.
pub struct Branches<M, S> {
    /// The way with the layers.
    pub main: M,
    /// The short way.
    pub shortcut: S,
}

impl<M: Layer, S: Layer> Layer for Branches<M, S> {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        Ok(add(&self.main.forward(xs, pass)?, &self.shortcut.forward(xs, pass)?)?)
    }
}

impl<M: InputGradient, S: InputGradient> InputGradient for Branches<M, S> {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let (main, of_main) = self.main.forward_with_pullback(xs, pass)?;
        let (shortcut, of_shortcut) = self.shortcut.forward_with_pullback(xs, pass)?;
        Ok((add(&main, &shortcut)?, Box::new(move |g| Ok((of_main(g)? + of_shortcut(g)?)?))))
    }
}
