//! What the critic sees of samples: packed, augmented, under noise.

use candle_core::Tensor;
use glassbox_core::{Error, Result, Seed};
use serde::{Deserialize, Serialize};

use super::DiffAugment;

/// Normal noise on all that the critic sees, which blurs both distributions until they overlap (Sønderby et al. 2016, arXiv
/// 1610.04490): its deviation falls evenly from `std` to 0 over the first `steps` steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceNoise {
    /// Deviation at the start, 0 or more, in the samples' units.
    pub std: f64,
    /// The step of the critic from which on there is none.
    pub steps: u64,
}

impl InstanceNoise {
    fn std_at(self, step: u64) -> f64 {
        self.std * (1.0 - step as f64 / self.steps.max(1) as f64).max(0.0)
    }
}

/// How samples are shown to the critic.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub pack: usize,
    pub augment: Option<DiffAugment>,
    pub noise: Option<InstanceNoise>,
}

impl Default for View {
    fn default() -> Self {
        Self { pack: 1, augment: None, noise: None }
    }
}

impl View {
    pub fn check(&self, conditional: bool) -> Result<()> {
        if self.pack == 0 {
            return Err(Error::invalid("pack", "1 or more samples", 0));
        }
        if self.pack > 1 && conditional {
            return Err(Error::invalid("pack of a conditional game", "1 sample", self.pack));
        }
        if let Some(noise) = self.noise.filter(|noise| !(noise.std >= 0.0 && noise.std.is_finite())) {
            return Err(Error::invalid("deviation of the instance noise", "a finite number of at least 0", noise.std));
        }
        self.augment.as_ref().map_or(Ok(()), DiffAugment::check)
    }

    /// `samples` as the critic sees them in training.
    pub fn of(&self, samples: &Tensor, step: u64, seed: Seed) -> Result<Tensor> {
        let mut seen = samples.clone();
        if let Some(augment) = &self.augment {
            seen = augment.apply(&seen, &mut seed.child("augment").rng())?;
        }
        if let Some(std) = self.noise.map(|noise| noise.std_at(step)).filter(|&std| std > 0.0) {
            let mut rng = seed.child("noise").rng();
            seen = (&seen + rng.normal_tensor(seen.shape(), 0.0, std, seen.dtype(), seen.device())?)?;
        }
        self.packed(&seen)
    }

    /// (batch, channels, …) to (batch / pack, pack · channels, …).
    pub fn packed(&self, samples: &Tensor) -> Result<Tensor> {
        if self.pack == 1 {
            return Ok(samples.clone());
        }
        let (groups, rank) = (samples.dim(0)? / self.pack, samples.rank());
        if groups == 0 || rank < 2 {
            let expected = format!("(batch, channels, …) with at least {} samples, to pack them", self.pack);
            return Err(Error::invalid("samples", expected, format!("{:?}", samples.dims())));
        }
        let mut shape = samples.dims().to_vec();
        (shape[0], shape[1]) = (groups, shape[1] * self.pack);
        Ok(samples.narrow(0, 0, groups * self.pack)?.contiguous()?.reshape(shape)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn packs_neighbours_and_leaves_the_rest() {
        let samples = Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap();
        let view = View { pack: 2, ..View::default() };
        assert_eq!(view.packed(&samples).unwrap().to_vec2::<f32>().unwrap(), [[1.0, 2.0, 3.0, 4.0]]);
        assert!(view.packed(&samples.narrow(0, 0, 1).unwrap()).is_err());
        assert!(view.check(true).is_err() && View { pack: 0, ..View::default() }.check(false).is_err());
    }

    #[test]
    fn noise_falls_to_nothing() {
        let noise = InstanceNoise { std: 0.4, steps: 100 };
        assert_eq!([0, 50, 100, 200].map(|step| noise.std_at(step)), [0.4, 0.2, 0.0, 0.0]);
        assert_eq!(InstanceNoise { std: 0.4, steps: 0 }.std_at(1), 0.0);
    }
}
