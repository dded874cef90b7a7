//! Sounds and features changed a little, at random.

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng};

use super::{matrix, to_tensor};
use crate::transform::Transform;

/// Moves a sound in time by up to `max_shift` samples either way, all channels alike; silence comes in, and what leaves
/// is lost.
///
/// # Shapes
/// (channels, num_samples) to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeShift {
    /// In samples: 100 ms is a tenth of the sample rate.
    pub max_shift: usize,
}

impl Transform for TimeShift {
    fn apply(&self, sound: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let (channels, num_samples, mut values) = matrix(sound, "TimeShift", "(channels, num_samples)")?;
        if num_samples == 0 {
            return Ok(sound.clone());
        }
        let max_shift = self.max_shift.min(num_samples);
        let (draw, middle) = (rng.below(2 * max_shift + 1), max_shift);
        for channel in values.chunks_exact_mut(num_samples) {
            if let Some(later) = draw.checked_sub(middle) {
                channel.copy_within(..num_samples - later, later);
                channel[..later].fill(0.0);
            } else {
                let earlier = middle - draw;
                channel.copy_within(earlier.., 0);
                channel[num_samples - earlier..].fill(0.0);
            }
        }
        to_tensor(values, channels, num_samples)
    }
}

/// Adds white Gaussian noise of a random signal-to-noise ratio: `10 · log10(Σ x² / Σ noise²)` is uniform between two
/// bounds in dB, and met exactly. A silent sound stays silent.
///
/// The mixture is `torchaudio.functional.add_noise`'s.
///
/// # Shapes
/// (channels, num_samples) to the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddNoise {
    low: f64,
    high: f64,
}

impl AddNoise {
    /// Noise at `low` to `high` dB: at 0 it is as loud as the sound, at 40 hardly heard.
    ///
    /// # Errors
    /// A bound is not from −200 to 200, or they are out of order.
    pub fn snr(low: f64, high: f64) -> Result<Self> {
        if (-200.0..=high).contains(&low) && high <= 200.0 {
            return Ok(Self { low, high });
        }
        Err(Error::invalid("AddNoise's ratio", "-200 <= low <= high <= 200 dB", format!("{low} to {high}")))
    }
}

impl Transform for AddNoise {
    fn apply(&self, sound: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let (channels, num_samples, mut values) = matrix(sound, "AddNoise", "(channels, num_samples)")?;
        let ratio = self.low + (self.high - self.low) * rng.uniform();
        let noise: Vec<f64> = values.iter().map(|_| rng.normal()).collect();
        let energy: f64 = noise.iter().map(|v| v * v).sum();
        let signal: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        if signal > 0.0 && energy > 0.0 {
            let scale = (signal / energy).sqrt() * 10f64.powf(-ratio / 20.0);
            values.iter_mut().zip(noise).for_each(|(v, n)| *v += (scale * n) as f32);
        }
        to_tensor(values, channels, num_samples)
    }
}

/// What a mask puts in the place of what it hides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaskFill {
    /// The mean of the recording's features.
    Mean,
    /// A value: 0 after normalisation.
    Value(f32),
}

/// Hides random bands of frequency and stretches of time of a recording's features.
///
/// Each mask is 0 to its greatest width wide and lies anywhere. As torchaudio's `FrequencyMasking` and `TimeMasking`, in
/// whole steps; without the paper's warping of the time, which it found to matter least.
///
/// # Shapes
/// (frames, features) to the same.
///
/// Reference: Park et al., "SpecAugment" (2019), arXiv 1904.08779.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpecAugment {
    /// Masks over frequency; 2 unless told.
    pub num_frequency_masks: usize,
    /// Greatest width of each, in features; 8 unless told.
    pub max_frequency_width: usize,
    /// Masks over time; 2 unless told.
    pub num_time_masks: usize,
    /// Greatest width of each, in frames; 20 unless told.
    pub max_time_width: usize,
    /// Greatest width of a mask over time as a part of the recording, in [0, 1]; 0.2 unless told.
    pub max_time_part: f64,
    /// What the hidden values become; their mean unless told.
    pub fill: MaskFill,
}

impl Default for SpecAugment {
    fn default() -> Self {
        Self {
            num_frequency_masks: 2,
            max_frequency_width: 8,
            num_time_masks: 2,
            max_time_width: 20,
            max_time_part: 0.2,
            fill: MaskFill::Mean,
        }
    }
}

impl Transform for SpecAugment {
    fn apply(&self, features: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&self.max_time_part) {
            return Err(Error::invalid("SpecAugment's max_time_part", "0 to 1", self.max_time_part));
        }
        let (frames, num_features, mut values) = matrix(features, "SpecAugment", "(frames, features)")?;
        let fill = match self.fill {
            MaskFill::Mean => (values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64) as f32,
            MaskFill::Value(value) => value,
        };
        for _ in 0..self.num_frequency_masks {
            let (start, end) = mask(num_features, self.max_frequency_width, rng);
            values.chunks_exact_mut(num_features.max(1)).for_each(|frame| frame[start..end].fill(fill));
        }
        let max_width = self.max_time_width.min((frames as f64 * self.max_time_part) as usize);
        for _ in 0..self.num_time_masks {
            let (start, end) = mask(frames, max_width, rng);
            values[start * num_features..end * num_features].fill(fill);
        }
        to_tensor(values, frames, num_features)
    }
}

/// A random stretch of at most `max_width` of `length`: its start and its end.
fn mask(length: usize, max_width: usize, rng: &mut Rng) -> (usize, usize) {
    let width = rng.below(max_width.min(length) + 1);
    let start = rng.below(length - width + 1);
    (start, start + width)
}
