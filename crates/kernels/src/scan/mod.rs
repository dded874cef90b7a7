//! Recurrences without products between features: each feature is a sequence of its own, h_t from h_(t−1).
//!
//! They need no matrix product between the steps, so everything around them is computed for all steps at once: minimal
//! recurrent networks (Feng et al. 2024, arXiv 2410.01201) and diagonal state-space models. On the CPU a call is one
//! operation: samples and blocks of features run in parallel, each from step to step, vectorised over its features. The
//! time itself is not cut, which would double the work. Elsewhere it is: in log2(seq_len) rounds of Candle's operations
//! (Hillis and Steele 1986).

mod composed;
mod run;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use crate::Result;
use crate::activation::formulas::sigmoid;
use crate::activation::{Activation, activation};
use crate::cpu::{Float, check_same_kind, is_fused};

/// h_t = a_t h_(t−1) + b_t, for every feature.
///
/// # Shapes
/// `a` and `b` (batch, seq_len, features), strided as they may be; `h0` (batch, features), zeros by default. Returns h of
/// all steps, (batch, seq_len, features).
///
/// # Errors
/// Where a shape, dtype or device does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_kernels::scan::scan;
///
/// # fn main() -> candle_core::Result<()> {
/// let a = Tensor::new(&[[[0.5f32], [0.5], [0.5]]], &Device::Cpu)?;
/// let b = Tensor::new(&[[[1f32], [0.0], [2.0]]], &Device::Cpu)?;
/// assert_eq!(scan(&a, &b, None)?.flatten_all()?.to_vec1::<f32>()?, [1.0, 0.5, 2.25]);
/// # Ok(())
/// # }
/// ```
pub fn scan(a: &Tensor, b: &Tensor, h0: Option<&Tensor>) -> Result<Tensor> {
    check("scan", ["a", "b"], a, b, h0)?;
    if is_fused(a) { run::apply::<Linear>(a, b, h0) } else { composed::scan(a, b, h0) }
}

/// h_t = (1 − z_t) h_(t−1) + z_t c_t with z = sigmoid(gate) and c the candidates, for every feature: the recurrence of
/// minimal recurrent networks, which keeps the gates in no memory.
///
/// # Shapes
/// `gate` and `candidate` (batch, seq_len, features), strided as they may be; `h0` (batch, features), zeros by default.
/// Returns h of all steps, (batch, seq_len, features).
///
/// # Errors
/// As [`scan`].
pub fn gated_scan(gate: &Tensor, candidate: &Tensor, h0: Option<&Tensor>) -> Result<Tensor> {
    check("gated_scan", ["gate", "candidate"], gate, candidate, h0)?;
    if is_fused(gate) {
        return run::apply::<Gated>(gate, candidate, h0);
    }
    let keep = activation(&gate.neg()?, Activation::Sigmoid)?;
    let added = (activation(gate, Activation::Sigmoid)? * candidate)?;
    composed::scan(&keep, &added, h0)
}

/// Fails unless `x` and `y`, called `names`, are (batch, seq_len, features) and `h0` (batch, features), all of one kind.
fn check(name: &str, names: [&str; 2], x: &Tensor, y: &Tensor, h0: Option<&Tensor>) -> Result<()> {
    let &[batch, _, features] = x.dims() else {
        candle_core::bail!("{name}: expected {} (batch, seq_len, features), got {:?}", names[0], x.dims());
    };
    if !x.dtype().is_float() {
        candle_core::bail!("{name}: expected {} of a float type, got {:?}", names[0], x.dtype());
    }
    if y.dims() != x.dims() {
        candle_core::bail!("{name}: expected {} {:?} as {}, got {:?}", names[1], x.dims(), names[0], y.dims());
    }
    check_same_kind(name, x, names[1], y)?;
    let Some(h0) = h0 else { return Ok(()) };
    if h0.dims() != [batch, features] {
        candle_core::bail!("{name}: expected h0 ({batch}, {features}), got {:?}", h0.dims());
    }
    check_same_kind(name, x, "h0", h0)
}

/// One step of one feature, from its two inputs x and y and the state before.
trait Step: Send + Sync + 'static {
    const NAME: &'static str;

    /// The state after.
    fn forward<T: Float>(x: T, y: T, h: T) -> T;

    /// The gradients of x, y and the state before, from `d`, that of the state after.
    fn backward<T: Float>(x: T, y: T, h: T, d: T) -> [T; 3];
}

struct Linear;

impl Step for Linear {
    const NAME: &'static str = "scan";

    #[inline(always)]
    fn forward<T: Float>(x: T, y: T, h: T) -> T {
        x * h + y
    }

    #[inline(always)]
    fn backward<T: Float>(x: T, _: T, h: T, d: T) -> [T; 3] {
        [d * h, d, d * x]
    }
}

struct Gated;

impl Step for Gated {
    const NAME: &'static str = "gated_scan";

    #[inline(always)]
    fn forward<T: Float>(x: T, y: T, h: T) -> T {
        h + sigmoid(x) * (y - h)
    }

    #[inline(always)]
    fn backward<T: Float>(x: T, y: T, h: T, d: T) -> [T; 3] {
        let z = sigmoid(x);
        let of_candidate = d * z;
        let kept = d - of_candidate;
        [kept * z * (y - h), of_candidate, kept]
    }
}
