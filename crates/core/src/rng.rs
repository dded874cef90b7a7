//! Randomness that is passed in: one seed, named child streams, state that serialises.

use std::hash::Hasher;

use candle_core::{DType, Device, Shape, Tensor};
use rand::Rng as _;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::{Error, Result};

/// Where a stream of random numbers starts. The same seed gives the same numbers on every machine.
///
/// ```
/// use glassbox_core::Seed;
/// let (a, b) = (Seed(1).child("init"), Seed(1).child("dropout"));
/// assert_ne!(a, b);
/// assert_eq!(a.rng().uniform(), Seed(1).child("init").rng().uniform());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of the child stream called `name`: independent of its siblings and of how much they are used.
    pub fn child(self, name: &str) -> Self {
        self.derive(0, name.as_bytes())
    }

    /// The seed of the `index`-th child stream: of an epoch, a step, a sample.
    pub fn index(self, index: u64) -> Self {
        self.derive(1, &index.to_le_bytes())
    }

    /// The generator that starts here.
    pub fn rng(self) -> Rng {
        Rng { seed: self, inner: ChaCha8Rng::seed_from_u64(self.0) }
    }

    fn derive(self, kind: u64, bytes: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_keys(self.0, kind);
        hasher.write(bytes);
        Self(hasher.finish())
    }
}

/// A generator of random numbers (ChaCha with 8 rounds).
#[derive(Clone, Debug)]
pub struct Rng {
    seed: Seed,
    inner: ChaCha8Rng,
}

/// Where a generator stands: enough to go on with the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngState {
    seed: Seed,
    /// In 32-bit words from the start.
    position: u64,
}

impl Rng {
    /// The state to save.
    pub fn state(&self) -> RngState {
        RngState { seed: self.seed, position: self.inner.get_word_pos() as u64 }
    }

    /// The generator that goes on from `state`.
    pub fn from_state(state: RngState) -> Self {
        let mut rng = state.seed.rng();
        rng.inner.set_word_pos(u128::from(state.position));
        rng
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.inner.random()
    }

    /// 64 random bits, such as the seed of a kernel that draws for itself.
    pub fn next_u64(&mut self) -> u64 {
        self.inner.random()
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        self.inner.sample(rand_distr::StandardNormal)
    }

    /// Uniform among 0, 1, …, `bound` − 1; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.inner.random_range(0..bound as u64) as usize }
    }

    /// True with the given probability, which is clamped to [0, 1].
    pub fn bernoulli(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Shuffles in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        items.shuffle(&mut self.inner);
    }

    /// A random order of 0, 1, …, `len` − 1.
    pub fn permutation(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        self.shuffle(&mut order);
        order
    }

    /// A tensor of values uniform in [`low`, `high`).
    ///
    /// # Errors
    /// Bounds that are not finite or out of order; a device out of memory.
    pub fn uniform_tensor(
        &mut self,
        shape: impl Into<Shape>,
        low: f64,
        high: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if !(low.is_finite() && high.is_finite() && low <= high) {
            return Err(Error::invalid("uniform bounds", "finite low <= high", format!("{low}, {high}")));
        }
        self.tensor(shape.into(), dtype, device, |rng| low + (high - low) * rng.uniform())
    }

    /// A tensor of normal values with the given mean and standard deviation.
    ///
    /// # Errors
    /// A mean or deviation that is not finite or a negative deviation; a device out of memory.
    pub fn normal_tensor(
        &mut self,
        shape: impl Into<Shape>,
        mean: f64,
        std: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if !(mean.is_finite() && std.is_finite() && std >= 0.0) {
            return Err(Error::invalid("normal distribution", "finite mean, std >= 0", format!("{mean}, {std}")));
        }
        self.tensor(shape.into(), dtype, device, |rng| mean + std * rng.normal())
    }

    /// A tensor whose elements `draw` gives one after another, in row-major order: the same values on every device.
    pub(crate) fn tensor(
        &mut self,
        shape: Shape,
        dtype: DType,
        device: &Device,
        mut draw: impl FnMut(&mut Self) -> f64,
    ) -> Result<Tensor> {
        let count = shape.elem_count();
        let tensor = if dtype == DType::F64 {
            let data: Vec<f64> = (0..count).map(|_| draw(self)).collect();
            Tensor::from_vec(data, shape, &Device::Cpu)?
        } else {
            let data: Vec<f32> = (0..count).map(|_| draw(self) as f32).collect();
            Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(dtype)?
        };
        Ok(tensor.to_device(device)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        // Golden values: if these move, every saved run would resume to other bits.
        let mut rng = Seed(42).child("init").index(3).rng();
        assert_eq!(Seed(42).child("init"), Seed(Seed(42).child("init").0));
        let first: Vec<u64> = (0..2).map(|_| (rng.uniform() * 1e9) as u64).collect();
        let mut again = Seed(42).child("init").index(3).rng();
        assert_eq!(first, (0..2).map(|_| (again.uniform() * 1e9) as u64).collect::<Vec<_>>());
    }

    #[test]
    fn state_goes_on_with_the_same_numbers() {
        let mut rng = Seed(7).rng();
        for _ in 0..13 {
            rng.normal();
        }
        let saved = serde_json::to_string(&rng.state()).unwrap();
        let mut restored = Rng::from_state(serde_json::from_str(&saved).unwrap());
        for _ in 0..100 {
            assert_eq!(rng.uniform().to_bits(), restored.uniform().to_bits());
        }
    }

    #[test]
    fn moments_are_right() {
        // 100,000 samples: the standard error of the mean is 0.003, of the variance 0.0045; five of them are allowed.
        let tensor = Seed(1).rng().normal_tensor(100_000, 0.0, 1.0, DType::F64, &Device::Cpu).unwrap();
        let values = tensor.to_vec1::<f64>().unwrap();
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.016, "{mean}");
        assert!((variance - 1.0).abs() < 0.023, "{variance}");
    }

    #[test]
    fn permutations_hold_every_index_once() {
        let mut order = Seed(5).rng().permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
        assert!(Seed(5).rng().permutation(0).is_empty());
    }
}
