//! Distances of two sets of features.

use candle_core::{DType, Tensor};
use glassbox_core::{Error, Result, TensorExt};

use super::linear_algebra::Matrix;

/// The Fréchet distance of two sets of features, each taken as a normal distribution (Heusel et al. 2017, arXiv 1706.08500):
/// |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), with unbiased covariances.
///
/// With features of Inception it is called FID. With those of another network it is another number, which compares with
/// nothing but itself: say whose features they are. It falls with the number of samples; compare equal numbers.
///
/// # Shapes
/// (samples, features) each, with the same number of features.
///
/// # Errors
/// Fewer than two samples, or features that do not agree or are not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[[0f32], [2.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[3f32], [5.0]], &Device::Cpu)?;
/// assert!((glassbox_gan::measures::frechet_distance(&a, &b)? - 9.0).abs() < 1e-9);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn frechet_distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(&rows(a)?)?, moments(&rows(b)?)?);
    expect_same_width(&mean_a, &mean_b)?;
    let means: f64 = mean_a.iter().zip(&mean_b).map(|(a, b)| (a - b) * (a - b)).sum();
    let root = cov_a.clone().root();
    // Σ₁^½ Σ₂ Σ₁^½ is symmetric and has the eigenvalues of Σ₁ Σ₂.
    let (values, _) = root.product(&cov_b).product(&root).eigen();
    let cross: f64 = values.iter().map(|v| v.max(0.0).sqrt()).sum();
    Ok((means + cov_a.trace() + cov_b.trace() - 2.0 * cross).max(0.0))
}

/// The kernel distance of two sets of features (Bińkowski et al. 2018, arXiv 1801.01401): the unbiased squared maximum mean
/// discrepancy under the kernel (x · y / features + 1)³. It does not depend on the number of samples, but for noise, and
/// may fall a little below 0.
///
/// # Shapes
/// (samples, features) each, with the same number of features.
///
/// # Errors
/// As [`frechet_distance`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[[0f32], [2.0]], &Device::Cpu)?;
/// let far = Tensor::new(&[[5f32], [7.0]], &Device::Cpu)?;
/// assert!(glassbox_gan::measures::kernel_distance(&a, &far)? > 1000.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn kernel_distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = (rows(a)?, rows(b)?);
    let features = a.dim(1)?;
    if b.dim(1)? != features {
        return Err(Error::invalid("features", format!("{features} of each sample"), b.dim(1)?));
    }
    let kernel = |x: &Tensor, y: &Tensor| Ok::<_, Error>(((x.matmul(&y.t()?)? / features as f64)? + 1.0)?.powf(3.0)?);
    let within = |x: &Tensor| {
        let n = x.dim(0)? as f64;
        let all = kernel(x, x)?.sum_all()?.to_f64()?;
        let diagonal = ((x.sqr()?.sum(1)? / features as f64)? + 1.0)?.powf(3.0)?.sum_all()?.to_f64()?;
        Ok::<_, Error>((all - diagonal) / (n * (n - 1.0)))
    };
    Ok(within(&a)? + within(&b)? - 2.0 * kernel(&a, &b)?.mean_all()?.to_f64()?)
}

/// The features in f64 on the CPU, with everything about them checked.
pub(super) fn rows(features: &Tensor) -> Result<Tensor> {
    let [samples, width] = *features.dims() else {
        return Err(Error::invalid("features", "(samples, features)", format!("{:?}", features.dims())));
    };
    if samples < 2 || width == 0 {
        return Err(Error::invalid("features", "two samples or more, with a feature", format!("[{samples}, {width}]")));
    }
    let rows = features.detach().to_device(&candle_core::Device::Cpu)?.to_dtype(DType::F64)?.contiguous()?;
    match glassbox_kernels::reduce::find(&rows, |v| !v.is_finite())? {
        Some(value) => Err(Error::invalid("features", "finite values", value)),
        None => Ok(rows),
    }
}

fn moments(rows: &Tensor) -> Result<(Vec<f64>, Matrix)> {
    let (samples, width) = rows.dims2()?;
    let mean = rows.mean_keepdim(0)?;
    let centered = rows.broadcast_sub(&mean)?;
    let covariance = (centered.t()?.matmul(&centered)? / (samples as f64 - 1.0))?;
    Ok((mean.to_f64_vec()?, Matrix { size: width, values: covariance.to_f64_vec()? }))
}

fn expect_same_width(a: &[f64], b: &[f64]) -> Result<()> {
    if a.len() == b.len() {
        return Ok(());
    }
    Err(Error::invalid("features", format!("{} of each sample", a.len()), b.len()))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use glassbox_core::Seed;

    use super::*;

    fn normal(count: usize, mean: f64, std: f64, seed: u64) -> Tensor {
        Seed(seed).rng().normal_tensor((count, 4), mean, std, DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn distances_of_normals_are_their_formulas() {
        let (a, b) = (normal(20_000, 0.0, 1.0, 1), normal(20_000, 0.5, 2.0, 2));
        // Four features: 4 · 0.25 + 4 · (1 − 2)²; the sampling error of 20,000 is about 0.05.
        let distance = frechet_distance(&a, &b).unwrap();
        assert!((distance - 5.0).abs() < 0.2, "{distance}");
        assert!(frechet_distance(&a, &normal(20_000, 0.0, 1.0, 3)).unwrap() < 0.01);
        assert!(frechet_distance(&a, &a).unwrap() < 1e-9);
        let (near, far) = (normal(1000, 0.0, 1.0, 4), normal(1000, 1.0, 1.0, 5));
        let few = a.narrow(0, 0, 1000).unwrap();
        assert!(kernel_distance(&few, &near).unwrap().abs() < 0.05);
        assert!(kernel_distance(&few, &far).unwrap() > 1.0);
    }

    #[test]
    fn bad_features_are_errors() {
        let one = normal(1, 0.0, 1.0, 1);
        assert!(frechet_distance(&one, &one).is_err());
        let nan = Tensor::full(f32::NAN, (3, 4), &Device::Cpu).unwrap();
        assert!(kernel_distance(&nan, &nan).is_err());
        assert!(
            frechet_distance(&normal(3, 0.0, 1.0, 1), &Tensor::zeros((3, 2), DType::F32, &Device::Cpu).unwrap())
                .is_err()
        );
    }
}
