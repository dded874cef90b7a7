//! Draws from categories that a gradient passes through.

use candle_core::{D, DType, Tensor};
use glassbox_core::{Error, Layer, Pass, Result, TensorExt};

/// Gumbel-softmax (Jang et al. 2016, arXiv 1611.01144; Maddison et al. 2016, arXiv 1611.00712): softmax((x + g) / tau) along
/// the last dimension, g = −ln(−ln u) with u uniform in (0, 1): a soft draw from the categories with logits x.
///
/// The noise comes from the pass, in evaluation too: there it is the same in every pass, unless the pass has a seed of its
/// own.
///
/// # Shapes
/// (…, categories) to the same; each row sums to 1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, Pass, Seed};
/// use glassbox_gan::GumbelSoftmax;
/// let logits = Tensor::new(&[[0f32, 50.0, 0.0]], &Device::Cpu)?;
/// let drawn = GumbelSoftmax::new(0.2)?.hard().forward(&logits, &Pass::train(Seed(1)))?;
/// assert_eq!(drawn.to_vec2::<f32>()?, [[0.0, 1.0, 0.0]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GumbelSoftmax {
    tau: f64,
    hard: bool,
}

impl GumbelSoftmax {
    /// Soft draws at temperature `tau`, above 0: the smaller, the closer to one category.
    ///
    /// # Errors
    /// A temperature that is not above 0.
    pub fn new(tau: f64) -> Result<Self> {
        if !(tau > 0.0 && tau.is_finite()) {
            return Err(Error::invalid("tau", "a number above 0", tau));
        }
        Ok(Self { tau, hard: false })
    }

    /// Gives one category, as 1 among zeros, while the gradient is that of the soft draw (straight through).
    pub fn hard(self) -> Self {
        Self { hard: true, ..self }
    }
}

impl Layer for GumbelSoftmax {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let categories = xs.dim(D::Minus1)?;
        // Open at both ends: no logarithm of 0, in f32 either.
        let uniform = pass.rng().uniform_tensor(xs.shape(), 1e-7, 1.0 - 1e-7, DType::F64, &candle_core::Device::Cpu)?;
        let gumbel = uniform.log()?.neg()?.log()?.neg()?.to_dtype(xs.dtype())?.to_device(xs.device())?;
        let soft = ((xs + gumbel)? / self.tau)?.softmax(D::Minus1)?;
        if !self.hard {
            return Ok(soft);
        }
        let best = soft.detach().argmax(D::Minus1)?;
        let drawn = one_hot(&best, categories, &soft)?;
        Ok(((drawn - soft.detach())? + soft)?)
    }
}

/// 1 at each of `ids` (…), else 0: (…, categories), of the type and on the device of `like`.
pub(crate) fn one_hot(ids: &Tensor, categories: usize, like: &Tensor) -> Result<Tensor> {
    let all = Tensor::arange(0u32, categories as u32, like.device())?;
    let ids = ids.to_dtype(DType::U32)?.unsqueeze(D::Minus1)?;
    Ok(ids.broadcast_eq(&all)?.to_dtype(like.dtype())?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use glassbox_core::Seed;

    use super::*;

    #[test]
    fn draws_have_the_softmax_frequencies() {
        let logits = Tensor::new(&[[0f32, 1.0, 2.0]], &Device::Cpu).unwrap().broadcast_as((20_000, 3)).unwrap();
        let drawn = GumbelSoftmax::new(0.5).unwrap().hard().forward(&logits, &Pass::train(Seed(2))).unwrap();
        let shares = drawn.mean(0).unwrap().to_vec1::<f32>().unwrap();
        // 20,000 draws: the standard error of a share is below 0.0036; five of them are allowed.
        for (share, expected) in shares.iter().zip([0.0900, 0.2447, 0.6652]) {
            assert!((share - expected).abs() < 0.018, "{shares:?}");
        }
        assert!(GumbelSoftmax::new(0.0).is_err());
    }
}
