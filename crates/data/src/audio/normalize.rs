//! Sounds of one length, features of one scale.

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng};

use super::{matrix, to_tensor};
use crate::transform::Transform;

/// Cuts a sound's end off, or adds silence to it, so that all have one length and can share a batch.
///
/// # Shapes
/// (channels, any) to (channels, num_samples).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FitLength {
    /// In samples, at least 1.
    pub num_samples: usize,
}

impl Transform for FitLength {
    fn apply(&self, sound: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        let (channels, length, values) = matrix(sound, "FitLength", "(channels, num_samples)")?;
        let total = self.num_samples.checked_mul(channels).filter(|&total| total > 0 && total <= MAX_FITTED);
        let wrong = || Error::invalid("FitLength's num_samples", format!("1 to {MAX_FITTED}"), self.num_samples);
        let mut fitted = vec![0.0; total.ok_or_else(wrong)?];
        let kept = length.min(self.num_samples);
        let targets = fitted.chunks_exact_mut(self.num_samples);
        targets
            .zip(values.chunks_exact(length.max(1)))
            .for_each(|(to, from)| to[..kept].copy_from_slice(&from[..kept]));
        to_tensor(fitted, channels, self.num_samples)
    }
}

/// 6 hours at 48 kHz.
const MAX_FITTED: usize = 1 << 30;

/// Each feature of a recording less its mean over time, divided by its standard deviation (of the population, and at
/// least 1e-5): takes out what microphone and room add. Known as cepstral mean and variance normalisation. Of a recording of
/// one word it takes out part of the word, too: see [`NormalizeRecording`].
///
/// # Shapes
/// (frames, features) to the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NormalizeFeatures;

impl Transform for NormalizeFeatures {
    fn apply(&self, features: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        let (frames, num_features, mut values) = matrix(features, "NormalizeFeatures", "(frames, features)")?;
        let count = frames.max(1) as f64;
        for feature in 0..num_features {
            let column = || (0..frames).map(|t| t * num_features + feature);
            let mean = column().map(|i| f64::from(values[i])).sum::<f64>() / count;
            let variance = column().map(|i| (f64::from(values[i]) - mean).powi(2)).sum::<f64>() / count;
            let std = variance.sqrt().max(1e-5);
            column().for_each(|i| values[i] = ((f64::from(values[i]) - mean) / std) as f32);
        }
        to_tensor(values, frames, num_features)
    }
}

/// All features of a recording less their mean, divided by their standard deviation (of the population, and at least 1e-5):
/// of log-mel bands it takes out how loud the recording is, and keeps how its spectrum is shaped.
///
/// # Shapes
/// (frames, features) to the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NormalizeRecording;

impl Transform for NormalizeRecording {
    fn apply(&self, features: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        let (frames, num_features, mut values) = matrix(features, "NormalizeRecording", "(frames, features)")?;
        let count = values.len().max(1) as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        let std = variance.sqrt().max(1e-5);
        values.iter_mut().for_each(|v| *v = ((f64::from(*v) - mean) / std) as f32);
        to_tensor(values, frames, num_features)
    }
}
