//! IDX, the format of MNIST and its relatives: a type, dimensions, then values in big-endian order.
//!
//! Reference: LeCun, Cortes & Burges, "The MNIST database of handwritten digits" (1998).

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use glassbox_core::{Error, Result};

use crate::ImageDataset;
use crate::source::{decompressed, is_at_end, open, read_at_most, read_error};

/// An array as an IDX file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Idx {
    /// The dimensions, outermost first.
    pub dims: Vec<usize>,
    /// The values in row-major order, as many as the dimensions' product.
    pub data: IdxData,
}

/// The values of an IDX file, in its own type.
#[derive(Clone, Debug, PartialEq)]
pub enum IdxData {
    /// Type code 08.
    U8(Vec<u8>),
    /// Type code 09.
    I8(Vec<i8>),
    /// Type code 0B.
    I16(Vec<i16>),
    /// Type code 0C.
    I32(Vec<i32>),
    /// Type code 0D.
    F32(Vec<f32>),
    /// Type code 0E.
    F64(Vec<f64>),
}

/// Reads an IDX file, compressed with gzip or not.
///
/// # Errors
/// The file cannot be read, is not IDX, ends early or goes on after its last value, or is a damaged gzip stream.
pub fn read(path: impl AsRef<Path>) -> Result<Idx> {
    let path = path.as_ref();
    parse(open(path)?, &path.display().to_string())
}

/// Reads IDX, compressed with gzip or not, from `reader`; `place` is its name in errors. Memory grows with the values
/// that arrive, never with a size that is only declared.
///
/// # Errors
/// As [`read`].
pub fn parse(reader: impl BufRead, place: &str) -> Result<Idx> {
    let mut reader = decompressed(reader, place)?;
    let (code, dims) = header(&mut *reader, place)?;
    let size = value_size(code).ok_or_else(|| {
        Error::format(place, format!("not an IDX file: type code {code:02x}, expected 08, 09 or 0b to 0e"))
    })?;
    let too_large = || Error::format(place, format!("declares {dims:?} values, more than can be addressed"));
    let total = dims.iter().try_fold(size, |bytes, &n| bytes.checked_mul(n)).ok_or_else(too_large)?;
    let bytes = read_at_most(&mut *reader, total as u64, place)?;
    if bytes.len() < total {
        return Err(Error::format(place, ends_at(&dims, bytes.len(), total)));
    }
    if !is_at_end(&mut *reader, place)? {
        return Err(Error::format(place, format!("goes on after the {total} bytes that {dims:?} takes")));
    }
    Ok(Idx { data: values(code, bytes), dims })
}

fn header(reader: &mut dyn Read, place: &str) -> Result<(u8, Vec<usize>)> {
    let magic = read_at_most(reader, 4, place)?;
    let (code, rank) = match magic[..] {
        [0, 0, code, rank] => (code, rank),
        [..] if magic.len() < 4 => return Err(Error::format(place, "file ends inside its header")),
        _ => {
            let got: Vec<String> = magic.iter().map(|b| format!("{b:02x}")).collect();
            let problem = format!("not an IDX file: starts with {}, expected 00 00, a type and a rank", got.join(" "));
            return Err(Error::format(place, problem));
        }
    };
    let mut dims = Vec::new();
    for _ in 0..rank {
        let mut word = [0; 4];
        reader.read_exact(&mut word).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::format(place, "file ends inside its header"),
            _ => read_error(place, e),
        })?;
        let dim = usize::try_from(u32::from_be_bytes(word));
        dims.push(dim.map_err(|_| Error::format(place, "a dimension is larger than can be addressed"))?);
    }
    Ok((code, dims))
}

fn value_size(code: u8) -> Option<usize> {
    match code {
        0x08 | 0x09 => Some(1),
        0x0b => Some(2),
        0x0c | 0x0d => Some(4),
        0x0e => Some(8),
        _ => None,
    }
}

/// "file ends at image 812 of 60000".
fn ends_at(dims: &[usize], got: usize, total: usize) -> String {
    let count = dims.first().copied().unwrap_or(1).max(1);
    let name = if dims.len() == 3 { "image" } else { "item" };
    format!("file ends at {name} {} of {count}", got / (total / count).max(1))
}

fn values(code: u8, bytes: Vec<u8>) -> IdxData {
    match code {
        0x09 => IdxData::I8(convert(&bytes, i8::from_be_bytes)),
        0x0b => IdxData::I16(convert(&bytes, i16::from_be_bytes)),
        0x0c => IdxData::I32(convert(&bytes, i32::from_be_bytes)),
        0x0d => IdxData::F32(convert(&bytes, f32::from_be_bytes)),
        0x0e => IdxData::F64(convert(&bytes, f64::from_be_bytes)),
        _ => IdxData::U8(bytes),
    }
}

fn convert<const SIZE: usize, T>(bytes: &[u8], from: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.as_chunks::<SIZE>().0.iter().map(|&chunk| from(chunk)).collect()
}

/// Grey images and their classes, from two IDX files of unsigned bytes: images (count, height, width), labels (count).
/// Classes are called 0, 1, …, `num_classes` − 1.
///
/// # Errors
/// As [`read`]; the files are of another shape or type, differ in their count, or hold a label of `num_classes` or
/// more.
pub fn images_and_labels(
    images: impl AsRef<Path>,
    labels: impl AsRef<Path>,
    num_classes: usize,
) -> Result<ImageDataset> {
    let (images_path, labels_path) = (images.as_ref(), labels.as_ref());
    let (images, labels) = (read(images_path)?, read(labels_path)?);
    let place = images_path.display();
    let (&[count, height, width], IdxData::U8(pixels)) = (&images.dims[..], images.data) else {
        return Err(Error::format(
            place,
            format!("expected unsigned bytes (count, height, width), got {:?}", images.dims),
        ));
    };
    let place = labels_path.display();
    let (&[label_count], IdxData::U8(labels)) = (&labels.dims[..], labels.data) else {
        return Err(Error::format(place, format!("expected unsigned bytes (count), got {:?}", labels.dims)));
    };
    if count != label_count {
        return Err(Error::format(place, format!("{label_count} labels for {count} images")));
    }
    if let Some(i) = labels.iter().position(|&label| usize::from(label) >= num_classes) {
        return Err(Error::format(place, format!("label {} of item {i} is not below {num_classes}", labels[i])));
    }
    let class_names = (0..num_classes.min(256)).map(|class| class.to_string()).collect();
    ImageDataset::new(pixels, (1, height, width), labels.into_iter().map(u32::from).collect(), class_names)
        .map_err(|e| Error::format(images_path.display(), e.to_string()))
}

/// The training and the test part of MNIST, or of anything laid out as it is with ten classes (Fashion-MNIST, KMNIST),
/// from the folder of the four files `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-…`. Each may end in
/// `.gz`, and may be spelled `train-images.idx3-ubyte`.
///
/// # Errors
/// A file is missing, or as [`images_and_labels`].
pub fn mnist(dir: impl AsRef<Path>) -> Result<(ImageDataset, ImageDataset)> {
    let dir = dir.as_ref();
    let part = |name: &str| {
        let images = find(dir, &format!("{name}-images"), "idx3-ubyte")?;
        images_and_labels(images, find(dir, &format!("{name}-labels"), "idx1-ubyte")?, 10)
    };
    Ok((part("train")?, part("t10k")?))
}

fn find(dir: &Path, stem: &str, kind: &str) -> Result<PathBuf> {
    let names = ["-", "."].map(|dot| format!("{stem}{dot}{kind}"));
    let candidates = names.iter().flat_map(|name| [dir.join(name), dir.join(format!("{name}.gz"))]);
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::format(dir.display(), format!("no file {} or {}, with or without .gz", names[0], names[1]))
    })
}

#[cfg(test)]
mod tests;
