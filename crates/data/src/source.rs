//! Opening files, and reading no more of them than is there.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
#[cfg(any(feature = "audio", feature = "images"))]
use std::path::PathBuf;

use glassbox_core::{Error, Result};

pub(crate) fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|e| Error::io(path, e))
}

/// A failed read at `place`: broken content (a corrupt compressed stream) is told from a failing disk.
pub(crate) fn read_error(place: &str, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
            Error::format(place, error.to_string())
        }
        _ => Error::io(place, error),
    }
}

/// At most `limit` bytes, fewer where the content ends or a compressed stream is cut off. Memory grows with what
/// arrives, so a declared length costs nothing until its bytes are there.
pub(crate) fn read_at_most(reader: &mut dyn Read, limit: u64, place: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match reader.take(limit).read_to_end(&mut bytes) {
        Err(e) if e.kind() != ErrorKind::UnexpectedEof => Err(read_error(place, e)),
        _ => Ok(bytes),
    }
}

/// Whether nothing follows. A compressed stream checks its checksum here.
pub(crate) fn is_at_end(reader: &mut dyn Read, place: &str) -> Result<bool> {
    let mut rest = Vec::new();
    reader.take(1).read_to_end(&mut rest).map_err(|e| read_error(place, e))?;
    Ok(rest.is_empty())
}

/// `reader`'s content, decompressed where it starts as gzip does.
pub(crate) fn decompressed<'a>(mut reader: impl BufRead + 'a, place: &str) -> Result<Box<dyn Read + 'a>> {
    let start = reader.fill_buf().map_err(|e| read_error(place, e))?;
    if start.starts_with(&[0x1f, 0x8b]) { gunzip(reader, place) } else { Ok(Box::new(reader)) }
}

#[cfg(feature = "gzip")]
fn gunzip<'a>(reader: impl BufRead + 'a, _place: &str) -> Result<Box<dyn Read + 'a>> {
    Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
}

#[cfg(not(feature = "gzip"))]
fn gunzip<'a>(_reader: impl BufRead + 'a, place: &str) -> Result<Box<dyn Read + 'a>> {
    Err(Error::format(place, "compressed with gzip, which needs the feature `gzip` of glassbox-data"))
}

/// What is in a folder, sorted by name, without what is hidden.
#[cfg(any(feature = "audio", feature = "images"))]
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(dir, e))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
