//! The binary version of CIFAR-10: records of a class and 32x32 colour pixels.
//!
//! Reference: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).

use std::path::Path;

use glassbox_core::{Error, Result};

use crate::ImageDataset;
use crate::source::{open, read_at_most};

const SHAPE: (usize, usize, usize) = (3, 32, 32);
const RECORD: usize = 1 + 3 * 32 * 32;
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The training part (`data_batch_1.bin` to `data_batch_5.bin`) and the test part (`test_batch.bin`) of CIFAR-10, from
/// the folder that holds those files or from the one that holds `cifar-10-batches-bin`.
///
/// # Errors
/// A file cannot be read, is empty, is not a whole number of records, or holds a label above 9.
pub fn cifar10(dir: impl AsRef<Path>) -> Result<(ImageDataset, ImageDataset)> {
    let inner = dir.as_ref().join("cifar-10-batches-bin");
    let dir = if inner.is_dir() { &inner } else { dir.as_ref() };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for batch in 1..=5 {
        read_batch(&dir.join(format!("data_batch_{batch}.bin")), &mut pixels, &mut labels)?;
    }
    let train = dataset(pixels, labels)?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    read_batch(&dir.join("test_batch.bin"), &mut pixels, &mut labels)?;
    Ok((train, dataset(pixels, labels)?))
}

/// The records in `bytes`, which are one batch file; `place` is its name in errors.
///
/// # Errors
/// There is no record, the bytes are not a whole number of records, or a label is above 9.
pub fn parse(bytes: &[u8], place: &str) -> Result<ImageDataset> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    append(bytes, place, &mut pixels, &mut labels)?;
    dataset(pixels, labels)
}

fn read_batch(path: &Path, pixels: &mut Vec<u8>, labels: &mut Vec<u32>) -> Result<()> {
    let place = path.display().to_string();
    let bytes = read_at_most(&mut open(path)?, u64::MAX, &place)?;
    append(&bytes, &place, pixels, labels)
}

fn append(bytes: &[u8], place: &str, pixels: &mut Vec<u8>, labels: &mut Vec<u32>) -> Result<()> {
    let records = bytes.chunks_exact(RECORD);
    if bytes.is_empty() || !records.remainder().is_empty() {
        let problem = format!("{} bytes are not a whole number of records of {RECORD} bytes", bytes.len());
        return Err(Error::format(place, problem));
    }
    for (i, record) in records.enumerate() {
        match record.split_first() {
            Some((&label, image)) if usize::from(label) < CLASSES.len() => {
                labels.push(u32::from(label));
                pixels.extend_from_slice(image);
            }
            _ => return Err(Error::format(place, format!("label {} of record {i} is above 9", record[0]))),
        }
    }
    Ok(())
}

fn dataset(pixels: Vec<u8>, labels: Vec<u32>) -> Result<ImageDataset> {
    ImageDataset::new(pixels, SHAPE, labels, CLASSES.map(String::from).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassbox_core::{Dataset, Seed};

    fn record(label: u8, red: u8, blue: u8) -> Vec<u8> {
        let mut bytes = vec![label];
        bytes.extend([red; 1024]);
        bytes.extend([0; 1024]);
        bytes.extend([blue; 1024]);
        bytes
    }

    #[test]
    fn a_folder_of_batches() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&inner).unwrap();
        for batch in 1..=5 {
            std::fs::write(inner.join(format!("data_batch_{batch}.bin")), record(batch, 255, batch)).unwrap();
        }
        let missing = cifar10(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("test_batch.bin"), "{missing}");
        std::fs::write(inner.join("test_batch.bin"), [record(0, 1, 2), record(9, 3, 4)].concat()).unwrap();
        let (train, test) = cifar10(dir.path()).unwrap();
        assert_eq!((train.labels(), test.labels()), (&[1, 2, 3, 4, 5][..], &[0, 9][..]));
        assert_eq!(test.class_names()[9], "truck");
        let sample = train.get(2, &mut Seed(1).rng()).unwrap();
        assert_eq!(sample.input.dims(), [3, 32, 32]);
        let channels = sample.input.mean((1, 2)).unwrap().to_vec1::<f32>().unwrap();
        // The mean of 1,024 equal values, in f32.
        assert!((channels[0] - 1.0).abs() < 1e-6 && channels[1] == 0.0 && (channels[2] - 3.0 / 255.0).abs() < 1e-6);
        assert_eq!(cifar10(&inner).unwrap().0.len(), 5);
    }

    #[test]
    fn bad_bytes_are_errors_that_say_where() {
        let error = |bytes: &[u8]| parse(bytes, "batch").unwrap_err().to_string();
        let bad_label = [record(3, 0, 0), record(10, 0, 0)].concat();
        assert_eq!(error(&bad_label), "batch: label 10 of record 1 is above 9");
        let short = "batch: 3072 bytes are not a whole number of records of 3073 bytes";
        assert_eq!(error(&record(3, 0, 0)[1..]), short);
        assert!(error(&[]).contains("0 bytes"));
    }
}
