//! Transforms of single images (those of sounds are in `audio`), seeded by the sample: the same whichever thread applies them.
//!
//! ```
//! use glassbox_core::{Dataset, DatasetExt, Seed};
//! use glassbox_data::transform::{Compose, Normalize, PadCrop, RandomFlip, Transform};
//! let augment = Compose::new()
//!     .then(PadCrop { padding: 1, ..Default::default() })
//!     .then(RandomFlip::default())
//!     .then(Normalize::new([0.3], [0.35])?);
//! let digits = glassbox_data::digits()?.map(move |sample, rng| augment.apply_to_sample(sample, rng));
//! assert_eq!(digits.get(0, &mut Seed(1).rng())?.input.dims(), [1, 8, 8]);
//! # Ok::<(), glassbox_core::Error>(())
//! ```

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Error, Result, Rng, Sample};

mod affine;
mod crop;
mod normalize;

pub use affine::RandomAffine;
pub use crop::{Cutout, PadCrop, PadMode, RandomFlip};
pub use normalize::Normalize;

/// An image to an image of the same shape; or a sound to a sound, or to its features.
pub trait Transform: Send + Sync {
    /// The transformed image; `rng` is the only source of randomness.
    ///
    /// # Shapes
    /// An image: (channels, height, width), f32, to the same. Those of sounds say theirs.
    ///
    /// # Errors
    /// The image is of another rank or type, or a setting of the transform does not fit it.
    fn apply(&self, image: &Tensor, rng: &mut Rng) -> Result<Tensor>;

    /// The sample with its input transformed, for [`DatasetExt::map`](glassbox_core::DatasetExt::map).
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn apply_to_sample(&self, sample: Sample, rng: &mut Rng) -> Result<Sample> {
        Ok(Sample { input: self.apply(&sample.input, rng)?, ..sample })
    }
}

/// Transforms one after another; none leaves the image as it is.
#[derive(Default)]
pub struct Compose {
    transforms: Vec<Box<dyn Transform>>,
}

impl Compose {
    /// No transform yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, and `transform` after.
    pub fn then(mut self, transform: impl Transform + 'static) -> Self {
        self.transforms.push(Box::new(transform));
        self
    }
}

impl Transform for Compose {
    fn apply(&self, image: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let mut image = image.clone();
        for transform in &self.transforms {
            image = transform.apply(&image, rng)?;
        }
        Ok(image)
    }
}

/// An image's values, laid out (channels, height, width).
struct Image {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Image {
    fn of(tensor: &Tensor, who: &str) -> Result<Self> {
        match (tensor.dims(), tensor.dtype()) {
            (&[channels, height, width], DType::F32) => {
                Ok(Self { channels, height, width, values: tensor.flatten_all()?.to_vec1()? })
            }
            (dims, dtype) => {
                let got = format!("{dims:?} of {}", dtype.as_str());
                Err(Error::invalid(format!("{who}'s image"), "(channels, height, width) of f32", got))
            }
        }
    }

    /// Each channel's values, row by row.
    fn planes_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        // An image without pixels has no plane; chunks of size 0 would panic.
        let area = (self.height * self.width).max(1);
        self.values.chunks_exact_mut(area)
    }

    /// An image of the same shape, each plane computed from this one's by `f(from, to)`.
    fn map_planes(&self, f: impl Fn(&[f32], &mut [f32])) -> Self {
        let mut result = Self { values: vec![0.0; self.values.len()], ..*self };
        let area = (self.height * self.width).max(1);
        self.values.chunks_exact(area).zip(result.planes_mut()).for_each(|(from, to)| f(from, to));
        result
    }

    fn into_tensor(self) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.values, (self.channels, self.height, self.width), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests;
