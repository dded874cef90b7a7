//! Layer normalisation.

use candle_core::Tensor;
use glassbox_core::{Layer, LayerNorm, Pass, Result};

use super::{InputGradient, Pullback};

/// With n = (x − mean) / σ, σ = √(variance + eps) and u = g · weight, the gradient of the input is
/// (u − mean(u) − n · mean(u · n)) / σ.
impl InputGradient for LayerNorm {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let ys = self.forward(xs, pass)?;
        let len = self.normalized_shape().elem_count();
        let centered = {
            let rows = xs.reshape(((), len))?;
            rows.broadcast_sub(&rows.mean_keepdim(1)?)?
        };
        let scale = (centered.sqr()?.mean_keepdim(1)? + self.eps())?.sqrt()?.recip()?;
        let normal = centered.broadcast_mul(&scale)?;
        let weight = self.weight().map(|weight| weight.get(pass).reshape((1, len))).transpose()?;
        let pullback = move |g: &Tensor| {
            let rows = g.reshape(((), len))?;
            let u = weight.as_ref().map_or(Ok(rows.clone()), |weight| rows.broadcast_mul(weight))?;
            let along = normal.broadcast_mul(&(&u * &normal)?.mean_keepdim(1)?)?;
            let inner = (u.broadcast_sub(&u.mean_keepdim(1)?)? - along)?;
            Ok(inner.broadcast_mul(&scale)?.reshape(g.shape())?)
        };
        Ok((ys, Box::new(pullback)))
    }
}
