use super::*;
use crate::transform::Transform;
use glassbox_core::{Dataset, DatasetExt, Seed};

fn tensor(rows: &[&[f32]]) -> Tensor {
    to_tensor(rows.concat(), rows.len(), rows[0].len()).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_vec2().unwrap()
}

fn apply(transform: &impl Transform, input: &Tensor, seed: u64) -> Tensor {
    transform.apply(input, &mut Seed(seed).rng()).unwrap()
}

fn message<T>(result: Result<T>) -> String {
    result.err().map_or("no error".to_string(), |e| e.to_string())
}

fn tone(num_samples: usize) -> Waveform {
    Waveform::new(vec![(0..num_samples).map(|i| 0.5 * (i as f32 * 0.3).sin()).collect()], 8000).unwrap()
}

#[test]
fn what_is_written_is_read() {
    use SampleFormat::*;
    let stereo = Waveform::new(vec![vec![0.0, 0.5, -1.0], vec![0.25, 1.5, -3.0]], 44_100).unwrap();
    for format in [Pcm8, Pcm16, Pcm24, Pcm32, Float32, Float64] {
        let bytes = encode_wav(&stereo, format).unwrap();
        assert_eq!(bytes.len() % 2, 0);
        let read = parse_wav(&bytes, "f").unwrap();
        let full =
            [(Pcm8, 127.0 / 128.0), (Pcm16, 32_767.0 / 32_768.0), (Pcm24, 8_388_607.0 / 8_388_608.0), (Pcm32, 1.0)];
        let (high, low) = full.iter().find(|(f, _)| *f == format).map_or((1.5, -3.0), |(_, high)| (*high, -1.0));
        assert_eq!(read.channels(), [[0.0, 0.5, -1.0], [0.25, high, low]], "{format:?}");
        assert_eq!((read.sample_rate(), read.num_samples()), (44_100, 3));
    }
    // An odd number of bytes is padded.
    let odd = encode_wav(&tone(3), Pcm8).unwrap();
    assert_eq!((odd.len(), parse_wav(&odd, "f").unwrap().num_samples()), (48, 3));
}

#[test]
fn waveforms_are_checked_and_mixed() {
    let stereo = Waveform::new(vec![vec![1.0, 0.0, 0.5], vec![0.0, -1.0, 0.5]], 3).unwrap();
    assert_eq!((stereo.duration(), stereo.tensor().unwrap().dims()), (1.0, &[2, 3][..]));
    assert_eq!(stereo.mono().channels(), [[0.5, -0.5, 0.5]]);
    let error = |channels: Vec<Vec<f32>>, rate| message(Waveform::new(channels, rate));
    assert_eq!(error(vec![], 1), "waveform: expected at least one sample, got none");
    assert_eq!(error(vec![vec![]], 1), "waveform: expected at least one sample, got none");
    assert_eq!(error(vec![vec![0.0], vec![]], 1), "channel 1: expected 1 samples, as in channel 0, got 0");
    assert_eq!(error(vec![vec![0.0, f32::NAN]], 1), "sample 1 of channel 0: expected a finite value, got NaN");
    assert_eq!(error(vec![vec![0.0]], 0), "sample rate: expected 1 to 2000000 Hz, got 0");
}

#[test]
fn bad_files_are_errors_that_say_why() {
    let good = encode_wav(&tone(100), SampleFormat::Pcm16).unwrap();
    let error = |at: usize, new: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        message(parse_wav(&bytes, "x.wav"))
    };
    let cut = |length: usize| message(parse_wav(&good[..length], "x.wav"));
    assert_eq!(cut(144), "x.wav: file ends at sample 50 of 100");
    assert_eq!(cut(7), "x.wav: not a WAV file: expected a header of 12 bytes, got 7");
    assert_eq!(cut(30), "x.wav: file ends at byte 10 of 16 of its `fmt ` chunk");
    assert_eq!(cut(38), "x.wav: no `data` chunk, expected one with the samples");
    assert_eq!(error(0, b"RF64"), "x.wav: not a WAV file: expected RIFF and WAVE, got RF64 and WAVE");
    let codec = "x.wav: unsupported codec: expected PCM of 8, 16, 24 or 32 bits or float of 32 or 64, got ";
    assert_eq!(error(20, &[7, 0]), format!("{codec}mu-law of 16 bits"));
    assert_eq!(error(20, &[0x34, 0x12]), format!("{codec}codec 1234 of 16 bits"));
    assert_eq!(error(34, &[12]), format!("{codec}PCM of 12 bits"));
    assert_eq!(error(22, &[2]), "x.wav: block size: expected 4 bytes for 2 channels of 16 bits, got 2");
    assert_eq!(error(22, &[0]), "x.wav: block size: expected 0 bytes for 0 channels of 16 bits, got 2");
    assert_eq!(error(24, &[0, 0]), "x.wav: sample rate: expected 1 to 2000000 Hz, got 0");
    assert_eq!(error(20, &[0xfe, 0xff]), "x.wav: `fmt ` chunk: expected 40 bytes of an extensible header, got 16");
    assert_eq!(error(12, b"junk"), "x.wav: `data` chunk before the `fmt ` chunk");
    assert_eq!(error(40, &[199, 0]), "x.wav: `data` chunk: expected whole blocks of 2 bytes, got 199 bytes");
    assert_eq!(error(40, &[0, 0]), "x.wav: expected at least one sample, got none");
    let path = std::path::Path::new("/nowhere/x.wav");
    assert!(message(read_wav(path)).starts_with("/nowhere/x.wav: "));
}

#[test]
fn headers_of_other_writers() {
    let sound = tone(5);
    let plain = encode_wav(&sound, SampleFormat::Float32).unwrap();
    // The codec in the extension, and a chunk of odd length before the samples.
    let mut extensible = plain.clone();
    extensible[16..22].copy_from_slice(&[40, 0, 0, 0, 0xfe, 0xff]);
    let more = b"\x16\0\x20\0\x04\0\0\0\x03\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71LIST\x03\0\0\0abc\0";
    extensible.splice(36..36, more.iter().copied());
    assert_eq!(parse_wav(&extensible, "f").unwrap(), sound);
    extensible[44] = 6;
    assert!(message(parse_wav(&extensible, "f")).ends_with("got A-law of 32 bits"));
    extensible[50] = 1;
    assert!(message(parse_wav(&extensible, "f")).starts_with("f: unsupported codec: expected PCM or float, got "));
    // A program that wrote to a pipe does not know the length.
    let mut piped = plain;
    piped[40..44].fill(0xff);
    assert_eq!(parse_wav(&piped, "f").unwrap(), sound);
}

#[test]
fn resampling_keeps_a_tone() {
    let at = |rate: u32, n: usize| (std::f64::consts::TAU * 300.0 * n as f64 / f64::from(rate)).sin() as f32;
    let sound: Vec<f32> = (0..800).map(|n| at(8000, n)).collect();
    for rate in [11_025, 16_000, 4000, 7919] {
        let got = resample(&sound, 8000, rate).unwrap();
        assert_eq!(got.len(), (800 * rate as usize).div_ceil(8000));
        let inside = got.len() / 10..got.len() * 9 / 10;
        // The filter of 6 zeros is flat to about 1 %.
        assert!(inside.clone().all(|n| (got[n] - at(rate, n)).abs() < 0.02), "{rate}");
    }
    assert_eq!(resample(&sound, 8000, 8000).unwrap(), sound);
    assert_eq!(resample(&[], 8000, 16_000).unwrap(), [0.0; 0]);
    assert_eq!(message(resample(&sound, 1, 257)), "Resampler: expected rates within a factor of 256, got 1 to 257 Hz");
    assert_eq!(tone(80).resampled(16_000).unwrap().num_samples(), 160);
}

#[test]
fn frames_are_counted() {
    let of = |n_fft, padding| Spectrogram::new(SpectrogramConfig { n_fft, padding, ..Default::default() }).unwrap();
    let reflect = of(10, Padding::Reflect);
    assert_eq!((reflect.num_frames(6).unwrap(), reflect.of(&[1.0; 6]).unwrap().dims()), (2, &[2, 6][..]));
    let short = "Spectrogram's sound: expected at least 6 samples, for n_fft = 10 and Reflect padding, got 5";
    assert_eq!(message(reflect.of(&[1.0; 5])), short);
    assert_eq!(of(10, Padding::Zeros).of(&[1.0]).unwrap().dims(), [1, 6]);
    assert_eq!(of(10, Padding::None).num_frames(19).unwrap(), 2);
    assert!(of(10, Padding::None).num_frames(9).is_err());
    assert!(message(reflect.apply(&tensor(&[&[0.0; 9], &[0.0; 9]]), &mut Seed(1).rng())).ends_with("got 2 channels"));
    for config in [
        SpectrogramConfig { n_fft: 1, ..Default::default() },
        SpectrogramConfig { n_fft: usize::MAX, ..Default::default() },
        SpectrogramConfig { win_length: Some(401), ..Default::default() },
        SpectrogramConfig { win_length: Some(0), ..Default::default() },
        SpectrogramConfig { hop_length: Some(0), ..Default::default() },
        SpectrogramConfig { power: 0.0, ..Default::default() },
    ] {
        assert!(Spectrogram::new(config).is_err(), "{config:?}");
    }
}

#[test]
fn bad_mel_settings_are_errors() {
    let config = MelConfig::new(8000);
    let error = |config| message(MelSpectrogram::new(config));
    let corners = "mel filters: expected 0 <= f_min < f_max <= 4000, half the sample rate, got ";
    assert_eq!(error(MelConfig { f_max: Some(4001.0), ..config }), format!("{corners}f_min 0, f_max 4001"));
    assert_eq!(error(MelConfig { f_min: f64::NAN, ..config }), format!("{corners}f_min NaN, f_max 4000"));
    assert!(error(MelConfig { n_mels: 0, ..config }).contains("bands"));
    assert!(error(MelConfig { n_mels: usize::MAX, ..config }).contains("bands"));
    assert!(message(LogMel::new(config, LogScale::Natural { offset: 0.0 })).contains("offset"));
    assert!(
        message(Mfcc::new(MfccConfig { n_mfcc: 129, ..MfccConfig::new(8000) })).contains("1 to n_mels = 128, got 129")
    );
    // 128 bands are too many for 65 frequencies, 62.5 Hz apart: the lowest are 22 Hz wide.
    assert!(MelFilters::new(&config, 65).unwrap().num_empty_bands() > 0);
    assert_eq!(MelFilters::new(&MelConfig::speech(8000), 129).unwrap().num_empty_bands(), 0);
    for rate in [1, 7, 8000, 2_000_000] {
        assert_eq!(MelConfig::speech(rate).sample_rate, rate);
    }
}

#[test]
fn silence_is_finite() {
    for log in [LogScale::default(), LogScale::Decibels { top_db: Some(80.0) }, LogScale::Decibels { top_db: None }] {
        let features = LogMel::new(MelConfig::speech(8000), log).unwrap().of(&[0.0; 400]).unwrap();
        assert!(rows(&features).concat().iter().all(|v| v.is_finite()), "{log:?}");
    }
}

#[test]
fn shifts_reach_every_place_and_bring_silence() {
    let sound = tensor(&[&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let shifted = rows(&apply(&TimeShift { max_shift: 1 }, &sound, seed));
        // Both channels move alike.
        assert!(shifted[0].iter().zip(&shifted[1]).all(|(a, b)| *b == if *a == 0.0 { 0.0 } else { a + 3.0 }));
        seen.insert(shifted[0].iter().map(|v| *v as u32).collect::<Vec<_>>());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [[0, 1, 2], [1, 2, 3], [2, 3, 0]]);
    // A shift beyond the sound is one of its whole length.
    for seed in 0..20 {
        apply(&TimeShift { max_shift: usize::MAX }, &sound, seed);
    }
    assert_eq!(rows(&apply(&TimeShift { max_shift: 0 }, &sound, 1)), rows(&sound));
}

#[test]
fn noise_has_the_ratio_it_says() {
    let sound = tone(2000).tensor().unwrap();
    for ratio in [-5.0, 0.0, 20.0] {
        let noisy = apply(&AddNoise::snr(ratio, ratio).unwrap(), &sound, 3);
        let noise = rows(&(noisy - &sound).unwrap()).concat();
        let energy = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let got = 10.0 * (energy(&rows(&sound).concat()) / energy(&noise)).log10();
        // The sums are rounded to f32.
        assert!((got - ratio).abs() < 1e-3, "{got} {ratio}");
        // As many above zero as below: 2000 draws, five standard deviations.
        assert!((noise.iter().filter(|v| **v > 0.0).count() as f64 - 1000.0).abs() < 112.0);
    }
    let silent = tensor(&[&[0.0; 9]]);
    assert_eq!(rows(&apply(&AddNoise::snr(0.0, 10.0).unwrap(), &silent, 3)), rows(&silent));
    assert!(AddNoise::snr(3.0, 2.0).is_err() && AddNoise::snr(f64::NAN, 2.0).is_err());
}

#[test]
fn masks_hide_whole_bands_and_stretches() {
    let features = to_tensor((1..=600).map(|v| v as f32).collect(), 30, 20).unwrap();
    let hide = SpecAugment {
        num_frequency_masks: 1,
        max_frequency_width: 4,
        num_time_masks: 1,
        max_time_width: 10,
        max_time_part: 0.3,
        fill: MaskFill::Value(0.0),
    };
    let (mut widest_band, mut longest_stretch) = (0, 0);
    for seed in 0..300 {
        let masked = rows(&apply(&hide, &features, seed));
        let stretch: Vec<usize> = (0..30).filter(|&t| masked[t].iter().all(|v| *v == 0.0)).collect();
        let band: Vec<usize> = (0..20).filter(|&f| masked.iter().all(|frame| frame[f] == 0.0)).collect();
        let together = |at: &[usize]| at.windows(2).all(|pair| pair[1] == pair[0] + 1);
        assert!(together(&stretch) && together(&band));
        let hidden = masked.concat().iter().filter(|v| **v == 0.0).count();
        assert_eq!(hidden, 30 * band.len() + 20 * stretch.len() - band.len() * stretch.len());
        (widest_band, longest_stretch) = (widest_band.max(band.len()), longest_stretch.max(stretch.len()));
    }
    assert_eq!((widest_band, longest_stretch), (4, 9));
    // The mean stays where all is the mean.
    let flat = tensor(&[&[2.0f32; 4][..]; 6]);
    assert_eq!(rows(&apply(&SpecAugment::default(), &flat, 1)), rows(&flat));
    assert_eq!(rows(&apply(&hide, &features, 5)), rows(&apply(&hide, &features, 5)));
    let wrong = SpecAugment { max_time_part: 1.5, ..Default::default() };
    assert!(message(wrong.apply(&flat, &mut Seed(1).rng())).contains("0 to 1, got 1.5"));
}

#[test]
fn lengths_and_scales_are_made_equal() {
    let sound = tensor(&[&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]]);
    let fit = |num_samples| rows(&apply(&FitLength { num_samples }, &sound, 1));
    assert_eq!(fit(2), [[1.0, 2.0], [4.0, 5.0]]);
    assert_eq!(fit(4), [[1.0, 2.0, 3.0, 0.0], [4.0, 5.0, 6.0, 0.0]]);
    for num_samples in [0, usize::MAX] {
        assert!(FitLength { num_samples }.apply(&sound, &mut Seed(1).rng()).is_err());
    }
    let normal = rows(&apply(&NormalizeFeatures, &tensor(&[&[1.0, 7.0], &[3.0, 7.0]]), 1));
    assert_eq!(normal, [[-1.0, 0.0], [1.0, 0.0]]);
    let normal = rows(&apply(&NormalizeRecording, &tensor(&[&[1.0, 5.0], &[5.0, 1.0]]), 1));
    assert_eq!(normal, [[-1.0, 1.0], [1.0, -1.0]]);
}

#[test]
fn patterns_read_names() {
    let pattern = NamePattern::new("rec-{class}_{take}.v{version}x").unwrap();
    let fields = pattern.fields_of("rec-a_b_c.v2x").unwrap();
    assert_eq!(
        fields.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["class=a", "take=b_c", "version=2"]
    );
    for name in ["a_b.v2x", "rec-_b.v2x", "rec-a_b.v2", "rec-a_b.vx", "rec-", "", "rec-é"] {
        assert!(pattern.fields_of(name).is_none(), "{name}");
    }
    for wrong in ["", "x", "{", "}", "{a", "{}", "{a}{b}", "{a}_{a}", "a}_{b}", "{a}}"] {
        assert!(message(NamePattern::new(wrong)).starts_with("name pattern: expected "), "{wrong}");
    }
}

/// Each of the names with a tone of its own length in a new folder.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in names.iter().enumerate() {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_wav(path, &tone(100 + i), SampleFormat::Pcm16).unwrap();
    }
    dir
}

#[test]
fn a_folder_per_class() {
    let dir = folder(&["yes/1.wav", "no/2.WAV", "no/1.wav", "no/notes.txt", ".hidden/1.wav"]);
    let data = AudioFolder::open(dir.path(), 8000).unwrap();
    assert_eq!((data.len(), data.class_names()), (3, &["no".to_string(), "yes".to_string()][..]));
    let sample = data.get(2, &mut Seed(1).rng()).unwrap();
    assert_eq!((sample.input.dims(), sample.target.to_scalar::<u32>().unwrap()), (&[1, 100][..], 1));
    assert_eq!(data.class(0).unwrap(), Some(0));
    assert!(message(data.get(3, &mut Seed(1).rng())).contains("less than 3, got 3"));
    // Another rate, kept in memory: the files may go.
    let kept = AudioFolder::open(dir.path(), 16_000).unwrap().in_memory().unwrap();
    std::fs::write(dir.path().join("no/1.wav"), b"RIFF").unwrap();
    assert_eq!(kept.get(2, &mut Seed(1).rng()).unwrap().input.dims(), [1, 200]);
    let broken = message(data.get(0, &mut Seed(1).rng()));
    assert!(broken.ends_with("no/1.wav: not a WAV file: expected a header of 12 bytes, got 4"), "{broken}");
    assert_eq!(broken, message(data.in_memory()));
    std::fs::create_dir(dir.path().join("maybe")).unwrap();
    assert!(message(AudioFolder::open(dir.path(), 8000)).ends_with("maybe: no WAV files in this class's folder"));
    assert!(message(AudioFolder::open(dir.path().join("yes"), 8000)).ends_with("no folders, expected one per class"));
}

#[test]
fn classes_in_the_names() {
    let names = ["0_ann_0.wav", "0_ann_1.wav", "1_ann_0.wav", "0_bob_0.wav", "1_bob_1.wav"];
    let dir = folder(&names);
    let data = AudioFolder::by_name(dir.path(), "{class}_{speaker}_{index}", 8000).unwrap();
    assert_eq!((data.len(), data.class_names().len()), (5, 2));
    assert_eq!(data.recordings()[2].field("speaker"), Some("bob"));
    let (test, train) = data.clone().split_where(|recording| Ok(recording.number("index")? < 1)).unwrap();
    assert_eq!((test.indices(), train.indices()), (&[0, 2, 3][..], &[1, 4][..]));
    assert_eq!(train.map(|sample, _| Ok(sample)).class(1).unwrap(), Some(1));
    assert!(message(data.clone().split_where(|_| Ok(true))).contains("5 and 0"));
    let wrong = message(data.clone().split_where(|recording| Ok(recording.number("speaker")? == 0)));
    assert!(wrong.ends_with("0_ann_0.wav: speaker: expected a whole number, got `ann`"), "{wrong}");
    let folds = data.clone().leave_one_out("speaker").unwrap();
    let speakers: Vec<(&str, usize, usize)> = folds.iter().map(|(s, (a, b))| (s.as_str(), a.len(), b.len())).collect();
    assert_eq!(speakers, [("ann", 2, 3), ("bob", 3, 2)]);
    assert!(message(data.leave_one_out("room")).ends_with("0_ann_0.wav: expected a field `room`, got none"));
    std::fs::copy(dir.path().join(names[0]), dir.path().join("odd.wav")).unwrap();
    let odd = message(AudioFolder::by_name(dir.path(), "{class}_{speaker}_{index}", 8000));
    assert!(odd.ends_with("odd.wav: expected a name like `{class}_{speaker}_{index}`, got `odd`"), "{odd}");
    assert!(message(AudioFolder::by_name(dir.path(), "{speaker}", 8000)).contains("a field `{class}`"));
    assert!(message(AudioFolder::new(vec![], 8000)).contains("at least one"));
}
