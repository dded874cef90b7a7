//! Rotation, shift, scale and shear.

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng};

use super::{Image, Transform};

/// Rotates, shifts, scales and shears about the centre, each by a random amount, sampling bilinearly; beyond the border
/// are zeros.
///
/// As torchvision's `RandomAffine` with bilinear interpolation, except that the shift is not rounded to whole pixels.
/// The default changes nothing: `RandomAffine { degrees: 10.0, translate: 0.1, ..Default::default() }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomAffine {
    /// Rotation, uniform within ± this many degrees.
    pub degrees: f64,
    /// Shift along each axis, uniform within ± this fraction of the side.
    pub translate: f64,
    /// Enlargement, uniform between the two.
    pub scale: (f64, f64),
    /// Shear along the width, uniform within ± this many degrees; less than 90.
    pub shear: f64,
}

impl Default for RandomAffine {
    fn default() -> Self {
        Self { degrees: 0.0, translate: 0.0, scale: (1.0, 1.0), shear: 0.0 }
    }
}

/// One draw. Angles in radians, the shift in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    pub(super) angle: f64,
    pub(super) shift: (f64, f64),
    pub(super) scale: f64,
    pub(super) shear: f64,
}

impl RandomAffine {
    fn check(&self) -> Result<()> {
        let (low, high) = self.scale;
        let valid = (0.0..=360.0).contains(&self.degrees)
            && (0.0..f64::INFINITY).contains(&self.translate)
            && (0.0..90.0).contains(&self.shear)
            && low > 0.0
            && low <= high
            && high.is_finite();
        if valid {
            return Ok(());
        }
        let expected = "degrees 0 to 360, translate at least 0, scale 0 < low <= high, shear below 90";
        Err(Error::invalid("RandomAffine", expected, format!("{self:?}")))
    }

    fn draw(&self, image: &Image, rng: &mut Rng) -> Affine {
        let mut within = |limit: f64| (2.0 * rng.uniform() - 1.0) * limit;
        let angle = within(self.degrees).to_radians();
        let shift = (within(self.translate * image.width as f64), within(self.translate * image.height as f64));
        let shear = within(self.shear).to_radians();
        let (low, high) = self.scale;
        Affine { angle, shift, scale: low + (high - low) * rng.uniform(), shear }
    }
}

impl Transform for RandomAffine {
    fn apply(&self, image: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        self.check()?;
        let image = Image::of(image, "RandomAffine")?;
        let affine = self.draw(&image, rng);
        warp(&image, affine).into_tensor()
    }
}

impl Affine {
    /// Where the value at (x, y) of the result comes from; positions are relative to the image's centre.
    ///
    /// Inverse of `position -> scale · rotation · [[1, -tan(shear)], [0, 1]] · position + shift`.
    fn source(self, x: f64, y: f64) -> (f64, f64) {
        let (sin, cos) = self.angle.sin_cos();
        let tan = self.shear.tan();
        let (x, y) = (x - self.shift.0, y - self.shift.1);
        let source_x = (cos - sin * tan) * x + (cos * tan + sin) * y;
        let source_y = cos * y - sin * x;
        (source_x / self.scale, source_y / self.scale)
    }
}

pub(super) fn warp(image: &Image, affine: Affine) -> Image {
    let (height, width) = (image.height, image.width);
    // A pixel's centre is half a pixel from its corner.
    let (center_x, center_y) = (width as f64 / 2.0 - 0.5, height as f64 / 2.0 - 0.5);
    let sources: Vec<(f64, f64)> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x as f64 - center_x, y as f64 - center_y)))
        .map(|(x, y)| affine.source(x, y))
        .map(|(x, y)| (x + center_x, y + center_y))
        .collect();
    image.map_planes(|from, to| {
        for (value, &(x, y)) in to.iter_mut().zip(&sources) {
            *value = bilinear(from, (height, width), x, y);
        }
    })
}

/// The plane's value at (x, y) in pixels, between the four nearest; zeros beyond the border.
fn bilinear(plane: &[f32], (height, width): (usize, usize), x: f64, y: f64) -> f32 {
    // False for NaN too, so that the conversions below are safe.
    if !(x > -1.0 && y > -1.0 && x < width as f64 && y < height as f64) {
        return 0.0;
    }
    let (x0, y0) = (x.floor(), y.floor());
    let (right, below) = ((x - x0) as f32, (y - y0) as f32);
    let (x0, y0) = (x0 as isize, y0 as isize);
    let at = |x: isize, y: isize| match (usize::try_from(x), usize::try_from(y)) {
        (Ok(x), Ok(y)) if x < width && y < height => plane[y * width + x],
        _ => 0.0,
    };
    let upper = at(x0, y0) * (1.0 - right) + at(x0 + 1, y0) * right;
    let lower = at(x0, y0 + 1) * (1.0 - right) + at(x0 + 1, y0 + 1) * right;
    upper * (1.0 - below) + lower * below
}
