//! Resizing of images.

use candle_core::Tensor;
use glassbox_core::{Error, Layer, Pass, Result, TensorExt};
use glassbox_kernels::upsample::{upsample_bilinear2d, upsample_nearest2d};

use crate::Pair;

/// The size that an [`Upsample`] makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resize {
    /// The input's size times these factors, rounded down.
    Scale {
        /// Factor of the height, above 0.
        height: f64,
        /// Factor of the width, above 0.
        width: f64,
    },
    /// This size, whatever the input's.
    Size(Pair),
}

impl Resize {
    /// `factor` times the input's height and width.
    pub const fn by(factor: f64) -> Self {
        Self::Scale { height: factor, width: factor }
    }

    /// The given size.
    pub fn to(size: impl Into<Pair>) -> Self {
        Self::Size(size.into())
    }

    fn size(self, height: usize, width: usize) -> Result<Pair> {
        match self {
            Self::Size(size) => Ok(size),
            Self::Scale { height: by_height, width: by_width } => {
                Ok(Pair { height: scaled(height, by_height)?, width: scaled(width, by_width)? })
            }
        }
    }
}

fn scaled(size: usize, factor: f64) -> Result<usize> {
    let scaled = size as f64 * factor;
    // Beyond this no image fits in memory; a NaN fails too.
    if !(factor > 0.0 && scaled < 1e9) {
        return Err(Error::invalid("scale factor", "above 0, and a size below 1e9", format!("{factor} of {size}")));
    }
    Ok(scaled as usize)
}

/// Where the values between pixels come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest pixel towards the start.
    Nearest,
    /// The four pixels around, weighted by closeness.
    Bilinear {
        /// Whether the corner pixels of input and output are laid on each other, instead of the images' edges.
        align_corners: bool,
    },
}

/// Resizes images, as PyTorch's `nn.Upsample` in the modes `nearest` and `bilinear`.
///
/// Where a scale factor does not give a whole number of pixels, positions follow from the sizes, as PyTorch's
/// `recompute_scale_factor=True`; otherwise there is no difference.
///
/// # Shapes
/// (batch, channels, height, width) to (batch, channels, height', width').
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{Resize, Upsample};
/// use glassbox_core::{Layer, Pass};
/// let images = Tensor::zeros((2, 3, 8, 6), DType::F32, &Device::Cpu)?;
/// assert_eq!(Upsample::nearest(Resize::by(2.0)).forward(&images, &Pass::eval())?.dims(), [2, 3, 16, 12]);
/// let smooth = Upsample::bilinear(Resize::to((20, 15)), false);
/// assert_eq!(smooth.forward(&images, &Pass::eval())?.dims(), [2, 3, 20, 15]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Upsample {
    resize: Resize,
    interpolation: Interpolation,
}

impl Upsample {
    /// Resizing by `interpolation`.
    pub const fn new(resize: Resize, interpolation: Interpolation) -> Self {
        Self { resize, interpolation }
    }

    /// Resizing that repeats pixels.
    pub const fn nearest(resize: Resize) -> Self {
        Self::new(resize, Interpolation::Nearest)
    }

    /// Resizing that blends pixels. PyTorch's default for `align_corners` is false.
    pub const fn bilinear(resize: Resize, align_corners: bool) -> Self {
        Self::new(resize, Interpolation::Bilinear { align_corners })
    }
}

impl Layer for Upsample {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        xs.expect_rank(4, "(batch, channels, height, width)")?;
        let (_, _, height, width) = xs.dims4()?;
        let size = self.resize.size(height, width)?;
        Ok(match self.interpolation {
            Interpolation::Nearest => upsample_nearest2d(xs, size.height, size.width)?,
            Interpolation::Bilinear { align_corners } => {
                upsample_bilinear2d(xs, size.height, size.width, align_corners)?
            }
        })
    }
}
