//! One parameter or buffer.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use candle_core::{DType, Shape, Tensor, Var};

use super::LowRank;
use crate::{Error, Pass, Result};

/// What training does with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Changed by the optimizer.
    Trainable = 0,
    /// A parameter that keeps its value.
    Frozen = 1,
    /// State that is saved but not learned by gradients, such as a running mean.
    Buffer = 2,
}

/// A named parameter or buffer. Clones are the same parameter.
#[derive(Clone)]
pub struct Param(Arc<Inner>);

struct Inner {
    name: String,
    var: Var,
    kind: AtomicU8,
    /// Of the weight of a linear layer, whether and how it is changed.
    low_rank: OnceLock<RwLock<Option<Arc<LowRank>>>>,
}

impl Param {
    pub(super) fn new(name: &str, value: &Tensor, kind: Kind) -> Result<Self> {
        let var = Var::from_tensor(value)?;
        let (name, kind) = (name.to_string(), AtomicU8::new(kind as u8));
        Ok(Self(Arc::new(Inner { name, var, kind, low_rank: OnceLock::new() })))
    }

    /// Its full name, such as `encoder.2.attn.q.weight`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether training changes it.
    pub fn kind(&self) -> Kind {
        match self.0.kind.load(Ordering::Relaxed) {
            0 => Kind::Trainable,
            1 => Kind::Frozen,
            _ => Kind::Buffer,
        }
    }

    pub(super) fn switch(&self, from: Kind, to: Kind) {
        // Only the expected kind changes; another one is already what was asked for, or a buffer.
        let _ = self.0.kind.compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The variable behind it.
    pub fn var(&self) -> &Var {
        &self.0.var
    }

    /// Its value in a forward pass: tracked for gradients where it is trainable and `pass` records gradients.
    pub fn get(&self, pass: &Pass) -> Tensor {
        if self.kind() == Kind::Trainable && pass.records_gradients() {
            self.0.var.as_tensor().clone()
        } else {
            self.value()
        }
    }

    /// Its value, untracked. It shares memory with the parameter and changes with it.
    pub fn value(&self) -> Tensor {
        self.0.var.as_detached_tensor()
    }

    /// Says that this is the weight of a [`Linear`](crate::Linear) layer.
    pub(crate) fn mark_linear(&self) {
        self.0.low_rank.get_or_init(RwLock::default);
    }

    /// Whether this is the weight of a [`Linear`](crate::Linear) layer, which [`set_low_rank`](Self::set_low_rank) can change.
    pub fn is_linear(&self) -> bool {
        self.0.low_rank.get().is_some()
    }

    /// The change that its linear layer makes to it, if there is one. [`get`](Self::get) and [`value`](Self::value) are
    /// without it.
    pub fn low_rank(&self) -> Option<Arc<LowRank>> {
        self.0.low_rank.get().and_then(|change| change.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Has its linear layer compute with a low-rank change of it from now on, or without one.
    ///
    /// # Errors
    /// It is not the weight of a linear layer, or the change has other sizes.
    pub fn set_low_rank(&self, change: Option<LowRank>) -> Result<()> {
        let Some(place) = self.0.low_rank.get() else {
            return Err(Error::invalid(
                "low-rank change",
                "the weight of a linear layer",
                format!("`{}`", self.name()),
            ));
        };
        change.iter().try_for_each(|change| change.check(self))?;
        *place.write().unwrap_or_else(PoisonError::into_inner) = change.map(Arc::new);
        Ok(())
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        self.0.var.shape()
    }

    /// Its type.
    pub fn dtype(&self) -> DType {
        self.0.var.dtype()
    }

    /// Its number of elements.
    pub fn elem_count(&self) -> usize {
        self.shape().elem_count()
    }

    /// Replaces its value, converting type and device.
    ///
    /// # Errors
    /// Another shape, or a tensor that shares the parameter's own memory.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        let value = value.to_device(self.0.var.device())?.to_dtype(self.dtype())?;
        Ok(self.0.var.set(&value)?)
    }
}

impl std::fmt::Debug for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {:?} {:?}", self.name(), self.shape().dims(), self.dtype(), self.kind())
    }
}
