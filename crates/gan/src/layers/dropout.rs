//! Dropout whose mask the input gradient knows.

use candle_core::Tensor;
use glassbox_core::{Error, Layer, Pass, Result};

use crate::input_gradient::{InputGradient, Pullback};

/// Dropout for critics under a gradient penalty: in training each element is dropped with `probability`, the others are
/// divided by 1 − probability. Core's `Dropout` does the same faster, but keeps its mask to itself.
///
/// # Shapes
/// Any; the output has the same.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, Pass, Seed};
/// use glassbox_gan::CriticDropout;
/// let xs = Tensor::ones(1000, DType::F32, &Device::Cpu)?;
/// let ys = CriticDropout::new(0.5)?.forward(&xs, &Pass::train(Seed(1)))?.to_vec1::<f32>()?;
/// assert!(ys.iter().all(|&y| y == 0.0 || y == 2.0));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CriticDropout {
    probability: f64,
}

impl CriticDropout {
    /// Drops with `probability`, in [0, 1).
    ///
    /// # Errors
    /// A probability out of range.
    pub fn new(probability: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&probability) {
            return Err(Error::invalid("dropout probability", "within [0, 1)", probability));
        }
        Ok(Self { probability })
    }

    /// What each element is multiplied by; none where nothing is dropped.
    fn mask(&self, xs: &Tensor, pass: &Pass) -> Result<Option<Tensor>> {
        if !pass.is_training() || self.probability == 0.0 {
            return Ok(None);
        }
        let drawn = pass.rng().uniform_tensor(xs.shape(), 0.0, 1.0, xs.dtype(), xs.device())?;
        let kept = drawn.ge(self.probability)?.to_dtype(xs.dtype())?;
        Ok(Some((kept * (1.0 / (1.0 - self.probability)))?))
    }
}

impl Layer for CriticDropout {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        Ok(self.mask(xs, pass)?.map_or(Ok(xs.clone()), |mask| xs * mask)?)
    }
}

impl InputGradient for CriticDropout {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let Some(mask) = self.mask(xs, pass)? else { return Ok((xs.clone(), Box::new(|g| Ok(g.clone())))) };
        Ok(((xs * &mask)?, Box::new(move |g| Ok((g * &mask)?))))
    }
}
