//! Shifting, mirroring and covering.

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng};

use super::{Image, Transform};

/// What is beyond an image's border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PadMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The image mirrored at its outermost row or column, which is not repeated.
    Reflect,
}

/// Pads each side, then crops the original size at a random place: a shift of up to `padding` pixels each way.
///
/// As torchvision's `RandomCrop(size, padding)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PadCrop {
    /// In pixels; 4 unless told.
    pub padding: usize,
    /// What the border is filled with; zeros unless told. To reflect, the padding must be less than either side.
    pub mode: PadMode,
}

impl Default for PadCrop {
    fn default() -> Self {
        Self { padding: 4, mode: PadMode::Zeros }
    }
}

impl PadCrop {
    /// Where the value at `position` + `offset` of the padded side comes from; none for the border's zeros.
    fn source(self, position: usize, offset: usize, side: usize) -> Option<usize> {
        match (position + offset).checked_sub(self.padding) {
            Some(source) if source < side => Some(source),
            _ if self.mode == PadMode::Zeros => None,
            Some(source) => (2 * (side - 1)).checked_sub(source),
            None => Some(self.padding - position - offset),
        }
    }
}

impl Transform for PadCrop {
    fn apply(&self, image: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let image = Image::of(image, "PadCrop")?;
        let (height, width) = (image.height, image.width);
        let bound = match self.mode {
            PadMode::Zeros => 1 << 24,
            PadMode::Reflect => height.min(width),
        };
        if self.padding >= bound {
            return Err(Error::invalid("PadCrop's padding", format!("less than {bound}"), self.padding));
        }
        let (top, left) = (rng.below(2 * self.padding + 1), rng.below(2 * self.padding + 1));
        let shifted = image.map_planes(|from, to| {
            for (y, row) in to.chunks_exact_mut(width.max(1)).enumerate() {
                let Some(source_y) = self.source(y, top, height) else { continue };
                for (x, value) in row.iter_mut().enumerate() {
                    *value = self.source(x, left, width).map_or(0.0, |source_x| from[source_y * width + source_x]);
                }
            }
        });
        shifted.into_tensor()
    }
}

/// Mirrors left and right, with a probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomFlip {
    /// In [0, 1]; 0.5 unless told.
    pub probability: f64,
}

impl Default for RandomFlip {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl Transform for RandomFlip {
    fn apply(&self, image: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(Error::invalid("RandomFlip's probability", "0 to 1", self.probability));
        }
        let mut image = Image::of(image, "RandomFlip")?;
        if rng.bernoulli(self.probability) {
            let width = image.width.max(1);
            image.values.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
        image.into_tensor()
    }
}

/// Sets a square to zero, centred on a random pixel and cut off at the border; after [`Normalize`](super::Normalize),
/// zero is the mean.
///
/// Reference: DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutout {
    /// The square's side, in pixels.
    pub size: usize,
}

impl Transform for Cutout {
    fn apply(&self, image: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let mut image = Image::of(image, "Cutout")?;
        let (width, center_y, center_x) = (image.width, rng.below(image.height), rng.below(image.width));
        let covered = |center: usize, side: usize| {
            let start = center.saturating_sub(self.size / 2);
            start..center.saturating_add(self.size - self.size / 2).min(side)
        };
        let (rows, columns) = (covered(center_y, image.height), covered(center_x, width));
        for plane in image.planes_mut() {
            for row in plane.chunks_exact_mut(width.max(1)).take(rows.end).skip(rows.start) {
                row[columns.clone()].fill(0.0);
            }
        }
        image.into_tensor()
    }
}
