//! What layers are made with: a place in a model that hands out named parameters.

use std::fmt::Display;

use candle_core::{DType, Device, Shape};

use super::{Kind, Param, ParamStore};
use crate::{Init, Result};

/// A path in a [`ParamStore`], at which a layer makes its parameters. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VarBuilder {
    store: ParamStore,
    path: String,
}

impl VarBuilder {
    pub(super) fn new(store: ParamStore) -> Self {
        Self { store, path: String::new() }
    }

    /// The builder of the child called `name` ("push prefix").
    pub fn pp(&self, name: impl Display) -> Self {
        Self { store: self.store.clone(), path: self.join(name) }
    }

    /// The path so far, such as `encoder.2`; empty at the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The store behind it.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        self.store.device()
    }

    /// The type of the parameters.
    pub fn dtype(&self) -> DType {
        self.store.dtype()
    }

    /// The trainable parameter `name`, made with `init` where it does not exist. Asking twice gives the same parameter,
    /// which is how weights are tied.
    ///
    /// # Errors
    /// One of that name with another shape exists; `init` does not suit the shape.
    pub fn param(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Param> {
        let made = self.store.get_or_create(&self.join(name), shape.into(), init, self.dtype(), Kind::Trainable);
        made.map_err(|e| e.at(&self.path))
    }

    /// The buffer `name`: saved with the model, not learned by gradients.
    ///
    /// # Errors
    /// As [`param`](Self::param).
    pub fn buffer(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Param> {
        self.buffer_of(name, shape, init, self.dtype())
    }

    /// The buffer `name` of another type than the model's, such as a counter.
    ///
    /// # Errors
    /// As [`param`](Self::param).
    pub fn buffer_of(&self, name: &str, shape: impl Into<Shape>, init: Init, dtype: DType) -> Result<Param> {
        let made = self.store.get_or_create(&self.join(name), shape.into(), init, dtype, Kind::Buffer);
        made.map_err(|e| e.at(&self.path))
    }

    /// Candle's builder at the same place, for layers of candle-nn and candle-transformers.
    pub fn candle(&self) -> candle_nn::VarBuilder<'static> {
        let backend = Box::new(self.store.clone());
        let root = candle_nn::VarBuilder::from_backend(backend, self.dtype(), self.device().clone());
        if self.path.is_empty() { root } else { root.pp(&self.path) }
    }

    fn join(&self, name: impl Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }
}
