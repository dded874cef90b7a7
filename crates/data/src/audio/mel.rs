//! Spectrograms on a scale of pitch, as ears hear it.

use std::ops::Range;

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng};

use super::{Spectrogram, SpectrogramConfig, one_channel, to_tensor};
use crate::transform::Transform;

/// Which formula takes a frequency in Hz to the mel scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MelScale {
    /// `2595 · log10(1 + f / 700)`: HTK's, and torchaudio's default.
    #[default]
    Htk,
    /// `3 f / 200` up to 1 kHz, `15 + 27 · ln(f / 1000) / ln(6.4)` above: Slaney's Auditory Toolbox (1998), and librosa's.
    Slaney,
}

impl MelScale {
    /// The pitch of a frequency in Hz.
    pub fn of_hertz(self, hertz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
            Self::Slaney if hertz < 1000.0 => 3.0 * hertz / 200.0,
            Self::Slaney => 15.0 + 27.0 * (hertz / 1000.0).ln() / 6.4f64.ln(),
        }
    }

    /// The frequency of a pitch, in Hz.
    pub fn to_hertz(self, mel: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
            Self::Slaney if mel < 15.0 => 200.0 * mel / 3.0,
            Self::Slaney => 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp(),
        }
    }
}

/// How to take a [`MelSpectrogram`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MelConfig {
    /// Of the sounds, in Hz.
    pub sample_rate: u32,
    /// Windows and transform.
    pub spectrogram: SpectrogramConfig,
    /// Number of mel bands.
    pub n_mels: usize,
    /// Where the lowest band starts, in Hz.
    pub f_min: f64,
    /// Where the highest band ends, in Hz; half the sample rate where none is given.
    pub f_max: Option<f64>,
    /// The scale of pitch on which the bands are spaced evenly.
    pub scale: MelScale,
    /// Whether a band's weights are divided by half its width in Hz, so that each has the same area; else each peaks at 1.
    pub equal_area: bool,
}

impl MelConfig {
    /// torchaudio's defaults: windows of 400 samples, 200 apart, 128 bands on HTK's scale from 0 Hz on.
    pub fn new(sample_rate: u32) -> Self {
        Self {
            sample_rate,
            spectrogram: SpectrogramConfig::default(),
            n_mels: 128,
            f_min: 0.0,
            f_max: None,
            scale: MelScale::Htk,
            equal_area: false,
        }
    }

    /// What speech is usually looked at with: windows of 25 ms, 10 ms apart, in a transform of the next power of two; 40
    /// bands on HTK's scale from 20 Hz on; silence beyond the ends, so that no recording is too short.
    pub fn speech(sample_rate: u32) -> Self {
        let samples = |milliseconds: u64| (u64::from(sample_rate) * milliseconds / 1000).max(1) as usize;
        let win_length = samples(25).max(2);
        let spectrogram = SpectrogramConfig {
            n_fft: win_length.next_power_of_two(),
            win_length: Some(win_length),
            hop_length: Some(samples(10)),
            padding: super::Padding::Zeros,
            ..Default::default()
        };
        Self { spectrogram, n_mels: 40, f_min: 20.0, ..Self::new(sample_rate) }
    }
}

/// Overlapping triangles, one for each band, evenly spaced on a [`MelScale`].
///
/// `torchaudio.functional.melscale_fbanks`.
#[derive(Clone, Debug, PartialEq)]
pub struct MelFilters {
    num_frequencies: usize,
    /// Each band's frequencies and their weights.
    bands: Vec<(Range<usize>, Vec<f32>)>,
}

impl MelFilters {
    /// Filters for spectra of `num_frequencies` from 0 to half the sample rate. Of the spectrogram's settings in
    /// `config`, none is used.
    ///
    /// # Errors
    /// There is no band, no frequency or no rate; `0 <= f_min < f_max <= sample_rate / 2` does not hold.
    pub fn new(config: &MelConfig, num_frequencies: usize) -> Result<Self> {
        let MelConfig { sample_rate, n_mels, f_min, f_max, scale, equal_area, .. } = *config;
        super::waveform::check_rate(sample_rate)?;
        // As torchaudio, which rounds an odd rate's half down.
        let nyquist = f64::from(sample_rate / 2);
        let f_max = f_max.unwrap_or(nyquist);
        if !(0.0 <= f_min && f_min < f_max && f_max <= nyquist) {
            let expected = format!("0 <= f_min < f_max <= {nyquist}, half the sample rate");
            return Err(Error::invalid("mel filters", expected, format!("f_min {f_min}, f_max {f_max}")));
        }
        if n_mels == 0 || num_frequencies < 2 || n_mels > MAX_BANDS {
            let expected = format!("1 to {MAX_BANDS} bands of at least 2 frequencies");
            return Err(Error::invalid("mel filters", expected, format!("{n_mels} of {num_frequencies}")));
        }
        let (low, high) = (scale.of_hertz(f_min), scale.of_hertz(f_max));
        let corner = |i: usize| scale.to_hertz(low + (high - low) * i as f64 / (n_mels + 1) as f64);
        let hertz = |k: usize| nyquist * k as f64 / (num_frequencies - 1) as f64;
        let band = |i: usize| {
            let (left, peak, right) = (corner(i), corner(i + 1), corner(i + 2));
            let scale = if equal_area { 2.0 / (right - left) } else { 1.0 };
            let weight =
                |k: usize| ((hertz(k) - left) / (peak - left)).min((right - hertz(k)) / (right - peak)) * scale;
            let mut inside = (0..num_frequencies).filter(|&k| weight(k) > 0.0);
            let range = inside.clone().next().unwrap_or(0)..inside.next_back().map_or(0, |k| k + 1);
            (range.clone(), range.map(|k| weight(k) as f32).collect())
        };
        Ok(Self { num_frequencies, bands: (0..n_mels).map(band).collect() })
    }

    /// Number of bands.
    pub fn len(&self) -> usize {
        self.bands.len()
    }

    /// Whether there is no band, which never happens.
    pub fn is_empty(&self) -> bool {
        self.bands.is_empty()
    }

    /// Bands so narrow that no frequency lies inside: they are always 0. Fewer bands or a larger `n_fft` helps.
    pub fn num_empty_bands(&self) -> usize {
        self.bands.iter().filter(|(range, _)| range.is_empty()).count()
    }

    /// The weights as a matrix (num_frequencies, bands), which a spectrogram is multiplied with.
    ///
    /// # Errors
    /// Candle's.
    pub fn tensor(&self) -> Result<Tensor> {
        let mut values = vec![0.0; self.num_frequencies * self.len()];
        for (i, (range, weights)) in self.bands.iter().enumerate() {
            range.clone().zip(weights).for_each(|(k, w)| values[k * self.len() + i] = *w);
        }
        to_tensor(values, self.num_frequencies, self.len())
    }

    /// Appends the bands of one spectrum of `num_frequencies` values.
    fn append(&self, spectrum: &[f32], bands: &mut Vec<f32>) {
        let band = |(range, weights): &(Range<usize>, Vec<f32>)| {
            spectrum[range.clone()].iter().zip(weights).map(|(x, w)| x * w).sum::<f32>()
        };
        bands.extend(self.bands.iter().map(band));
    }
}

/// More bands than any ear.
const MAX_BANDS: usize = 4096;

/// A [`Spectrogram`] gathered into the bands of [`MelFilters`].
///
/// As `torchaudio.transforms.MelSpectrogram`, with the time first.
///
/// # Shapes
/// A sound of (1, num_samples) to (frames, n_mels).
#[derive(Clone, Debug)]
pub struct MelSpectrogram {
    spectrogram: Spectrogram,
    filters: MelFilters,
}

impl MelSpectrogram {
    /// Plans the transform and makes the filters.
    ///
    /// # Errors
    /// As [`Spectrogram::new`] and [`MelFilters::new`].
    pub fn new(config: MelConfig) -> Result<Self> {
        let spectrogram = Spectrogram::new(config.spectrogram)?;
        let filters = MelFilters::new(&config, spectrogram.num_frequencies())?;
        Ok(Self { spectrogram, filters })
    }

    /// The spectrogram before the filters.
    pub fn spectrogram(&self) -> &Spectrogram {
        &self.spectrogram
    }

    /// The filters.
    pub fn filters(&self) -> &MelFilters {
        &self.filters
    }

    /// The mel spectrogram of one channel's `samples`: (frames, n_mels).
    ///
    /// # Errors
    /// As [`Spectrogram::num_frames`].
    pub fn of(&self, samples: &[f32]) -> Result<Tensor> {
        let (frames, values) = self.values(samples)?;
        to_tensor(values, frames, self.filters.len())
    }

    /// Frames, and their values one after another.
    fn values(&self, samples: &[f32]) -> Result<(usize, Vec<f32>)> {
        let mut values = Vec::new();
        let frames = self.spectrogram.each_frame(samples, |frame| self.filters.append(frame, &mut values))?;
        Ok((frames, values))
    }
}

impl Transform for MelSpectrogram {
    fn apply(&self, sound: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        self.of(&one_channel(sound, "MelSpectrogram")?)
    }
}

/// How power becomes loudness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LogScale {
    /// `ln(power + offset)`.
    Natural {
        /// Above 0; 1e-6 in [`LogScale::default`] and in torchaudio's MFCC with `log_mels`.
        offset: f64,
    },
    /// `10 · log10(max(power, 1e-10))`, in dB, as `torchaudio.transforms.AmplitudeToDB`.
    Decibels {
        /// How far below the recording's loudest value the rest is cut off, in dB, such as 80; nowhere where none is given.
        top_db: Option<f64>,
    },
}

impl Default for LogScale {
    fn default() -> Self {
        Self::Natural { offset: 1e-6 }
    }
}

impl LogScale {
    fn check(self) -> Result<()> {
        let (name, value) = match self {
            Self::Natural { offset } => ("offset", offset),
            Self::Decibels { top_db } => ("top_db", top_db.unwrap_or(1.0)),
        };
        if value.is_finite() && value > 0.0 {
            return Ok(());
        }
        Err(Error::invalid(format!("LogScale's {name}"), "a number above 0", value))
    }

    fn apply(self, values: &mut [f32]) {
        match self {
            Self::Natural { offset } => values.iter_mut().for_each(|v| *v = (*v + offset as f32).ln()),
            Self::Decibels { top_db } => {
                values.iter_mut().for_each(|v| *v = 10.0 * v.max(1e-10).log10());
                let loudest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let floor = top_db.map_or(f32::NEG_INFINITY, |top| loudest - top as f32);
                values.iter_mut().for_each(|v| *v = v.max(floor));
            }
        }
    }
}

/// The logarithm of a [`MelSpectrogram`].
///
/// # Shapes
/// A sound of (1, num_samples) to (frames, n_mels).
///
/// ```
/// use glassbox_data::audio::{LogMel, LogScale, MelConfig};
/// let log_mel = LogMel::new(MelConfig::speech(16_000), LogScale::Decibels { top_db: Some(80.0) })?;
/// assert_eq!(log_mel.of(&vec![0.1; 16_000])?.dims(), [101, 40]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogMel {
    mel: MelSpectrogram,
    log: LogScale,
}

impl LogMel {
    /// Plans the transform and makes the filters.
    ///
    /// # Errors
    /// As [`MelSpectrogram::new`]; the offset or the range of the logarithm is not above 0.
    pub fn new(config: MelConfig, log: LogScale) -> Result<Self> {
        log.check()?;
        Ok(Self { mel: MelSpectrogram::new(config)?, log })
    }

    /// The mel spectrogram before the logarithm.
    pub fn mel(&self) -> &MelSpectrogram {
        &self.mel
    }

    /// The log-mel spectrogram of one channel's `samples`: (frames, n_mels).
    ///
    /// # Errors
    /// As [`Spectrogram::num_frames`].
    pub fn of(&self, samples: &[f32]) -> Result<Tensor> {
        let (frames, values) = self.values(samples)?;
        to_tensor(values, frames, self.mel.filters.len())
    }

    pub(super) fn values(&self, samples: &[f32]) -> Result<(usize, Vec<f32>)> {
        let (frames, mut values) = self.mel.values(samples)?;
        self.log.apply(&mut values);
        Ok((frames, values))
    }
}

impl Transform for LogMel {
    fn apply(&self, sound: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        self.of(&one_channel(sound, "LogMel")?)
    }
}
