//! How strong each frequency is, moment by moment.

use std::f64::consts::TAU;
use std::sync::Arc;

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng};
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::{one_channel, to_tensor};
use crate::transform::Transform;

/// The longest window, in samples: 20 seconds at 48 kHz.
const MAX_WINDOW: usize = 1 << 20;

/// What is beyond a sound's ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Half a window at each end mirrors the sound, which must be longer than that: frame `i` is centred on sample
    /// `i · hop_length`.
    #[default]
    Reflect,
    /// The same with silence, for a sound of any length.
    Zeros,
    /// Only whole windows of the sound are taken.
    None,
}

/// How to take a [`Spectrogram`]. The default is torchaudio's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpectrogramConfig {
    /// Points of each Fourier transform; 400 unless told.
    pub n_fft: usize,
    /// Samples of the periodic Hann window, centred among the `n_fft` and zero beyond; `n_fft` where none is given.
    pub win_length: Option<usize>,
    /// Samples from one frame to the next; half a window where none is given.
    pub hop_length: Option<usize>,
    /// 2 for the power, which is the default, 1 for the magnitude, or another exponent above 0 of the magnitude.
    pub power: f64,
    /// What is beyond the ends; a mirror unless told.
    pub padding: Padding,
}

impl Default for SpectrogramConfig {
    fn default() -> Self {
        Self { n_fft: 400, win_length: None, hop_length: None, power: 2.0, padding: Padding::Reflect }
    }
}

/// The short-time Fourier transform's magnitude to a power: `|Σ_n w[n] x[n + hop · i] e^(−2πi k n / n_fft)|^power`.
///
/// As `torchaudio.transforms.Spectrogram`, with the time first.
///
/// # Shapes
/// A sound of (1, num_samples) to (frames, n_fft / 2 + 1), where frames is `num_samples / hop_length + 1` with padding and
/// `(num_samples − n_fft) / hop_length + 1` without.
///
/// ```
/// use glassbox_data::audio::{Spectrogram, SpectrogramConfig};
/// let spectrogram = Spectrogram::new(SpectrogramConfig { n_fft: 256, ..Default::default() })?;
/// // A tone of 1 kHz at 8 kHz: a period of 8 samples is bin 256 / 8.
/// let tone: Vec<f32> = (0..4000).map(|i| (i as f32 * std::f32::consts::TAU / 8.0).cos()).collect();
/// let frame = spectrogram.of(&tone)?.get(10)?.to_vec1::<f32>()?;
/// assert!(frame[32] > 4000.0 && frame[40] < 1e-3);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Spectrogram {
    hop_length: usize,
    power: f64,
    padding: Padding,
    /// Of `n_fft` values.
    window: Vec<f32>,
    fft: Arc<dyn RealToComplex<f32>>,
}

impl std::fmt::Debug for Spectrogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spectrogram(n_fft {}, hop_length {})", self.n_fft(), self.hop_length)
    }
}

impl Spectrogram {
    /// Makes the window and plans the transform.
    ///
    /// # Errors
    /// `n_fft` is not from 2 to 1,048,576, the window's length not from 1 to `n_fft`, the hop 0, or the power not above 0.
    pub fn new(config: SpectrogramConfig) -> Result<Self> {
        let SpectrogramConfig { n_fft, win_length, hop_length, power, padding } = config;
        if !(2..=MAX_WINDOW).contains(&n_fft) {
            return Err(Error::invalid("Spectrogram's n_fft", format!("2 to {MAX_WINDOW}"), n_fft));
        }
        let win_length = win_length.unwrap_or(n_fft);
        if !(1..=n_fft).contains(&win_length) {
            return Err(Error::invalid("Spectrogram's win_length", format!("1 to n_fft = {n_fft}"), win_length));
        }
        let hop_length = hop_length.unwrap_or((win_length / 2).max(1));
        if hop_length == 0 {
            return Err(Error::invalid("Spectrogram's hop_length", "at least 1", hop_length));
        }
        if !(power.is_finite() && power > 0.0) {
            return Err(Error::invalid("Spectrogram's power", "a number above 0", power));
        }
        let fft = RealFftPlanner::new().plan_fft_forward(n_fft);
        Ok(Self { hop_length, power, padding, window: hann(win_length, n_fft), fft })
    }

    /// Points of each Fourier transform.
    pub fn n_fft(&self) -> usize {
        self.window.len()
    }

    /// Frequencies of each frame, `n_fft / 2 + 1`; the `k`-th is `k · sample_rate / n_fft` Hz.
    pub fn num_frequencies(&self) -> usize {
        self.n_fft() / 2 + 1
    }

    /// Frames of a sound of `num_samples`.
    ///
    /// # Errors
    /// The sound is shorter than a window, or too short to be mirrored.
    pub fn num_frames(&self, num_samples: usize) -> Result<usize> {
        let n_fft = self.n_fft();
        let least = match self.padding {
            Padding::Reflect => n_fft / 2 + 1,
            Padding::Zeros => 1,
            Padding::None => n_fft,
        };
        if num_samples < least {
            let expected = format!("at least {least} samples, for n_fft = {n_fft} and {:?} padding", self.padding);
            return Err(Error::invalid("Spectrogram's sound", expected, num_samples));
        }
        let span = if self.padding == Padding::None { n_fft } else { n_fft % 2 };
        // With padding there are n_fft / 2 samples more on each side.
        Ok(num_samples.saturating_sub(span) / self.hop_length + 1)
    }

    /// The spectrogram of one channel's `samples`: (frames, n_fft / 2 + 1).
    ///
    /// # Errors
    /// As [`num_frames`](Self::num_frames).
    pub fn of(&self, samples: &[f32]) -> Result<Tensor> {
        let mut values = Vec::new();
        let frames = self.each_frame(samples, |frame| values.extend_from_slice(frame))?;
        to_tensor(values, frames, self.num_frequencies())
    }

    /// Calls `take` with each frame's values in turn, and returns how many there were.
    pub(super) fn each_frame(&self, samples: &[f32], mut take: impl FnMut(&[f32])) -> Result<usize> {
        let frames = self.num_frames(samples.len())?;
        let (mut input, mut spectrum) = (self.fft.make_input_vec(), self.fft.make_output_vec());
        let mut scratch = self.fft.make_scratch_vec();
        let mut values = vec![0.0; spectrum.len()];
        for frame in 0..frames {
            self.cut(samples, frame * self.hop_length, &mut input);
            input.iter_mut().zip(&self.window).for_each(|(x, w)| *x *= w);
            let transformed = self.fft.process_with_scratch(&mut input, &mut spectrum, &mut scratch);
            transformed.map_err(|e| Error::invalid("Fourier transform", "buffers of its plan's lengths", e))?;
            values.iter_mut().zip(&spectrum).for_each(|(value, z)| *value = self.strength(z));
            take(&values);
        }
        Ok(frames)
    }

    fn strength(&self, z: &Complex<f32>) -> f32 {
        match self.power {
            2.0 => z.norm_sqr(),
            1.0 => z.norm(),
            power => z.norm().powf(power as f32),
        }
    }

    /// Fills `window` with the samples of the padded sound from `start` on.
    fn cut(&self, samples: &[f32], start: usize, window: &mut [f32]) {
        let pad = if self.padding == Padding::None { 0 } else { self.n_fft() / 2 };
        if let Some(whole) = start.checked_sub(pad).and_then(|from| samples.get(from..from + window.len())) {
            window.copy_from_slice(whole);
            return;
        }
        for (value, i) in window.iter_mut().zip(start..) {
            *value = match (i.checked_sub(pad), self.padding) {
                (Some(at), _) if at < samples.len() => samples[at],
                (Some(at), Padding::Reflect) => samples[2 * (samples.len() - 1) - at],
                (None, Padding::Reflect) => samples[pad - i],
                _ => 0.0,
            };
        }
    }
}

impl Transform for Spectrogram {
    fn apply(&self, sound: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        self.of(&one_channel(sound, "Spectrogram")?)
    }
}

/// `sin²(π n / length)`, in the middle of `n_fft` zeros.
fn hann(length: usize, n_fft: usize) -> Vec<f32> {
    let mut window = vec![0.0; n_fft];
    for (n, value) in window.iter_mut().skip((n_fft - length) / 2).take(length).enumerate() {
        *value = (0.5 - 0.5 * (TAU * n as f64 / length as f64).cos()) as f32;
    }
    window
}
