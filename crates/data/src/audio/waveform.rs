//! A sound in memory.

use candle_core::Tensor;
use glassbox_core::{Error, Result};

use super::{Resampler, to_tensor};

/// The highest sample rate that is taken, in Hz: ten times what recordings have.
pub const MAX_SAMPLE_RATE: u32 = 2_000_000;

/// A sound: samples of one or more channels of the same length, at a rate.
///
/// Full scale is 1; values beyond it are kept as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Waveform {
    channels: Vec<Vec<f32>>,
    sample_rate: u32,
}

impl Waveform {
    /// A sound of `channels` at `sample_rate` samples per second.
    ///
    /// # Errors
    /// There is no channel or no sample, the channels' lengths differ, a sample is not finite, the rate is 0 or above
    /// [`MAX_SAMPLE_RATE`].
    pub fn new(channels: Vec<Vec<f32>>, sample_rate: u32) -> Result<Self> {
        check_rate(sample_rate)?;
        let num_samples = channels.first().map_or(0, Vec::len);
        if num_samples == 0 {
            return Err(Error::invalid("waveform", "at least one sample", "none"));
        }
        for (i, channel) in channels.iter().enumerate() {
            if channel.len() != num_samples {
                let expected = format!("{num_samples} samples, as in channel 0");
                return Err(Error::invalid(format!("channel {i}"), expected, channel.len()));
            }
            if let Some(at) = channel.iter().position(|v| !v.is_finite()) {
                return Err(Error::invalid(format!("sample {at} of channel {i}"), "a finite value", channel[at]));
            }
        }
        Ok(Self { channels, sample_rate })
    }

    /// Samples per second.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// The samples of each channel: one for mono; left, right for stereo.
    pub fn channels(&self) -> &[Vec<f32>] {
        &self.channels
    }

    /// Samples of one channel.
    pub fn num_samples(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    /// In seconds.
    pub fn duration(&self) -> f64 {
        self.num_samples() as f64 / f64::from(self.sample_rate)
    }

    /// One channel: the mean of all.
    pub fn mono(self) -> Self {
        if self.channels.len() == 1 {
            return self;
        }
        let scale = 1.0 / self.channels.len() as f32;
        let mut mean = vec![0.0; self.num_samples()];
        for channel in &self.channels {
            mean.iter_mut().zip(channel).for_each(|(sum, v)| *sum += v * scale);
        }
        Self { channels: vec![mean], sample_rate: self.sample_rate }
    }

    /// The same sound at another rate, as [`Resampler`] makes it.
    ///
    /// # Errors
    /// As [`Resampler::new`].
    pub fn resampled(self, sample_rate: u32) -> Result<Self> {
        if sample_rate == self.sample_rate {
            return Ok(self);
        }
        let resampler = Resampler::new(self.sample_rate, sample_rate)?;
        let channels = self.channels.iter().map(|channel| resampler.apply(channel)).collect();
        Ok(Self { channels, sample_rate })
    }

    /// The samples as a tensor on the CPU.
    ///
    /// # Shapes
    /// (channels, num_samples), f32.
    ///
    /// # Errors
    /// Candle's.
    pub fn tensor(&self) -> Result<Tensor> {
        to_tensor(self.channels.concat(), self.channels.len(), self.num_samples())
    }
}

pub(super) fn check_rate(sample_rate: u32) -> Result<()> {
    if (1..=MAX_SAMPLE_RATE).contains(&sample_rate) {
        return Ok(());
    }
    Err(Error::invalid("sample rate", format!("1 to {MAX_SAMPLE_RATE} Hz"), sample_rate))
}
