//! One parameter or buffer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use candle_core::{DType, Shape, Tensor, Var};

use crate::{Pass, Result};

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
}

impl Param {
    pub(super) fn new(name: &str, value: &Tensor, kind: Kind) -> Result<Self> {
        let var = Var::from_tensor(value)?;
        Ok(Self(Arc::new(Inner { name: name.to_string(), var, kind: AtomicU8::new(kind as u8) })))
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
