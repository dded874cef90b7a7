//! Limits on gradients.

use glassbox_kernels::optim::{global_norm, limited, scaled};

use crate::optim::{GradTransform, Gradients, check};
use crate::{Error, Result};

/// Scales all gradients together so that their norm is at most `max_norm`: `g · min(1, max_norm / (norm + 10⁻⁶))`, where
/// `norm = √(Σ g²)` over every element of every parameter (Pascanu et al. 2013); PyTorch's `clip_grad_norm_`.
///
/// It reports the norm before clipping as `gradient_norm`.
///
/// # Errors
/// A norm that is not finite, with the parameter where it comes from (PyTorch only with `error_if_nonfinite=True`).
#[derive(Clone, Copy, Debug)]
pub struct ClipNorm {
    max_norm: f64,
    last: Option<f64>,
}

impl ClipNorm {
    /// Clips to `max_norm`, above 0.
    pub fn new(max_norm: f64) -> Self {
        Self { max_norm, last: None }
    }
}

impl GradTransform for ClipNorm {
    fn apply(&mut self, gradients: Gradients, _: bool) -> Result<Option<Gradients>> {
        let max_norm = check::positive("ClipNorm", "max_norm", self.max_norm)?;
        let norm = norm(&gradients)?;
        self.last = Some(norm);
        if !norm.is_finite() {
            return Err(not_finite(&gradients, norm));
        }
        let scale = max_norm / (norm + 1e-6);
        if scale >= 1.0 {
            return Ok(Some(gradients));
        }
        gradients.map(|_, g| Ok(scaled(g, scale)?)).map(Some)
    }

    fn report(&self) -> Option<(&'static str, f64)> {
        self.last.map(|norm| ("gradient_norm", norm))
    }
}

fn norm(gradients: &Gradients) -> Result<f64> {
    let tensors: Vec<_> = gradients.iter().map(|(_, g)| g.clone()).collect();
    Ok(global_norm(&tensors)?)
}

/// Names the first parameter whose own gradient is not finite; there is none where only the sum overflows.
fn not_finite(gradients: &Gradients, norm: f64) -> Error {
    let broken = gradients.iter().find(|(_, g)| !global_norm(std::slice::from_ref(g)).is_ok_and(f64::is_finite));
    let place = broken.map(|(p, _)| format!(" (gradient of `{}`)", p.name())).unwrap_or_default();
    Error::invalid("gradient norm", "a finite number", format!("{norm}{place}"))
}

/// Limits every element of every gradient to [−limit, limit]; PyTorch's `clip_grad_value_`.
#[derive(Clone, Copy, Debug)]
pub struct ClipValue {
    limit: f64,
}

impl ClipValue {
    /// Clips to `limit`, above 0.
    pub fn new(limit: f64) -> Self {
        Self { limit }
    }
}

impl GradTransform for ClipValue {
    fn apply(&mut self, gradients: Gradients, _: bool) -> Result<Option<Gradients>> {
        let limit = check::positive("ClipValue", "limit", self.limit)?;
        gradients.map(|_, g| Ok(limited(g, limit)?)).map(Some)
    }
}
