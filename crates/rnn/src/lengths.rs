//! Which steps of padded sequences count.

use candle_core::{Device, Tensor};
use glassbox_core::{Error, Result};

/// Fails unless there is a length for each sample, from 1 to `seq_len`.
pub(crate) fn expect_lengths(lengths: &[usize], batch: usize, seq_len: usize) -> Result<()> {
    if lengths.len() != batch {
        return Err(Error::invalid("lengths", format!("{batch}, one for each sample"), lengths.len()));
    }
    match lengths.iter().enumerate().find(|(_, length)| !(1..=seq_len).contains(*length)) {
        Some((i, length)) => {
            Err(Error::invalid(format!("length of sample {i}"), format!("from 1 to {seq_len}"), length))
        }
        None => Ok(()),
    }
}

/// `value(length)` at the steps of each sample that come before its length, `beyond` after: (batch, 1, seq_len), in the
/// type and on the device of `like`, (batch, seq_len, …).
pub(crate) fn by_step(lengths: &[usize], like: &Tensor, value: impl Fn(usize) -> f64, beyond: f64) -> Result<Tensor> {
    let (batch, seq_len) = (like.dim(0)?, like.dim(1)?);
    expect_lengths(lengths, batch, seq_len)?;
    let mut values = Vec::with_capacity(batch * seq_len);
    for &length in lengths {
        values.extend((0..seq_len).map(|step| if step < length { value(length) } else { beyond }));
    }
    let values = Tensor::from_vec(values, (batch, 1, seq_len), &Device::Cpu)?;
    Ok(values.to_dtype(like.dtype())?.to_device(like.device())?)
}

/// 0 at the steps that count, else −∞: (batch, 1, seq_len).
pub(crate) fn mask(lengths: &[usize], like: &Tensor) -> Result<Tensor> {
    by_step(lengths, like, |_| 0.0, f64::NEG_INFINITY)
}
