//! Checkpoints: everything that a run needs to go on to the same bits, in one file.
//!
//! A checkpoint is a safetensors file: parameters under `ROLE/NAME`, the rest of the state under `state/NAME`, and in its
//! header a JSON text of the plain values with a checksum over them and every tensor. The trainer writes and reads them;
//! a loop of one's own can do the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use glassbox_kernels::reduce::find;
use safetensors::View;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, ParamStore, Result, State, tensors};

/// Which checkpoints are kept: the newest three unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// How many of the newest.
    pub last: usize,
    /// Whether this one is the best so far, to be kept as `best.safetensors` as well.
    pub is_best: bool,
}

#[derive(Serialize, Deserialize)]
struct Header {
    checksum: u32,
    values: BTreeMap<String, Value>,
}

impl Default for Keep {
    fn default() -> Self {
        Self { last: 3, is_best: false }
    }
}

/// Parameters by role: one store called `model`, or several such as `generator` and `critic`.
pub type Roles = [(&'static str, ParamStore)];

/// Writes the checkpoint of `step` into `folder`, atomically, and removes those that `keep` does not cover.
///
/// # Errors
/// A parameter that is not finite; the file cannot be written.
pub fn write(folder: &Path, step: u64, params: &Roles, state: &State, keep: Keep) -> Result<PathBuf> {
    expect_finite(params, step, folder)?;
    let mut all: BTreeMap<String, Tensor> = BTreeMap::new();
    for (role, store) in params {
        all.extend(store.tensors().into_iter().map(|(name, t)| (format!("{role}/{name}"), t)));
    }
    all.extend(state.tensors.iter().map(|(name, t)| (format!("state/{name}"), t.clone())));
    let checksum = checksum(&all, &state.values)?;
    let header = Header { checksum, values: state.values.clone() };
    let header = serde_json::to_string(&header).map_err(|e| Error::invalid("checkpoint", "plain values", e))?;
    let path = folder.join(format!("step-{step:09}.safetensors"));
    tensors::save(&path, &all, Some(&header))?;
    if keep.is_best {
        tensors::save(&folder.join("best.safetensors"), &all, Some(&header))?;
    }
    let older = list(folder)?;
    for old in older.iter().rev().skip(keep.last.max(1)) {
        std::fs::remove_file(old).map_err(|e| Error::io(old, e))?;
    }
    Ok(path)
}

/// Loads the newest checkpoint that is whole into `params` and gives its state; none where the folder has none. Each
/// broken one is named to `warn`.
///
/// # Errors
/// The folder cannot be read, none of its checkpoints is whole, or the newest whole one is of another model.
pub fn read_newest(folder: &Path, params: &Roles, mut warn: impl FnMut(String)) -> Result<Option<State>> {
    let files = list(folder)?;
    for path in files.iter().rev() {
        match read(path) {
            Ok((tensors, state)) => {
                assign(path, tensors, params)?;
                return Ok(Some(state));
            }
            Err(e) => warn(format!("checkpoint skipped: {e}")),
        }
    }
    match files.len() {
        0 => Ok(None),
        n => Err(Error::format(folder.display(), format!("none of the {n} checkpoints is whole"))),
    }
}

/// Loads the mean of `files`, checkpoints of one model, into `params`: translation models gain from that of their last few
/// (Vaswani et al. 2017, section 6.1). [`list`] names a folder's. What is not of a float type, such as a counter, comes
/// from the last file.
///
/// # Errors
/// No files; one cannot be read, is broken, or is of another model. `params` then keep their values.
pub fn average_checkpoints(files: &[PathBuf], params: &Roles) -> Result<()> {
    let Some((last, others)) = files.split_last() else {
        return Err(Error::invalid("checkpoints to average", "at least one", "none"));
    };
    let (last_tensors, _) = read(last)?;
    let mut mean =
        last_tensors.iter().map(|(name, t)| Ok((name.clone(), wide(t)?))).collect::<Result<BTreeMap<_, _>>>()?;
    for (path, weight) in others.iter().zip(2..) {
        let (tensors, _) = read(path)?;
        for (name, mean) in &mut mean {
            let fits = tensors.get(name).filter(|t| t.dims() == mean.dims() && tensors.len() == last_tensors.len());
            let tensor = fits.ok_or_else(|| {
                let problem = format!("not of the same model as {}: no `{name}` like its one", last.display());
                Error::format(path.display(), problem)
            })?;
            if tensor.dtype().is_float() {
                *mean = (&*mean + ((wide(tensor)? - &*mean)? / f64::from(weight))?)?;
            }
        }
    }
    assign(last, mean, params)
}

/// In a type whose rounding does not show in a mean.
fn wide(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 => Ok(tensor.to_dtype(DType::F32)?),
        _ => Ok(tensor.clone()),
    }
}

/// The newest checkpoint.
pub(super) fn newest(folder: &Path) -> Option<PathBuf> {
    list(folder).ok()?.pop()
}

/// Removes the checkpoints of an earlier run.
pub(super) fn clear(folder: &Path) -> Result<()> {
    let best = folder.join("best.safetensors");
    let mut files = list(folder)?;
    files.extend(best.exists().then_some(best));
    files.iter().try_for_each(|path| std::fs::remove_file(path).map_err(|e| Error::io(path, e)))
}

/// The checkpoints of a folder by step, the oldest first, without `best.safetensors`.
///
/// # Errors
/// The folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut found = vec![];
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let step = name.strip_prefix("step-").and_then(|n| n.strip_suffix(".safetensors"));
        if let Some(step) = step.and_then(|s| s.parse::<u64>().ok()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn read(path: &Path) -> Result<(BTreeMap<String, Tensor>, State)> {
    let (all, header) = tensors::load(path)?;
    let header = header.ok_or_else(|| Error::format(path.display(), "not a checkpoint: its header has no state"))?;
    let header: Header =
        serde_json::from_str(&header).map_err(|e| Error::format(path.display(), format!("broken header: {e}")))?;
    if checksum(&all, &header.values)? != header.checksum {
        return Err(Error::format(path.display(), "broken: its checksum does not match its content"));
    }
    let (state, params): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| name.starts_with("state/"));
    let state = state.into_iter().map(|(name, t)| (name["state/".len()..].to_string(), t)).collect();
    Ok((params.into_iter().collect(), State { tensors: state, values: header.values }))
}

fn assign(path: &Path, tensors: BTreeMap<String, Tensor>, params: &Roles) -> Result<()> {
    let source = path.display().to_string();
    let mut rest = tensors;
    for (role, store) in params {
        let prefix = format!("{role}/");
        let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            rest.into_iter().partition(|(k, _)| k.starts_with(&prefix));
        let own = own.into_iter().map(|(name, t)| (name[prefix.len()..].to_string(), t)).collect();
        store.load_tensors(&source, &own)?;
        rest = others;
    }
    match rest.keys().next() {
        None => Ok(()),
        Some(stranger) => Err(Error::format(source, format!("of another model: `{stranger}` has no place here"))),
    }
}

/// A checkpoint of NaN would be of no use, and would push out the good ones.
fn expect_finite(params: &Roles, step: u64, folder: &Path) -> Result<()> {
    for (role, store) in params {
        for param in store.all().iter().filter(|p| p.dtype().is_float()) {
            if let Some(value) = find(&param.value(), |x| !x.is_finite())? {
                let what = format!("parameter `{}` of the {role}", param.name());
                return Err(Error::NonFinite { what, value, step, last_good: newest(folder) });
            }
        }
    }
    Ok(())
}

fn checksum(tensors: &BTreeMap<String, Tensor>, values: &BTreeMap<String, Value>) -> Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    for (name, tensor) in tensors {
        hasher.update(format!("{name} {:?} {:?}", tensor.dtype(), tensor.dims()).as_bytes());
        hasher.update(&tensor.contiguous()?.data());
    }
    let text = serde_json::to_vec(values).map_err(|e| Error::invalid("checkpoint", "plain values", e))?;
    hasher.update(&text);
    Ok(hasher.finalize())
}
