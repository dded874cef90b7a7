use super::*;
use glassbox_core::{Dataset, Seed};

fn file(code: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, dims.len() as u8];
    dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn problem(bytes: &[u8]) -> String {
    parse(bytes, "f").unwrap_err().to_string()
}

#[cfg(feature = "gzip")]
fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_type_is_read_big_endian() {
    let read = |code, dims: &[u32], data: &[u8]| parse(&file(code, dims, data)[..], "f").unwrap();
    let idx = read(0x08, &[2, 3], &[1, 2, 3, 4, 5, 255]);
    assert_eq!((idx.dims, idx.data), (vec![2, 3], IdxData::U8(vec![1, 2, 3, 4, 5, 255])));
    assert_eq!(read(0x09, &[2], &[255, 2]).data, IdxData::I8(vec![-1, 2]));
    assert_eq!(read(0x0b, &[2], &[1, 2, 255, 254]).data, IdxData::I16(vec![258, -2]));
    assert_eq!(read(0x0c, &[1], &[0, 0, 1, 0]).data, IdxData::I32(vec![256]));
    assert_eq!(read(0x0d, &[1], &1.5f32.to_be_bytes()).data, IdxData::F32(vec![1.5]));
    assert_eq!(read(0x0e, &[1], &(-2.25f64).to_be_bytes()).data, IdxData::F64(vec![-2.25]));
    assert_eq!(read(0x08, &[], &[7]).data, IdxData::U8(vec![7]));
    assert_eq!(read(0x08, &[0, 3], &[]).data, IdxData::U8(vec![]));
}

#[test]
fn broken_files_say_what_is_wrong() {
    assert_eq!(problem(&[]), "f: file ends inside its header");
    assert_eq!(problem(&[0, 0, 8, 1, 0]), "f: file ends inside its header");
    assert!(problem(b"PK\x03\x04 zip").contains("starts with 50 4b 03 04"));
    assert!(problem(&file(0x0a, &[1], &[0])).contains("type code 0a"));
    assert_eq!(problem(&file(8, &[60_000, 2, 2], &[0; 9])), "f: file ends at image 2 of 60000");
    assert_eq!(problem(&file(8, &[5], &[0; 4])), "f: file ends at item 4 of 5");
    assert_eq!(problem(&file(8, &[2], &[0; 3])), "f: goes on after the 2 bytes that [2] takes");
    assert!(problem(&file(8, &[u32::MAX; 3], &[0; 3])).contains("more than can be addressed"));
    // 16 TiB, which the product still fits: told from the bytes that are there, without room made for them.
    assert!(problem(&file(8, &[1 << 22, 1 << 22], &[0; 3])).contains("ends at item 0 of 4194304"));
}

#[cfg(feature = "gzip")]
#[test]
fn gzip_is_told_by_its_first_bytes() {
    let plain = file(8, &[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
    let packed = gzip(&plain);
    assert_eq!(parse(&packed[..], "f").unwrap(), parse(&plain[..], "f").unwrap());
    // Half of the values, then the end of the compressed stream.
    assert_eq!(problem(&gzip(&plain[..plain.len() - 4])), "f: file ends at image 1 of 2");
    // All values, but not the whole checksum.
    assert_eq!(problem(&packed[..packed.len() - 1]), "f: unexpected end of file");
    assert!(problem(&packed[..packed.len() - 12]).starts_with("f: file ends at image"));
    let mut wrong_checksum = packed.clone();
    let at = wrong_checksum.len() - 8;
    wrong_checksum[at] ^= 1;
    assert!(problem(&wrong_checksum).contains("corrupt"), "{}", problem(&wrong_checksum));
}

#[cfg(feature = "gzip")]
#[test]
fn a_bomb_is_read_no_further_than_it_declares() {
    // 64 MiB of zeros after a header that declares four bytes: refused after the fifth.
    let mut bytes = file(8, &[4], &[]);
    bytes.resize(64 << 20, 0);
    assert!(problem(&gzip(&bytes)).contains("goes on after the 4 bytes"));
}

#[cfg(not(feature = "gzip"))]
#[test]
fn gzip_without_the_feature_says_so() {
    assert!(problem(&[0x1f, 0x8b, 8, 0]).contains("feature `gzip`"));
}

fn write_mnist(dir: &Path, labels: &[u8]) {
    for name in ["train", "t10k"] {
        std::fs::write(dir.join(format!("{name}-images.idx3-ubyte")), file(8, &[2, 1, 2], &[0, 255, 51, 0])).unwrap();
        std::fs::write(dir.join(format!("{name}-labels-idx1-ubyte")), file(8, &[labels.len() as u32], labels)).unwrap();
    }
}

#[test]
fn a_folder_in_either_spelling() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        mnist(dir.path())
            .unwrap_err()
            .to_string()
            .contains("no file train-images-idx3-ubyte or train-images.idx3-ubyte")
    );
    write_mnist(dir.path(), &[9, 3]);
    let (train, test) = mnist(dir.path()).unwrap();
    assert_eq!((train.len(), test.labels(), train.class_names().len()), (2, &[9, 3][..], 10));
    let sample = train.get(1, &mut Seed(1).rng()).unwrap();
    assert_eq!(sample.input.dims(), [1, 1, 2]);
    assert_eq!(sample.input.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.2, 0.0]);
}

#[test]
fn images_and_labels_must_fit_each_other() {
    let dir = tempfile::tempdir().unwrap();
    write_mnist(dir.path(), &[9, 10]);
    let error = mnist(dir.path()).unwrap_err().to_string();
    assert!(error.contains("train-labels-idx1-ubyte: label 10 of item 1 is not below 10"), "{error}");
    write_mnist(dir.path(), &[9, 1, 2]);
    assert!(mnist(dir.path()).unwrap_err().to_string().ends_with("3 labels for 2 images"));
    let swapped =
        images_and_labels(dir.path().join("train-labels-idx1-ubyte"), dir.path().join("train-images.idx3-ubyte"), 10);
    assert!(swapped.unwrap_err().to_string().contains("expected unsigned bytes (count, height, width), got [3]"));
    std::fs::write(dir.path().join("empty"), file(8, &[0, 2, 2], &[])).unwrap();
    std::fs::write(dir.path().join("none"), file(8, &[0], &[])).unwrap();
    let empty = images_and_labels(dir.path().join("empty"), dir.path().join("none"), 10).unwrap_err().to_string();
    assert!(empty.ends_with("images: expected at least one, got none"), "{empty}");
}
