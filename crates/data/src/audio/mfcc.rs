//! Mel-frequency cepstral coefficients.

use std::f64::consts::PI;

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng};

use super::{LogMel, LogScale, MelConfig, one_channel, to_tensor};
use crate::transform::Transform;

/// How to take [`Mfcc`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MfccConfig {
    /// The mel spectrogram that the coefficients summarise.
    pub mel: MelConfig,
    /// Its logarithm.
    pub log: LogScale,
    /// Number of coefficients, at most the number of mel bands.
    pub n_mfcc: usize,
}

impl MfccConfig {
    /// torchaudio's defaults: 40 coefficients of [`MelConfig::new`]'s 128 bands, in dB down to 80 below the loudest.
    pub fn new(sample_rate: u32) -> Self {
        Self { mel: MelConfig::new(sample_rate), log: LogScale::Decibels { top_db: Some(80.0) }, n_mfcc: 40 }
    }

    /// What speech is usually looked at with: 13 coefficients of the natural logarithm of [`MelConfig::speech`].
    pub fn speech(sample_rate: u32) -> Self {
        Self { mel: MelConfig::speech(sample_rate), log: LogScale::default(), n_mfcc: 13 }
    }
}

/// The orthonormal cosine transform of each frame of a [`LogMel`]:
/// `c[k] = s_k Σ_m x[m] cos(π k (m + 1/2) / n_mels)`, with `s_0 = √(1 / n_mels)` and `s_k = √(2 / n_mels)` for the rest.
///
/// As `torchaudio.transforms.MFCC`, with the time first.
///
/// # Shapes
/// A sound of (1, num_samples) to (frames, n_mfcc).
///
/// Reference: Davis & Mermelstein, "Comparison of Parametric Representations for Monosyllabic Word Recognition" (1980).
///
/// ```
/// use glassbox_data::audio::{Mfcc, MfccConfig};
/// assert_eq!(Mfcc::new(MfccConfig::speech(8000))?.of(&vec![0.1; 8000])?.dims(), [101, 13]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mfcc {
    log_mel: LogMel,
    n_mels: usize,
    /// (n_mfcc, n_mels).
    cosines: Vec<f32>,
}

impl Mfcc {
    /// Plans the transforms and makes the filters.
    ///
    /// # Errors
    /// As [`LogMel::new`]; the number of coefficients is not from 1 to that of the mel bands.
    pub fn new(config: MfccConfig) -> Result<Self> {
        let MfccConfig { mel: MelConfig { n_mels, .. }, n_mfcc, .. } = config;
        let log_mel = LogMel::new(config.mel, config.log)?;
        if !(1..=n_mels).contains(&n_mfcc) {
            return Err(Error::invalid("Mfcc's n_mfcc", format!("1 to n_mels = {n_mels}"), n_mfcc));
        }
        Ok(Self { log_mel, n_mels, cosines: cosines(n_mfcc, n_mels) })
    }

    /// The log-mel spectrogram before the cosine transform.
    pub fn log_mel(&self) -> &LogMel {
        &self.log_mel
    }

    /// The coefficients of one channel's `samples`: (frames, n_mfcc).
    ///
    /// # Errors
    /// As [`Spectrogram::num_frames`](super::Spectrogram::num_frames).
    pub fn of(&self, samples: &[f32]) -> Result<Tensor> {
        let (frames, mels) = self.log_mel.values(samples)?;
        let dot = |row: &[f32], frame: &[f32]| row.iter().zip(frame).map(|(c, x)| c * x).sum::<f32>();
        let rows = || self.cosines.chunks_exact(self.n_mels);
        let values: Vec<f32> =
            mels.chunks_exact(self.n_mels).flat_map(|frame| rows().map(move |row| dot(row, frame))).collect();
        to_tensor(values, frames, self.cosines.len() / self.n_mels)
    }
}

impl Transform for Mfcc {
    fn apply(&self, sound: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        self.of(&one_channel(sound, "Mfcc")?)
    }
}

fn cosines(n_mfcc: usize, n_mels: usize) -> Vec<f32> {
    let row = |k: usize| {
        let scale = (if k == 0 { 1.0 } else { 2.0 } / n_mels as f64).sqrt();
        (0..n_mels).map(move |m| (scale * (PI * k as f64 * (m as f64 + 0.5) / n_mels as f64).cos()) as f32)
    };
    (0..n_mfcc).flat_map(row).collect()
}
