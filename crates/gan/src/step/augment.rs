//! Augmentation that a gradient passes through.

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng, TensorExt};
use serde::{Deserialize, Serialize};

use crate::penalty::per_sample;

/// Differentiable augmentation of images (Zhao et al. 2020, arXiv 2006.10738): applied to all that the critic sees, so that
/// it cannot learn few real images by heart, and the generator does not learn to augment. Each image has its own draw.
///
/// Off, each, in the default. For a few thousand images: all three.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::Seed;
/// use glassbox_gan::DiffAugment;
/// let images = Tensor::ones((2, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let augment = DiffAugment { translation: 0.125, ..Default::default() };
/// assert_eq!(augment.apply(&images, &mut Seed(1).rng())?.dims(), [2, 1, 8, 8]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiffAugment {
    /// Brightness moved by up to 0.5 either way, saturation by a factor in [0, 2), contrast by one in [0.5, 1.5).
    pub color: bool,
    /// Moved by up to this share of the size along each axis, zeros coming in; 0.125 in the paper. In [0, 1].
    pub translation: f64,
    /// A square of this share of the size set to 0; 0.5 in the paper. In [0, 1].
    pub cutout: f64,
}

impl DiffAugment {
    pub(super) fn check(&self) -> Result<()> {
        for (what, share) in [("translation", self.translation), ("cutout", self.cutout)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::invalid(format!("{what} of DiffAugment"), "a share within [0, 1]", share));
            }
        }
        Ok(())
    }

    /// The images augmented, as `rng` draws it.
    ///
    /// # Errors
    /// No images (batch, channels, height, width); a share out of range.
    pub fn apply(&self, images: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        self.check()?;
        images.expect_rank(4, "(batch, channels, height, width)")?;
        let mut images = images.clone();
        if self.color {
            images = colored(&images, rng)?;
        }
        if self.translation > 0.0 {
            images = moved(&images, self.translation, rng)?;
        }
        if self.cutout > 0.0 {
            images = cut_out(&images, self.cutout, rng)?;
        }
        Ok(images)
    }
}

fn colored(images: &Tensor, rng: &mut Rng) -> Result<Tensor> {
    let mut draw = |low, high| rng.uniform_tensor(per_sample(images), low, high, images.dtype(), images.device());
    let (brightness, saturation, contrast) = (draw(-0.5, 0.5)?, draw(0.0, 2.0)?, draw(0.5, 1.5)?);
    let images = images.broadcast_add(&brightness)?;
    let about = |images: &Tensor, mean: &Tensor, factor: &Tensor| {
        images.broadcast_sub(mean)?.broadcast_mul(factor)?.broadcast_add(mean)
    };
    let images = if images.dim(1)? > 1 { about(&images, &images.mean_keepdim(1)?, &saturation)? } else { images };
    let mean = images.flatten_from(1)?.mean_keepdim(1)?.reshape(per_sample(&images))?;
    Ok(about(&images, &mean, &contrast)?)
}

/// By products with a matrix for each image and axis, which a gradient passes through.
fn moved(images: &Tensor, share: f64, rng: &mut Rng) -> Result<Tensor> {
    let (batch, channels, height, width) = images.dims4()?;
    let mut shifts = |size: usize| {
        let most = (size as f64 * share).round() as usize;
        let by: Vec<i64> = (0..batch).map(|_| rng.below(2 * most + 1) as i64 - most as i64).collect();
        shift_matrices(&by, size, images)
    };
    let (rows, columns) = (shifts(height)?, shifts(width)?);
    let wide = images.reshape((batch, channels * height, width))?.matmul(&columns)?;
    let tall = wide.reshape((batch, channels, height, width))?.transpose(2, 3)?.contiguous()?;
    let tall = tall.reshape((batch, channels * width, height))?.matmul(&rows)?;
    Ok(tall.reshape((batch, channels, width, height))?.transpose(2, 3)?.contiguous()?)
}

/// Matrices (batch, size, size) that move a row of `size` elements by so many places.
fn shift_matrices(by: &[i64], size: usize, like: &Tensor) -> Result<Tensor> {
    let mut values = vec![0f32; by.len() * size * size];
    for (sample, &by) in by.iter().enumerate() {
        for from in 0..size {
            if let Some(to) = from.checked_add_signed(by as isize).filter(|&to| to < size) {
                values[(sample * size + from) * size + to] = 1.0;
            }
        }
    }
    let matrices = Tensor::from_vec(values, (by.len(), size, size), &candle_core::Device::Cpu)?;
    Ok(matrices.to_dtype(like.dtype())?.to_device(like.device())?)
}

fn cut_out(images: &Tensor, share: f64, rng: &mut Rng) -> Result<Tensor> {
    let (batch, _, height, width) = images.dims4()?;
    let side = |size: usize| ((size as f64 * share).round() as usize).min(size);
    let (tall, wide) = (side(height), side(width));
    let mut mask = vec![1f32; batch * height * width];
    for sample in mask.chunks_mut((height * width).max(1)) {
        // The square's middle lies anywhere in the image, so that it may reach beyond the edge.
        let (top, left) = (rng.below(height + 1), rng.below(width + 1));
        let range = |at: usize, side: usize, size: usize| at.saturating_sub(side / 2)..(at + side - side / 2).min(size);
        for y in range(top, tall, height) {
            for x in range(left, wide, width) {
                sample[y * width + x] = 0.0;
            }
        }
    }
    let mask = Tensor::from_vec(mask, (batch, 1, height, width), &candle_core::Device::Cpu)?;
    Ok(images.broadcast_mul(&mask.to_dtype(images.dtype())?.to_device(images.device())?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use glassbox_core::Seed;
    use glassbox_core::testkit::{check_gradients, values};

    use super::*;

    #[test]
    fn gradients_pass_through() {
        let images = [values((3, 2, 4, 6), 1).unwrap()];
        let all = DiffAugment { color: true, translation: 0.25, cutout: 0.5 };
        check_gradients(&images, |t| all.apply(&t[0], &mut Seed(5).rng()).map_err(Into::into)).unwrap();
    }

    #[test]
    fn images_move_and_lose_a_square() {
        let image = Tensor::arange(1f32, 13.0, &Device::Cpu).unwrap().reshape((1, 1, 3, 4)).unwrap();
        let shift = shift_matrices(&[1], 4, &image).unwrap();
        let moved = image.reshape((1, 3, 4)).unwrap().matmul(&shift).unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(moved[0][0], [0.0, 1.0, 2.0, 3.0]);
        let ones = Tensor::ones((64, 1, 8, 8), DType::F32, &Device::Cpu).unwrap();
        let cut = cut_out(&ones, 0.5, &mut Seed(1).rng()).unwrap();
        let left = cut.flatten_from(1).unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
        assert!(left.iter().all(|&n| (48.0..=60.0).contains(&n)) && left.contains(&48.0), "{left:?}");
        assert!(DiffAugment { cutout: 1.5, ..Default::default() }.apply(&ones, &mut Seed(1).rng()).is_err());
    }
}
