//! Measures made of distances between samples.

use candle_core::{D, Tensor};
use glassbox_core::{Error, Result, Rng, TensorExt};

use super::frechet::rows;

/// What [`precision_recall`] finds, each within [0, 1] but for the density.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// Share of generated samples that lie where real ones do.
    pub precision: f64,
    /// Share of real samples that lie where generated ones do.
    pub recall: f64,
    /// Mean number of real neighbourhoods that a generated sample lies in, over k; about 1 where both are alike.
    pub density: f64,
    /// Share of real samples with a generated one in their neighbourhood.
    pub coverage: f64,
}

/// Precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020, arXiv
/// 2002.09797) of features. A sample's neighbourhood reaches to the `k`-th nearest of its own kind; the papers' k are 3 and
/// 5.
///
/// Precision and recall move with outliers, density and coverage less so. All depend on the numbers of samples.
///
/// # Shapes
/// (samples, features) each, with the same number of features.
///
/// # Errors
/// As many samples as k or fewer, features that do not agree or are not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let real = Tensor::new(&[[0f32], [1.0], [2.0]], &Device::Cpu)?;
/// let far = Tensor::new(&[[9f32], [9.5], [9.9]], &Device::Cpu)?;
/// assert_eq!(glassbox_gan::measures::precision_recall(&real, &real, 1)?.coverage, 1.0);
/// assert_eq!(glassbox_gan::measures::precision_recall(&real, &far, 1)?.precision, 0.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn precision_recall(real: &Tensor, fake: &Tensor, k: usize) -> Result<Coverage> {
    let (real, fake) = (rows(real)?, rows(fake)?);
    let (real_radii, fake_radii) = (radii(&real, k)?, radii(&fake, k)?);
    // (generated, real).
    let between = squared_distances(&fake, &real)?;
    let columns = real.dim(0)?;
    let values = between.to_f64_vec()?;
    let mut coverage = Coverage { precision: 0.0, recall: 0.0, density: 0.0, coverage: 0.0 };
    let (mut recalled, mut covered) = (vec![false; columns], vec![false; columns]);
    for (row, fake_radius) in values.chunks_exact(columns).zip(&fake_radii) {
        let mut inside = 0;
        for (j, (distance, real_radius)) in row.iter().zip(&real_radii).enumerate() {
            inside += usize::from(distance <= real_radius);
            covered[j] |= distance <= real_radius;
            recalled[j] |= distance <= fake_radius;
        }
        coverage.precision += f64::from(u8::from(inside > 0));
        coverage.density += inside as f64 / k as f64;
    }
    let share = |flags: &[bool]| flags.iter().filter(|&&f| f).count() as f64 / flags.len() as f64;
    let samples = fake.dim(0)? as f64;
    Ok(Coverage {
        precision: coverage.precision / samples,
        density: coverage.density / samples,
        recall: share(&recalled),
        coverage: share(&covered),
    })
}

/// The distance of each of `samples` to the nearest of `references`, and which one that is: of generated samples to the
/// training set, it shows memorising. Compare with the distances of held-out samples.
///
/// # Shapes
/// (samples, features) each, with the same number of features.
///
/// # Errors
/// Features that do not agree or are not finite; fewer than two samples.
pub fn nearest_distances(samples: &Tensor, references: &Tensor) -> Result<Vec<(f64, usize)>> {
    let (samples, references) = (rows(samples)?, rows(references)?);
    let mut nearest = vec![];
    // In parts, so that the distances of many samples to many references fit in memory.
    let count = samples.dim(0)?;
    for start in (0..count).step_by(PART) {
        let distances = squared_distances(&samples.narrow(0, start, PART.min(count - start))?, &references)?;
        for row in distances.to_f64_vec()?.chunks_exact(references.dim(0)?) {
            let best = row.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
            nearest.extend(best.map(|(i, squared)| (squared.sqrt(), i)));
        }
    }
    Ok(nearest)
}

const PART: usize = 512;

/// The share of statistically different bins (Richardson and Weiss 2018, arXiv 1805.12462): real samples are clustered into
/// `num_bins` bins by k-means, and a bin counts as different where the shares of real and generated samples in it differ
/// with |z| above 1.96. Samples of the same distribution give 0.05 or so.
///
/// # Shapes
/// (samples, features) each, with the same number of features.
///
/// # Errors
/// Fewer samples than bins, no bins, or features that do not agree or are not finite.
pub fn different_bins(real: &Tensor, fake: &Tensor, num_bins: usize, rng: &mut Rng) -> Result<f64> {
    let (real, fake) = (rows(real)?, rows(fake)?);
    if num_bins == 0 || real.dim(0)? < num_bins {
        return Err(Error::invalid("num_bins", format!("1 to {}, the real samples", real.dim(0)?), num_bins));
    }
    let centers = cluster(&real, num_bins, rng)?;
    let shares = |samples: &Tensor| {
        let mut counts = vec![0.0; num_bins];
        for bin in squared_distances(samples, &centers)?.argmin(D::Minus1)?.to_vec1::<u32>()? {
            counts[bin as usize] += 1.0;
        }
        let total = samples.dim(0)? as f64;
        Ok::<_, Error>((counts.into_iter().map(|count| count / total).collect::<Vec<f64>>(), total))
    };
    let ((real_shares, real_count), (fake_shares, fake_count)) = (shares(&real)?, shares(&fake)?);
    let differs = |(p, q): (&f64, &f64)| {
        let pooled = (p * real_count + q * fake_count) / (real_count + fake_count);
        let error = (pooled * (1.0 - pooled) * (1.0 / real_count + 1.0 / fake_count)).sqrt();
        (p - q).abs() > 1.96 * error
    };
    let different = real_shares.iter().zip(&fake_shares).filter(|&pair| differs(pair)).count();
    Ok(different as f64 / num_bins as f64)
}

/// Centres of k-means after at most 30 rounds, from samples drawn without repetition.
fn cluster(samples: &Tensor, count: usize, rng: &mut Rng) -> Result<Tensor> {
    let (rows, width) = samples.dims2()?;
    let values = samples.to_f64_vec()?;
    let row = |i: usize| &values[i * width..(i + 1) * width];
    let mut centers: Vec<f64> = rng.permutation(rows).into_iter().take(count).flat_map(|i| row(i).to_vec()).collect();
    let mut before = vec![];
    for _ in 0..30 {
        let tensor = Tensor::from_slice(&centers, (count, width), samples.device())?;
        let bins = squared_distances(samples, &tensor)?.argmin(D::Minus1)?.to_vec1::<u32>()?;
        let (mut sums, mut counts) = (vec![0.0; count * width], vec![0.0; count]);
        for (i, &bin) in bins.iter().enumerate() {
            counts[bin as usize] += 1.0;
            let sum = &mut sums[bin as usize * width..][..width];
            sum.iter_mut().zip(row(i)).for_each(|(sum, v)| *sum += v);
        }
        for (bin, &members) in counts.iter().enumerate().filter(|(_, members)| **members > 0.0) {
            (0..width).for_each(|j| centers[bin * width + j] = sums[bin * width + j] / members);
        }
        if bins == before {
            break;
        }
        before = bins;
    }
    Ok(Tensor::from_vec(centers, (count, width), samples.device())?)
}

/// The squared distance of each sample to its `k`-th nearest other.
fn radii(samples: &Tensor, k: usize) -> Result<Vec<f64>> {
    let count = samples.dim(0)?;
    if k == 0 || count <= k {
        return Err(Error::invalid("samples", format!("more than k = {k}, which is 1 or more"), count));
    }
    let distances = squared_distances(samples, samples)?.to_f64_vec()?;
    let radius = |row: &[f64]| {
        let mut row = row.to_vec();
        // The sample itself is the nearest.
        *row.select_nth_unstable_by(k, f64::total_cmp).1
    };
    Ok(distances.chunks_exact(count).map(radius).collect())
}

/// |x − y|² = |x|² + |y|² − 2 x · y, (samples of a, samples of b).
fn squared_distances(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dim(1)? != b.dim(1)? {
        return Err(Error::invalid("features", format!("{} of each sample", a.dim(1)?), b.dim(1)?));
    }
    // About the same origin, near the samples: the difference of large squares would lose its digits.
    let origin = a.narrow(0, 0, 1)?;
    let (a, b) = (a.broadcast_sub(&origin)?, b.broadcast_sub(&origin)?);
    let products = (a.matmul(&b.t()?)? * -2.0)?;
    let squares = |x: &Tensor| x.sqr()?.sum_keepdim(1);
    Ok(products.broadcast_add(&squares(&a)?)?.broadcast_add(&squares(&b)?.t()?)?.relu()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use glassbox_core::Seed;

    use super::*;

    fn normal(count: usize, mean: f64, std: f64, seed: u64) -> Tensor {
        Seed(seed).rng().normal_tensor((count, 3), mean, std, DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn alike_narrow_and_far() {
        let real = normal(600, 0.0, 1.0, 1);
        let alike = precision_recall(&real, &normal(600, 0.0, 1.0, 2), 5).unwrap();
        assert!(alike.precision > 0.9 && alike.recall > 0.9 && alike.coverage > 0.9, "{alike:?}");
        assert!((alike.density - 1.0).abs() < 0.1, "{alike:?}");
        // A generator that makes what lies in the middle only: precise, but it recalls little.
        let narrow = precision_recall(&real, &normal(600, 0.0, 0.2, 3), 5).unwrap();
        assert!(narrow.precision > 0.95 && narrow.recall < 0.2 && narrow.coverage < 0.4, "{narrow:?}");
        let far = precision_recall(&real, &normal(600, 9.0, 1.0, 4), 5).unwrap();
        assert_eq!((far.precision, far.recall, far.density, far.coverage), (0.0, 0.0, 0.0, 0.0));
        assert!(precision_recall(&normal(5, 0.0, 1.0, 1), &real, 5).is_err());
    }

    #[test]
    fn memorised_samples_are_at_no_distance() {
        let real = normal(700, 0.0, 1.0, 1);
        let nearest = nearest_distances(&real.narrow(0, 100, 3).unwrap(), &real).unwrap();
        assert!(nearest.iter().zip(100..).all(|((d, i), want)| *d < 1e-6 && *i == want), "{nearest:?}");
        assert!(nearest_distances(&normal(600, 0.0, 1.0, 2), &real).unwrap().iter().all(|(d, _)| *d > 1e-3));
    }

    #[test]
    fn bins_differ_where_samples_do() {
        let real = normal(2000, 0.0, 1.0, 1);
        let share = |fake: &Tensor| different_bins(&real, fake, 20, &mut Seed(1).rng()).unwrap();
        assert!(share(&normal(2000, 0.0, 1.0, 2)) <= 0.25);
        assert!(share(&normal(2000, 1.0, 1.0, 3)) > 0.6);
        assert!(different_bins(&real, &real, 0, &mut Seed(1).rng()).is_err());
    }
}
