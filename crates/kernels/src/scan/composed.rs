//! The linear recurrence from Candle's operations, for devices without a kernel of ours.

use candle_core::Tensor;

use crate::Result;

/// As [`super::scan`]. A pair (a, b) stands for the step h → a h + b. In each round every pair is joined with the one
/// `shift` steps before it, so that after log2(seq_len) rounds each stands for all steps up to its own.
pub(super) fn scan(a: &Tensor, b: &Tensor, h0: Option<&Tensor>) -> Result<Tensor> {
    let (batch, seq_len, features) = a.dims3()?;
    let (mut a, mut b) = (a.clone(), b.clone());
    let mut shift = 1;
    while shift < seq_len {
        // Before the first step there are steps that change nothing.
        let nothing = Tensor::zeros((batch, shift, features), a.dtype(), a.device())?;
        let before = |xs: &Tensor, first: Tensor| Tensor::cat(&[first, xs.narrow(1, 0, seq_len - shift)?], 1);
        b = (&b + (&a * before(&b, nothing.clone())?)?)?;
        a = (&a * before(&a, nothing.ones_like()?)?)?;
        shift *= 2;
    }
    match h0 {
        Some(h0) => b + a.broadcast_mul(&h0.unsqueeze(1)?)?,
        None => Ok(b),
    }
}
