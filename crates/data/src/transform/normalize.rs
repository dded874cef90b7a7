//! Centring and scaling by channel.

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng};

use super::{Image, Transform};

/// `(x − mean) / std`, with a mean and a standard deviation for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalize {
    /// A transform for images of as many channels as there are means.
    ///
    /// # Errors
    /// The numbers of means and deviations differ or are 0; one is not finite; a deviation is not above 0.
    pub fn new(mean: impl Into<Vec<f32>>, std: impl Into<Vec<f32>>) -> Result<Self> {
        let (mean, std) = (mean.into(), std.into());
        let valid = mean.iter().all(|m| m.is_finite()) && std.iter().all(|s| s.is_finite() && *s > 0.0);
        if mean.is_empty() || mean.len() != std.len() || !valid {
            let expected = "as many finite means as standard deviations above 0";
            return Err(Error::invalid("Normalize", expected, format!("mean {mean:?}, std {std:?}")));
        }
        Ok(Self { mean, std })
    }
}

impl Transform for Normalize {
    fn apply(&self, image: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        let mut image = Image::of(image, "Normalize")?;
        if image.channels != self.mean.len() {
            return Err(Error::invalid("Normalize's image", format!("{} channels", self.mean.len()), image.channels));
        }
        for (plane, (mean, std)) in image.planes_mut().zip(self.mean.iter().zip(&self.std)) {
            plane.iter_mut().for_each(|v| *v = (*v - mean) / std);
        }
        image.into_tensor()
    }
}
