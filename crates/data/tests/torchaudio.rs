//! Sound as torchaudio sees it. The fixture and the files were made by tools/fixtures/data_audio.py, with torchaudio
//! 2.11, in f64.

use candle_core::Tensor;
use glassbox_core::testkit::Golden;
use glassbox_core::{Result, Seed};
use glassbox_data::audio::*;
use glassbox_data::transform::Transform;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

fn golden() -> Result<Golden> {
    Golden::open(format!("{FOLDER}/fixtures/audio.safetensors"))
}

/// Whether `got` is the output of `case`, within `tolerance` · (1 + |expected|).
fn compare(case: &str, got: &Tensor, tolerance: f32) -> Result<()> {
    let golden = golden()?;
    let want = golden.tensor(case, "output")?;
    assert_eq!(got.dims(), want.dims(), "{case}");
    let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
    for (i, (got, want)) in values(got)?.into_iter().zip(values(want)?).enumerate() {
        assert!((got - want).abs() <= tolerance * (1.0 + want.abs()), "{case}: value {i} is {got}, expected {want}");
    }
    Ok(())
}

fn check(case: &str, tolerance: f32, transform: impl Transform) -> Result<()> {
    let golden = golden()?;
    let sound = golden.tensor("sound", "input")?.unsqueeze(0)?;
    let got = transform.apply(&sound, &mut Seed(1).rng())?;
    compare(case, &got, tolerance)
}

fn mel(slaney: bool) -> MelConfig {
    let spectrogram = SpectrogramConfig { n_fft: 128, hop_length: Some(100), ..Default::default() };
    let config = MelConfig { spectrogram, n_mels: 16, ..MelConfig::new(8000) };
    if slaney { slaney_of(config) } else { config }
}

fn slaney_of(config: MelConfig) -> MelConfig {
    MelConfig { f_min: 60.0, f_max: Some(3700.0), scale: MelScale::Slaney, equal_area: true, ..config }
}

#[test]
fn resampling() -> Result<()> {
    let golden = golden()?;
    let cases: Vec<&str> = golden.cases().into_iter().filter(|case| case.starts_with("resample")).collect();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let rates: Vec<u32> = case.split(' ').filter_map(|word| word.parse().ok()).collect();
        let samples = golden.tensor(case, "input")?.to_vec1::<f32>()?;
        let got = resample(&samples, rates[0], rates[1])?;
        // Weights and sums in f32.
        compare(case, &Tensor::new(got, &candle_core::Device::Cpu)?, 1e-6)?;
    }
    Ok(())
}

#[test]
fn spectrograms() -> Result<()> {
    // A transform in f32: rounding of 1e-7 of the frame's strongest value, which is some hundreds.
    let of = |n_fft, hop_length, padding| SpectrogramConfig {
        n_fft,
        hop_length: Some(hop_length),
        padding,
        ..Default::default()
    };
    check("spectrogram reflect", 1e-4, Spectrogram::new(of(64, 90, Padding::Reflect))?)?;
    let zeros = SpectrogramConfig { win_length: Some(41), power: 1.0, ..of(50, 70, Padding::Zeros) };
    check("spectrogram zeros", 1e-5, Spectrogram::new(zeros)?)?;
    check("spectrogram none", 1e-4, Spectrogram::new(of(63, 80, Padding::None))?)
}

#[test]
fn filters() -> Result<()> {
    let htk = MelConfig { n_mels: 12, ..MelConfig::new(8000) };
    for (case, config) in [("filters htk", htk), ("filters slaney", slaney_of(htk))] {
        // torchaudio's corners are in f32.
        compare(case, &MelFilters::new(&config, 65)?.tensor()?, 1e-5)?;
    }
    Ok(())
}

#[test]
fn mel_features() -> Result<()> {
    check("mel", 1e-4, MelSpectrogram::new(mel(false))?)?;
    check("mel slaney", 1e-5, MelSpectrogram::new(mel(true))?)?;
    let decibels = LogScale::Decibels { top_db: Some(80.0) };
    check("log mel decibels", 1e-4, LogMel::new(mel(false), decibels)?)?;
    check("mfcc decibels", 1e-4, Mfcc::new(MfccConfig { mel: mel(false), log: decibels, n_mfcc: 13 })?)?;
    check("mfcc natural", 1e-4, Mfcc::new(MfccConfig { mel: mel(false), log: LogScale::default(), n_mfcc: 13 })?)
}

#[test]
fn files_of_other_programs() -> Result<()> {
    for name in ["pcm8", "pcm16", "pcm24", "pcm32", "float32", "float64"] {
        let sound = read_wav(format!("{FOLDER}/sounds/{name}.wav"))?;
        assert_eq!(sound.sample_rate(), 22_050, "{name}");
        assert_eq!(sound.channels(), [[0.0, 0.5, -0.75], [-1.0, 0.25, 0.125]], "{name}");
    }
    Ok(())
}
