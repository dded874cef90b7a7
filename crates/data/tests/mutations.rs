//! 100,000 mutated inputs for each loader: none panics, and none makes it hold more memory than the bytes warrant.

#![allow(clippy::unwrap_used)] // In helpers of tests too.

use std::alloc::System;
use std::io::Write;

use cap::Cap;
use glassbox_core::{Rng, Seed};
use glassbox_data::audio::{SampleFormat, Waveform, encode_wav, parse_wav};
use glassbox_data::{ColorMode, Csv, Table, cifar, decode_image, idx};
use image::{DynamicImage, ImageFormat, RgbImage};

/// Everything of this program together. An allocation above it ends the program; inputs are a few kilobytes.
const MAX_MEMORY: usize = 64 << 20;
const CASES: u64 = 100_000;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MAX_MEMORY);

/// Numbers that lengths and counters stumble over.
const EDGES: [u32; 12] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let rest = bytes.len() - at;
        match rng.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.below(256) as u8),
            2 => drop(bytes.drain(at..at + rng.below(rest.min(16) + 1))),
            3 => bytes.extend_from_within(at..at + rng.below(rest.min(64) + 1)),
            4 => overwrite(bytes, at, &EDGES[rng.below(EDGES.len())].to_be_bytes()),
            5 => overwrite(bytes, at, &(EDGES[rng.below(EDGES.len())] as u16).to_be_bytes()),
            _ => overwrite(bytes, at, &[rng.below(256) as u8]),
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..].iter_mut().zip(new).for_each(|(byte, &value)| *byte = value);
}

/// Runs `load` on mutations of `seeds`. It says whether it took the input: some must pass and some must fail, or the
/// mutations test nothing.
fn run(name: &str, seeds: &[Vec<u8>], mut load: impl FnMut(Vec<u8>, &mut Rng) -> bool) {
    let mut accepted = 0;
    for case in 0..CASES {
        let mut rng = Seed(1).child(name).index(case).rng();
        let mut bytes = seeds[rng.below(seeds.len())].clone();
        mutate(&mut bytes, &mut rng);
        accepted += u64::from(load(bytes, &mut rng));
    }
    assert!(accepted > CASES / 1000 && accepted < CASES * 999 / 1000, "{name}: {accepted} of {CASES} accepted");
    assert!(ALLOCATOR.max_allocated() < MAX_MEMORY);
}

fn idx_files() -> Vec<Vec<u8>> {
    let file = |code: u8, dims: &[u8], len: usize| {
        let mut bytes = vec![0, 0, code, dims.len() as u8];
        dims.iter().for_each(|&d| bytes.extend([0, 0, 0, d]));
        bytes.extend((0..len).map(|i| i as u8));
        bytes
    };
    vec![file(8, &[3, 4, 4], 48), file(8, &[5], 5), file(0x0b, &[2, 3], 12), file(0x0e, &[4], 32)]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_plain() {
    run("idx", &idx_files(), |bytes, _| idx::parse(&bytes[..], "f").is_ok());
}

#[test]
fn idx_gzip() {
    let seeds = idx_files();
    let packed: Vec<Vec<u8>> = seeds.iter().map(|bytes| gzip(bytes)).collect();
    run("gzip stream", &packed, |bytes, _| idx::parse(&bytes[..], "f").is_ok());
    run("gzip content", &seeds, |bytes, _| idx::parse(&gzip(&bytes)[..], "f").is_ok());
}

#[test]
fn cifar_10() {
    let seed: Vec<u8> = (0..2 * 3073).map(|i| if i % 3073 == 0 { 9 } else { i as u8 }).collect();
    run("cifar", &[seed], |bytes, _| cifar::parse(&bytes, "f").is_ok());
}

#[test]
fn csv() {
    let plain = "id,city,rooms,price\n1,Paris,3,10.5\n2,Bern,2,7\n3,Paris,1,20\n";
    let quoted = "\u{feff}a,\"b \"\"x\"\"\",c,d\r\n1,\"two\nlines\",?,1e3\r\n\r\n,NA,-2.5,\u{e9}\r\n";
    let table = Csv::from_bytes(plain).categorical(["city"]).value_target("price").read().unwrap();
    run("csv", &[plain.into(), quoted.into()], |bytes, rng| {
        let csv = Csv::from_bytes(bytes);
        let read = match rng.below(5) {
            0 => csv.class_target(3).categorical([1]).allow_missing().read(),
            1 => csv.no_header().class_target(0).categorical([1, 2, 3]).read(),
            2 => csv.value_target("price").features(["rooms", "id"]).read(),
            3 => csv.delimiter(b';').no_header().class_target(1).categorical([0]).read(),
            _ => csv.like(&table).read(),
        };
        read.and_then(|table| use_table(&table)).is_ok()
    });
}

fn use_table(table: &Table) -> glassbox_core::Result<()> {
    use glassbox_core::Dataset;
    use glassbox_data::{Fill, Imputer, Standardizer};
    let rows: Vec<usize> = (0..table.num_rows()).collect();
    let table =
        Imputer::fit(table, &rows, Fill::Median)?.apply(table.one_hot()?.clone()).or_else(|_| table.one_hot())?;
    let table = Standardizer::fit(&table, &rows)?.apply(table)?;
    table.get(0, &mut Seed(1).rng()).map(drop)
}

#[test]
fn series() {
    use glassbox_data::series::{FillMissing, SeriesCsv, SeriesWindows};
    let hours = "date,a,b\n2016-07-01 00:00:00,1,2\n2016-07-01 01:00:00,,4\n2016-07-01 02:00:00,5,6\n";
    let months = "when;x\r\n2024-01;1.5\r\n2024-02;NA\r\n2024-03;2\r\n2024-04;1e3\r\n";
    let zones = "t,x\n2024-01-01T00:00:00+01:00,1\n2024-01-01T00:00:00Z,2\n2024-01-01T03:00:00+02:00,3\n";
    run("series", &[hours.into(), months.into(), zones.into()], |bytes, rng| {
        let csv = SeriesCsv::from_bytes(bytes);
        let csv = if rng.bernoulli(0.3) { csv.delimiter(b';') } else { csv };
        let fill = [FillMissing::Previous, FillMissing::Linear, FillMissing::Constant(0.0)][rng.below(3)];
        let read = csv.fill(fill).read().and_then(|series| {
            series.time(rng.below(1 << 40));
            let split = series.split_counts(1, 1, 1)?;
            let scaler = glassbox_data::Standardizer::fit_series(&series, split.train)?;
            SeriesWindows::new(&scaler.apply_to_series(series)?, split.test, rng.below(4), rng.below(3))
        });
        read.is_ok()
    });
}

#[test]
fn vocabularies() {
    use glassbox_data::text::{CharVocab, Tokenizer, WordVocab, read_text};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.json");
    let chars = r#"{"characters": "\n abc\u00e9"}"#;
    let words = r#"{"words": ["<pad>", "<unk>", "<bos>", "<eos>", "a", "b"]}"#;
    // Few of them by way of a file: a hundred thousand take a minute.
    let mut case = 0;
    run("vocabularies", &[chars.into(), words.into()], |bytes, rng| {
        case += 1;
        if case % 50 == 0 {
            std::fs::write(&path, &bytes).unwrap();
            let loaded = (CharVocab::load(&path).is_ok(), WordVocab::load(&path).is_ok(), read_text(&path).is_ok());
            assert!(!(loaded.0 && loaded.1) && (loaded.2 || !loaded.0 && !loaded.1));
        }
        let Ok(text) = String::from_utf8(bytes) else { return false };
        let chars = CharVocab::from_text(&text).and_then(|vocab| vocab.decode(&vocab.encode(&text)?));
        let words =
            WordVocab::build([&text], rng.below(3)).and_then(|vocab| vocab.decode(&vocab.encode_with_ends(&text)?));
        assert_eq!(chars.ok().as_ref(), Some(&text).filter(|text| !text.is_empty()));
        words.is_ok()
    });
}

fn pictures(format: ImageFormat) -> Vec<Vec<u8>> {
    let color = DynamicImage::ImageRgb8(RgbImage::from_fn(4, 4, |x, y| image::Rgb([x as u8 * 60, y as u8 * 50, 7])));
    let encode = |image: DynamicImage| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let extension = if format == ImageFormat::Png { "png" } else { "jpg" };
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images")).unwrap();
    let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    seeds.extend([encode(color.to_luma8().into()), encode(color)]);
    seeds
}

fn decodes(bytes: &[u8], rng: &mut Rng) -> bool {
    let color = if rng.bernoulli(0.5) { ColorMode::Rgb } else { ColorMode::Grey };
    decode_image(bytes, color, (3, 4), "f").is_ok()
}

/// Sets every chunk's checksum right, so that its content is looked at.
fn fix_checksums(png: &mut [u8]) {
    let mut at = 8;
    while let Some(Ok(length)) = png.get(at..at + 4).map(<[u8; 4]>::try_from) {
        let end = (u32::from_be_bytes(length) as usize).saturating_add(at + 8);
        let Some(chunk) = png.get(at + 4..end) else { return };
        let mut checksum = flate2::Crc::new();
        checksum.update(chunk);
        overwrite(png, end, &checksum.sum().to_be_bytes());
        at = end + 4;
    }
}

#[test]
fn png() {
    run("png", &pictures(ImageFormat::Png), |mut bytes, rng| {
        if rng.bernoulli(0.8) {
            fix_checksums(&mut bytes);
        }
        decodes(&bytes, rng)
    });
}

#[test]
fn jpeg() {
    run("jpeg", &pictures(ImageFormat::Jpeg), |bytes, rng| decodes(&bytes, rng));
}

fn sounds() -> Vec<Vec<u8>> {
    let channel = |step: f32| (0..40).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
    let mono = Waveform::new(vec![channel(0.3)], 8000).unwrap();
    let stereo = Waveform::new(vec![channel(0.1), channel(0.7)], 44_100).unwrap();
    let encode = |sound: &Waveform, format| encode_wav(sound, format).unwrap();
    let mut extensible = encode(&stereo, SampleFormat::Pcm16);
    overwrite(&mut extensible, 16, &[40, 0, 0, 0, 0xfe, 0xff]);
    let more = b"\x16\0\x10\0\x03\0\0\0\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71";
    extensible.splice(36..36, more.iter().copied());
    vec![
        encode(&mono, SampleFormat::Pcm8),
        encode(&stereo, SampleFormat::Pcm24),
        encode(&mono, SampleFormat::Float32),
        extensible,
    ]
}

#[test]
fn wav() {
    assert!(sounds().iter().all(|bytes| parse_wav(bytes, "f").is_ok()));
    for bytes in sounds() {
        assert!((0..bytes.len()).all(|length| parse_wav(&bytes[..length], "f").is_err()));
        for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            parse_wav(&flipped, "f").ok();
        }
    }
    run("wav", &sounds(), |bytes, _| {
        let sound = parse_wav(&bytes, "f");
        // The rate may be anything by now.
        sound.and_then(|sound| sound.mono().resampled(8000)?.tensor()).is_ok()
    });
}
