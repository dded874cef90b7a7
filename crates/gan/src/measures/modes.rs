//! Samples of a distribution whose modes are known.

use candle_core::{Device, Tensor};
use glassbox_core::train::Score;
use glassbox_core::{Dataset, Error, Result, Rng, Sample, TensorExt};

use super::SampleMeasure;

/// The centres of a mixture of equal normal distributions, and their deviation.
///
/// A sample is of high quality if it lies within `radius` deviations of the nearest centre, and a mode is covered if it has
/// a high-quality sample (Srivastava et al. 2017, arXiv 1705.07761; PacGAN counts as they do).
#[derive(Clone, Debug, PartialEq)]
pub struct Modes {
    /// The centres, each of as many numbers as a sample has.
    pub centers: Vec<Vec<f64>>,
    /// Deviation of each mode.
    pub std: f64,
    /// How many deviations are near; 3 in the papers.
    pub radius: f64,
}

/// What [`Modes::count`] finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModeCount {
    /// Modes with at least one high-quality sample.
    pub covered: usize,
    /// Share of high-quality samples.
    pub quality: f64,
}

impl Modes {
    /// Eight modes on a circle of radius 2, of deviation 0.02 (Metz et al. 2016, arXiv 1611.02163).
    pub fn ring() -> Self {
        let angle = |i: usize| i as f64 * std::f64::consts::TAU / 8.0;
        let centers = (0..8).map(|i| vec![2.0 * angle(i).cos(), 2.0 * angle(i).sin()]).collect();
        Self { centers, std: 0.02, radius: 3.0 }
    }

    /// 25 modes on a 5 × 5 grid from −4 to 4, of deviation 0.05.
    pub fn grid() -> Self {
        let place = |i: usize| 2.0 * i as f64 - 4.0;
        let centers = (0..25).map(|i| vec![place(i / 5), place(i % 5)]).collect();
        Self { centers, std: 0.05, radius: 3.0 }
    }

    /// `count` samples, the modes in turn.
    ///
    /// # Errors
    /// No centres, or centres of different sizes.
    pub fn draw(&self, count: usize, rng: &mut Rng) -> Result<Tensor> {
        let width = self.width()?;
        let values: Vec<f32> = (0..count)
            .flat_map(|i| &self.centers[i % self.centers.len()])
            .map(|&center| (center + self.std * rng.normal()) as f32)
            .collect();
        Ok(Tensor::from_vec(values, (count, width), &Device::Cpu)?)
    }

    /// Modes covered by `samples` (samples, numbers), and the share of these that is of high quality.
    ///
    /// # Errors
    /// Samples of another size than the centres, or none.
    pub fn count(&self, samples: &Tensor) -> Result<ModeCount> {
        let width = self.width()?;
        samples.expect_rank(2, "(samples, numbers)")?;
        samples.expect_last_dim(width, "numbers of a centre")?;
        let values = samples.to_f64_vec()?;
        if values.is_empty() {
            return Err(Error::invalid("samples", "at least one", "none"));
        }
        let limit = (self.radius * self.std).powi(2);
        let mut covered = vec![false; self.centers.len()];
        let mut good = 0;
        for sample in values.chunks_exact(width) {
            if let Some((nearest, _)) = self.nearest(sample).filter(|(_, distance)| *distance <= limit) {
                covered[nearest] = true;
                good += 1;
            }
        }
        let quality = good as f64 / (values.len() / width) as f64;
        Ok(ModeCount { covered: covered.iter().filter(|&&c| c).count(), quality })
    }

    /// The nearest centre and its squared distance.
    fn nearest(&self, sample: &[f64]) -> Option<(usize, f64)> {
        let distance = |center: &Vec<f64>| center.iter().zip(sample).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let distances = self.centers.iter().map(distance).enumerate();
        distances.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn width(&self) -> Result<usize> {
        let width = self.centers.first().map_or(0, Vec::len);
        if width == 0 || self.centers.iter().any(|center| center.len() != width) {
            return Err(Error::invalid("centres of the modes", "one or more, of one size", self.centers.len()));
        }
        Ok(width)
    }
}

/// `len` samples of a mixture, drawn anew in every epoch: never the same ones twice.
///
/// # Shapes
/// A sample's input is (numbers), f32; its target is the mode, a u32 scalar.
#[derive(Clone, Debug)]
pub struct ModeDataset {
    modes: Modes,
    len: usize,
}

impl Modes {
    /// `len` samples, drawn anew in every epoch.
    ///
    /// # Errors
    /// No centres, or centres of different sizes.
    pub fn dataset(self, len: usize) -> Result<ModeDataset> {
        self.width()?;
        Ok(ModeDataset { modes: self, len })
    }
}

impl Dataset for ModeDataset {
    type Item = Sample;

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize, rng: &mut Rng) -> Result<Sample> {
        if index >= self.len {
            return Err(Error::invalid("sample index", format!("less than {}", self.len), index));
        }
        let mode = index % self.modes.centers.len();
        let center = &self.modes.centers[mode];
        let values: Vec<f32> = center.iter().map(|&center| (center + self.modes.std * rng.normal()) as f32).collect();
        let input = Tensor::from_vec(values, center.len(), &Device::Cpu)?;
        Ok(Sample { input, target: Tensor::new(mode as u32, &Device::Cpu)? })
    }
}

/// A [`SampleMeasure`]: `modes` and `quality` of the samples.
#[derive(Clone, Debug)]
pub(crate) struct ModeMeasure {
    modes: Modes,
    samples: Vec<Tensor>,
}

impl Modes {
    /// The measure of a training step: scores `modes` and `quality`.
    pub fn measure(self) -> impl SampleMeasure {
        ModeMeasure { modes: self, samples: vec![] }
    }
}

impl SampleMeasure for ModeMeasure {
    fn update(&mut self, _: &Tensor, fake: &Tensor, _: &Tensor) -> Result<()> {
        self.samples.push(fake.detach());
        Ok(())
    }

    fn scores(&mut self) -> Result<Vec<Score>> {
        let samples = glassbox_core::concat(&std::mem::take(&mut self.samples), 0)?;
        let ModeCount { covered, quality } = self.modes.count(&samples)?;
        let score = |name: &str, value| Score { name: name.into(), value, higher_is_better: true };
        Ok(vec![score("modes", covered as f64), score("quality", quality)])
    }
}

/// Of `num_modes` modes, how many there are among `modes`, one for each sample, and the Kullback-Leibler divergence of their
/// frequencies from even ones, in nats: what PacGAN's table has for stacked MNIST.
///
/// # Errors
/// No samples; a mode out of range.
///
/// ```
/// let (covered, divergence) = glassbox_gan::measures::mode_divergence(&[0, 0, 1, 1], 4)?;
/// assert_eq!((covered, (divergence - 2f64.ln()).abs() < 1e-12), (2, true));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn mode_divergence(modes: &[u32], num_modes: usize) -> Result<(usize, f64)> {
    let mut counts = vec![0usize; num_modes];
    for &mode in modes {
        let expected = || Error::invalid("mode of a sample", format!("less than {num_modes}"), mode);
        *counts.get_mut(mode as usize).ok_or_else(expected)? += 1;
    }
    if modes.is_empty() {
        return Err(Error::invalid("modes", "of at least one sample", "none"));
    }
    let shares = counts.iter().filter(|&&count| count > 0).map(|&count| count as f64 / modes.len() as f64);
    let divergence = shares.map(|share| share * (share * num_modes as f64).ln()).sum();
    Ok((counts.iter().filter(|&&count| count > 0).count(), divergence))
}

#[cfg(test)]
mod tests {
    use glassbox_core::Seed;

    use super::*;

    #[test]
    fn real_samples_cover_all_modes_and_others_do_not() {
        for (modes, count) in [(Modes::ring(), 8), (Modes::grid(), 25)] {
            let real = modes.count(&modes.draw(2500, &mut Seed(1).rng()).unwrap()).unwrap();
            assert_eq!(real.covered, count);
            // In two dimensions e^(−4.5) = 1.1 % lie beyond three deviations.
            assert!((real.quality - 0.989).abs() < 0.01, "{real:?}");
            let center =
                Tensor::new(&[[modes.centers[3][0] as f32, modes.centers[3][1] as f32], [1.0, 1.0]], &Device::Cpu);
            assert_eq!(modes.count(&center.unwrap()).unwrap(), ModeCount { covered: 1, quality: 0.5 });
        }
        assert!(mode_divergence(&[5], 4).is_err());
    }
}
