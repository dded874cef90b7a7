//! Another sample rate for the same sound.

use std::f64::consts::PI;

use glassbox_core::{Error, Result};

use super::waveform::check_rate;

/// Zero crossings of the filter on each side.
const ZEROS: f64 = 6.0;
/// The filter's cutoff, as a part of the lower of the two Nyquist frequencies.
const ROLLOFF: f64 = 0.99;
/// A larger step would let a rate from a damaged header ask for more memory than its file warrants.
const MAX_RATIO: u32 = 256;

/// Changes a sound's rate by band-limited interpolation: `y[n] = Σ_j x[j] · h(j / from − n / to)`, with the low-pass
/// `h(t) = f / from · sinc(f t) · cos²(π f t / 12)` for `|f t| < 6`, and `f = 0.99 · min(from, to)`.
///
/// The values are those of `torchaudio.functional.resample` at its defaults (a sinc of 6 zeros under a Hann window), in
/// memory for one phase of the filter at a time: rates without a common divisor cost no more than others.
///
/// Reference: Smith, "Digital Audio Resampling" (1984).
///
/// ```
/// use glassbox_data::audio::Resampler;
/// let sound: Vec<f32> = (0..800).map(|i| (i as f32 * 0.05).sin()).collect();
/// assert_eq!(Resampler::new(8000, 16_000)?.apply(&sound).len(), 1600);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Divided by their greatest common divisor.
    from: usize,
    to: usize,
}

impl Resampler {
    /// From one rate to another, in Hz.
    ///
    /// # Errors
    /// A rate is 0 or above [`MAX_SAMPLE_RATE`](super::MAX_SAMPLE_RATE), or one is more than 256 times the other.
    pub fn new(from: u32, to: u32) -> Result<Self> {
        check_rate(from)?;
        check_rate(to)?;
        if from.max(to) > MAX_RATIO * from.min(to) {
            let expected = format!("rates within a factor of {MAX_RATIO}");
            return Err(Error::invalid("Resampler", expected, format!("{from} to {to} Hz")));
        }
        let divisor = gcd(from, to);
        Ok(Self { from: (from / divisor) as usize, to: (to / divisor) as usize })
    }

    /// `samples` at the new rate, `ceil(len · to / from)` of them. Beyond its ends a sound is silent.
    pub fn apply(&self, samples: &[f32]) -> Vec<f32> {
        if self.from == self.to {
            return samples.to_vec();
        }
        let length = (samples.len() as u128 * self.to as u128).div_ceil(self.from as u128) as usize;
        let mut output = vec![0.0; length];
        // The filter depends on n mod `to` alone: each phase's weights are computed once.
        for phase in 0..self.to.min(length) {
            let (first, weights) = self.weights(phase);
            for (block, n) in (phase..length).step_by(self.to).enumerate() {
                output[n] = dot(&weights, samples, first + (block * self.from) as isize);
            }
        }
        output
    }

    /// The weights of the inputs from the given one on (which may lie before the first) in the output `phase`.
    fn weights(&self, phase: usize) -> (isize, Vec<f32>) {
        let (from, to) = (self.from as f64, self.to as f64);
        let cutoff = from.min(to) * ROLLOFF;
        let (center, reach) = (phase as f64 * from / to, ZEROS * from / cutoff);
        let (first, last) = ((center - reach).ceil() as isize, (center + reach).floor() as isize);
        let weight = |j: isize| {
            // The two quotients apart, for the exact zero in the middle.
            let t = cutoff * ((j as f64 * to - phase as f64 * from) / (from * to));
            let t = t.clamp(-ZEROS, ZEROS);
            let sinc = if t == 0.0 { 1.0 } else { (PI * t).sin() / (PI * t) };
            (sinc * (PI * t / (2.0 * ZEROS)).cos().powi(2) * cutoff / from) as f32
        };
        (first, (first..=last).map(weight).collect())
    }
}

/// As [`Resampler`], for one sound.
///
/// # Errors
/// As [`Resampler::new`].
pub fn resample(samples: &[f32], from: u32, to: u32) -> Result<Vec<f32>> {
    Ok(Resampler::new(from, to)?.apply(samples))
}

/// `Σ weights[k] · samples[first + k]` over the samples that there are.
fn dot(weights: &[f32], samples: &[f32], first: isize) -> f32 {
    let skipped = first.min(0).unsigned_abs().min(weights.len());
    let start = (first.max(0) as usize).min(samples.len());
    weights[skipped..].iter().zip(&samples[start..]).map(|(w, x)| w * x).sum()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
