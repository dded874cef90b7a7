//! Named tensors in safetensors files, written atomically and checked when read.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use crate::{Error, Result};

/// The key of our text in a file's header. There is one only: the format's writer takes a hash map, whose order would
/// change from run to run.
const HEADER_KEY: &str = "glassbox";

/// Writes `tensors` as a safetensors file, with `header` as a text in its header. Atomic: see [`write_atomic`].
pub(crate) fn save(path: &Path, tensors: &BTreeMap<String, Tensor>, header: Option<&str>) -> Result<()> {
    let contiguous = tensors.iter().map(|(name, t)| Ok((name, t.contiguous()?))).collect::<Result<BTreeMap<_, _>>>()?;
    let header = header.map(|text| HashMap::from([(HEADER_KEY.to_string(), text.to_string())]));
    let bytes = safetensors::serialize(contiguous.iter().map(|(name, t)| (name.as_str(), t)), header)
        .map_err(|e| Error::format(path.display(), format!("cannot be written as safetensors: {e}")))?;
    write_atomic(path, &bytes)
}

/// Named tensors, and the text in the header of their file.
pub(crate) type Loaded = (BTreeMap<String, Tensor>, Option<String>);

/// Reads a safetensors file: its tensors on the CPU, and the text that [`save`] put in its header.
pub(crate) fn load(path: &Path) -> Result<Loaded> {
    parse(path, &std::fs::read(path).map_err(|e| Error::io(path, e))?)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Loaded> {
    let broken =
        |e: &dyn std::fmt::Display| Error::format(path.display(), format!("not a whole safetensors file: {e}"));
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| broken(&e))?;
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu).map_err(|e| broken(&e))?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(HEADER_KEY).cloned());
    Ok((tensors.into_iter().collect(), header))
}

/// Writes a file so that at any moment either the old content or the whole new one is there: a temporary file beside it,
/// synchronised to the disk, then renamed.
///
/// # Errors
/// The system refuses one of these; the temporary file is then removed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_beside(path);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path)).and_then(|()| sync_folder(path));
    renamed.map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        Error::io(path, e)
    })
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// The rename itself lasts only once the folder is synchronised; only Unix can open a folder for that.
#[cfg(unix)]
fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    /// Bytes flipped, replaced, cut off, repeated: whatever comes is an error or tensors, never a panic. A tensor is a
    /// slice of the file, so nothing larger than the file is allocated.
    #[test]
    fn a_hundred_thousand_mutated_files() {
        let tensors: BTreeMap<String, Tensor> = [
            ("a.weight".to_string(), Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap()),
            ("count".to_string(), Tensor::new(&[7i64], &Device::Cpu).unwrap()),
        ]
        .into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        save(&path, &tensors, Some("{}")).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(parse(&path, &whole).unwrap().0.len(), 2);
        let mut rng = Seed(1).rng();
        let mut errors = 0;
        for _ in 0..100_000 {
            let mut bytes = whole.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len());
                match rng.below(5) {
                    0 => bytes[at] ^= 1 << rng.below(8),
                    1 => bytes[at] = rng.below(256) as u8,
                    2 => bytes[at] = b"0123456789\"{}[],:FI"[rng.below(19)],
                    3 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, b'9'),
                }
            }
            match parse(&path, &bytes) {
                Ok((tensors, _)) => assert!(tensors.values().all(|t| t.elem_count() <= whole.len())),
                Err(_) => errors += 1,
            }
        }
        assert!(errors > 10_000, "only {errors} mutations were noticed");
    }
}
