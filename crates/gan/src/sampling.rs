//! Latents to sample from.

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Error, Result, Seed, TensorExt};

/// Normal latents (count, latent_size), each number drawn again until it is at most `truncation` in size (Brock et al.
/// 2018, arXiv 1809.11096): a smaller truncation gives better samples of less variety. None for no limit.
///
/// # Errors
/// A truncation below 0.1, which would draw for very long.
///
/// ```
/// use candle_core::{DType, Device};
/// use glassbox_core::Seed;
/// use glassbox_gan::sampling::latents;
/// let zs = latents(4, 16, Some(0.5), Seed(1), DType::F32, &Device::Cpu)?;
/// assert!(zs.abs()?.max_all()?.to_scalar::<f32>()? <= 0.5);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn latents(
    count: usize,
    latent_size: usize,
    truncation: Option<f64>,
    seed: Seed,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let mut rng = seed.rng();
    let Some(limit) = truncation else {
        return rng.normal_tensor((count, latent_size), 0.0, 1.0, dtype, device);
    };
    if limit < 0.1 || limit.is_nan() {
        return Err(Error::invalid("truncation", "at least 0.1", limit));
    }
    let mut within = || loop {
        let value = rng.normal();
        if value.abs() <= limit {
            return value;
        }
    };
    let values: Vec<f64> = (0..count * latent_size).map(|_| within()).collect();
    Ok(Tensor::from_vec(values, (count, latent_size), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}

/// `steps` latents from `from` to `to` along the arc between them (spherical interpolation, White 2016, arXiv 1609.04468):
/// normal latents of many numbers all have about the same length, and a straight line between two passes through shorter
/// ones, which the generator has never seen.
///
/// # Shapes
/// Two of (latent_size) to (steps, latent_size), both ends among them.
///
/// # Errors
/// Fewer than two steps; latents of different shapes.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_gan::sampling::interpolate;
/// let (a, b) = (Tensor::new(&[1f32, 0.0], &Device::Cpu)?, Tensor::new(&[0f32, 1.0], &Device::Cpu)?);
/// let way = interpolate(&a, &b, 3)?.to_vec2::<f32>()?;
/// assert!((way[1][0] - 0.5f32.sqrt()).abs() < 1e-6);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn interpolate(from: &Tensor, to: &Tensor, steps: usize) -> Result<Tensor> {
    if steps < 2 {
        return Err(Error::invalid("steps of an interpolation", "2 or more", steps));
    }
    if from.rank() != 1 || from.dims() != to.dims() {
        let got = format!("{:?} and {:?}", from.dims(), to.dims());
        return Err(Error::invalid("latents", "two of shape (latent_size)", got));
    }
    let length = |t: &Tensor| Ok::<_, Error>(t.sqr()?.sum_all()?.to_f64()?.sqrt());
    let cosine = (from * to)?.sum_all()?.to_f64()? / (length(from)? * length(to)?).max(1e-30);
    let angle = cosine.clamp(-1.0, 1.0).acos();
    let at = |i: usize| {
        let share = i as f64 / (steps - 1) as f64;
        // Nearly the same direction, or opposite ones, between which no arc is the shortest: a straight line.
        let (a, b) = if angle.sin() < 1e-6 {
            (1.0 - share, share)
        } else {
            (((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin())
        };
        Ok(((from * a)? + (to * b)?)?)
    };
    Ok(Tensor::stack(&(0..steps).map(at).collect::<Result<Vec<_>>>()?, 0)?)
}

/// Classes for a grid whose column is a class: `rows` times 0, 1, …, `num_classes` − 1.
///
/// # Errors
/// The device is out of memory.
pub fn class_grid(rows: usize, num_classes: usize, device: &Device) -> Result<Tensor> {
    let classes: Vec<u32> = (0..rows).flat_map(|_| 0..num_classes as u32).collect();
    Ok(Tensor::from_vec(classes, rows * num_classes, &Device::Cpu)?.to_device(device)?)
}
