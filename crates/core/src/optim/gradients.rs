//! The gradients of one backward pass, by parameter.

use candle_core::Tensor;
use glassbox_kernels::backward::backward;

use crate::{Error, Param, ParamStore, Result};

/// Gradients by parameter, in the store's order. They are detached: keeping them keeps no graph alive.
#[derive(Clone, Debug)]
pub struct Gradients {
    entries: Vec<(Param, Tensor)>,
}

impl Gradients {
    /// Runs `loss`'s backward and gathers the gradients of the store's trainable parameters. A parameter that the loss
    /// does not depend on has no entry.
    ///
    /// # Errors
    /// The loss is not a scalar, or an operation has no backward.
    pub fn of(loss: &Tensor, params: &ParamStore) -> Result<Self> {
        if loss.elem_count() != 1 {
            return Err(Error::invalid("loss", "a scalar", format!("shape {:?}", loss.dims())));
        }
        let gradients = backward(loss)?;
        let of = |p: Param| Ok(gradients.get(p.var().as_tensor())?.map(|g| (p, g.detach())));
        let entries = params.trainable().into_iter().filter_map(|p| of(p).transpose()).collect::<Result<_>>()?;
        Ok(Self { entries })
    }

    /// Gradients from pairs, such as those that a transform made.
    pub fn from_pairs(entries: Vec<(Param, Tensor)>) -> Self {
        Self { entries }
    }

    /// Fails where a trainable parameter of `params` has no gradient.
    ///
    /// # Errors
    /// [`Error::NoGradient`] with the parameters' names.
    pub fn expect_all(&self, params: &ParamStore) -> Result<()> {
        let missing = |p: &Param| !self.entries.iter().any(|(q, _)| q.name() == p.name());
        let names: Vec<String> =
            params.trainable().iter().filter(|p| missing(p)).map(|p| p.name().to_string()).collect();
        if names.is_empty() { Ok(()) } else { Err(Error::NoGradient { names }) }
    }

    /// Each parameter with its gradient.
    pub fn iter(&self) -> impl Iterator<Item = (&Param, &Tensor)> {
        self.entries.iter().map(|(p, g)| (p, g))
    }

    /// The gradient of the parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries.iter().find(|(p, _)| p.name() == name).map(|(_, g)| g)
    }

    /// The same with each gradient changed by `change`.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map(self, change: impl Fn(&Param, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let entries = self.entries.into_iter();
        let entries = entries.map(|(p, g)| change(&p, &g).map(|g| (p, g))).collect::<Result<_>>()?;
        Ok(Self { entries })
    }

    /// Number of parameters with a gradient.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no parameter has a gradient.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
