//! Sound: WAV files, resampling, spectrograms, mel features, augmentation and folders of recordings.
//!
//! Between the steps a sound is a tensor of (channels, num_samples), f32, full scale at 1; features are
//! (frames, features), as recurrent layers take them. Each step is a [`Transform`](crate::transform::Transform):
//!
//! ```
//! use glassbox_core::{Seed, candle_core::DType};
//! use glassbox_data::audio::{AddNoise, LogMel, LogScale, MelConfig, SpecAugment, TimeShift, Waveform};
//! use glassbox_data::transform::{Compose, Transform};
//! let tone: Vec<f32> = (0..8000).map(|i| 0.5 * (i as f32 * 0.35).sin()).collect();
//! let sound = Waveform::new(vec![tone], 8000)?.tensor()?;
//! let train = Compose::new()
//!     .then(TimeShift { max_shift: 800 })
//!     .then(AddNoise::snr(5.0, 30.0)?)
//!     .then(LogMel::new(MelConfig::speech(8000), LogScale::default())?)
//!     .then(SpecAugment::default());
//! assert_eq!(train.apply(&sound, &mut Seed(1).rng())?.dims(), [101, 40]);
//! # Ok::<(), glassbox_core::Error>(())
//! ```
//!
//! Spectrograms, mel filters, MFCC and resampling give torchaudio's values to 1e-3 or better, with the time first.

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Error, Result};

mod augment;
mod folder;
mod mel;
mod mfcc;
mod name;
mod normalize;
mod resample;
mod spectrogram;
mod wav;
mod waveform;

pub use augment::{AddNoise, MaskFill, SpecAugment, TimeShift};
pub use folder::{AudioFolder, Recording};
pub use mel::{LogMel, LogScale, MelConfig, MelFilters, MelScale, MelSpectrogram};
pub use mfcc::{Mfcc, MfccConfig};
pub use name::NamePattern;
pub use normalize::{FitLength, NormalizeFeatures, NormalizeRecording};
pub use resample::{Resampler, resample};
pub use spectrogram::{Padding, Spectrogram, SpectrogramConfig};
pub use wav::{SampleFormat, encode_wav, parse_wav, read_wav, write_wav};
pub use waveform::{MAX_SAMPLE_RATE, Waveform};

/// A tensor of f32 with two dimensions that mean `shape`, as these and its values.
fn matrix(tensor: &Tensor, who: &str, shape: &str) -> Result<(usize, usize, Vec<f32>)> {
    match (tensor.dims(), tensor.dtype()) {
        (&[rows, columns], DType::F32) => Ok((rows, columns, tensor.flatten_all()?.to_vec1()?)),
        (dims, dtype) => {
            let got = format!("{dims:?} of {}", dtype.as_str());
            Err(Error::invalid(format!("{who}'s input"), format!("{shape} of f32"), got))
        }
    }
}

/// The samples of a sound with one channel.
fn one_channel(sound: &Tensor, who: &str) -> Result<Vec<f32>> {
    let shape = "(1, num_samples)";
    match matrix(sound, who, shape)? {
        (1, _, samples) => Ok(samples),
        (channels, ..) => Err(Error::invalid(format!("{who}'s input"), shape, format!("{channels} channels"))),
    }
}

fn to_tensor(values: Vec<f32>, rows: usize, columns: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
}

#[cfg(test)]
mod tests;
