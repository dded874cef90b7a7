//! `model.safetensors`, whole or in shards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use glassbox_core::pattern::matches;
use glassbox_core::{Error, LoadReport, ParamStore, Result, write_atomic};
use serde::Deserialize;

/// The one file of a model's weights.
const WHOLE: &str = "model.safetensors";
/// Names the files of a model's weights where there are several.
const INDEX: &str = "model.safetensors.index.json";

/// How a model's parameters lie in its files. Patterns have `*` for any text.
#[derive(Default)]
pub(super) struct Layout {
    /// What the names start with in files of a whole model and not in those of its base.
    pub prefix: &'static str,
    /// Matrices that the files have transposed, as GPT-2's.
    pub transposed: &'static [&'static str],
    /// What files have and the model computes, does not need, or shares with another parameter.
    pub unused: &'static [&'static str],
    /// What files may leave out since it shares another one's values: (its name, the other's).
    pub shared: &'static [(&'static str, &'static str)],
    /// What a file of the base model lacks: a head, made anew where that is asked for.
    pub head: &'static [&'static str],
}

impl Layout {
    fn is_transposed(&self, name: &str) -> bool {
        self.transposed.iter().any(|pattern| matches(pattern, name))
    }

    /// The tensors of files as the parameters of `params` have them.
    fn arranged(&self, params: &ParamStore, tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        let mut arranged = BTreeMap::new();
        for (name, tensor) in tensors {
            let name = self.name_in(params, name);
            let is_unused = || self.unused.iter().any(|pattern| matches(pattern, &name));
            if params.get(&name).is_none() && is_unused() {
                continue;
            }
            let tensor = if self.is_transposed(&name) && tensor.rank() == 2 { tensor.t()? } else { tensor };
            arranged.insert(name, tensor);
        }
        for (name, other) in self.shared {
            if let (true, false, Some(tensor)) =
                (params.get(name).is_some(), arranged.contains_key(*name), arranged.get(*other))
            {
                let tensor = tensor.clone();
                arranged.insert((*name).to_string(), tensor);
            }
        }
        Ok(arranged)
    }

    /// With the prefix where the file lacks it, or without it where the model does; and with the names that normalisations
    /// have had since TensorFlow's `gamma` and `beta`.
    fn name_in(&self, params: &ParamStore, name: String) -> String {
        let name = match (name.strip_suffix("LayerNorm.gamma"), name.strip_suffix("LayerNorm.beta")) {
            (Some(place), _) => format!("{place}LayerNorm.weight"),
            (_, Some(place)) => format!("{place}LayerNorm.bias"),
            _ => name,
        };
        let with = format!("{}.{name}", self.prefix);
        let without = name.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix('.'));
        let is_unused = |name: &str| self.unused.iter().any(|pattern| matches(pattern, name));
        match without {
            _ if params.get(&name).is_some() => name,
            _ if params.get(&with).is_some() || is_unused(&with) && !is_unused(&name) => with,
            Some(without) if params.get(without).is_some() || is_unused(without) => without.to_string(),
            _ => name,
        }
    }
}

/// Loads the weights in `folder` into `params`. With `new_head`, parameters of the head may be missing; those keep their
/// first values.
pub(super) fn load(params: &ParamStore, layout: &Layout, folder: &Path, new_head: bool) -> Result<()> {
    let (source, tensors) = read(folder)?;
    let mut tensors = layout.arranged(params, tensors)?;
    if new_head {
        let is_head = |name: &str| layout.head.iter().any(|pattern| matches(pattern, name));
        for param in params.all().iter().filter(|p| is_head(p.name())) {
            // Another number of labels makes another head too.
            if tensors.get(param.name()).is_none_or(|t| t.dims() != param.shape().dims()) {
                tensors.insert(param.name().to_string(), param.value().copy()?);
            }
        }
        tensors.retain(|name, _| params.get(name).is_some() || !is_head(name));
    }
    params.load_tensors(&source, &tensors).map(|_: LoadReport| ())
}

/// Writes the weights into `folder`, as one file.
pub(super) fn save(params: &ParamStore, layout: &Layout, folder: &Path) -> Result<()> {
    let arrange = |(name, tensor): (String, Tensor)| {
        let tensor = if layout.is_transposed(&name) { tensor.t()?.contiguous()? } else { tensor.contiguous()? };
        Ok((name, tensor))
    };
    // What a low-rank change adds has a format of its own.
    let own = params.tensors().into_iter().filter(|(name, _)| !crate::lora::is_part(name));
    let tensors = own.map(arrange).collect::<Result<BTreeMap<_, _>>>()?;
    save_tensors(&folder.join(WHOLE), &tensors)
}

/// Writes a safetensors file that `transformers` and `peft` take for one of PyTorch's.
pub(crate) fn save_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let header = [("format".to_string(), "pt".to_string())].into();
    let bytes = safetensors::serialize(tensors.iter().map(|(name, t)| (name.as_str(), t)), Some(header))
        .map_err(|e| Error::format(path.display(), format!("cannot be written as safetensors: {e}")))?;
    write_atomic(path, &bytes)
}

/// Reads a safetensors file.
pub(crate) fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|e| Error::format(path.display(), format!("not a whole safetensors file: {e}")))?;
    Ok(tensors.into_iter().collect())
}

/// Every tensor of a folder, and what they were read from.
fn read(folder: &Path) -> Result<(String, BTreeMap<String, Tensor>)> {
    let (whole, index) = (folder.join(WHOLE), folder.join(INDEX));
    match (whole.is_file(), index.is_file()) {
        (true, _) => Ok((whole.display().to_string(), read_tensors(&whole)?)),
        (false, true) => Ok((index.display().to_string(), read_shards(folder, &index)?)),
        (false, false) => {
            Err(Error::format(folder.display(), format!("neither {WHOLE} nor {INDEX} is in this folder")))
        }
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn read_shards(folder: &Path, index: &Path) -> Result<BTreeMap<String, Tensor>> {
    let text = std::fs::read_to_string(index).map_err(|e| Error::io(index, e))?;
    let broken = |problem: String| Error::format(index.display(), problem);
    let names: Index = serde_json::from_str(&text).map_err(|e| broken(format!("not an index of shards: {e}")))?;
    let files: BTreeSet<&String> = names.weight_map.values().collect();
    // A name out of an index must not lead out of its folder.
    if let Some(file) = files.iter().find(|file| Path::new(file).file_name() != Some(file.as_ref())) {
        return Err(broken(format!("`{file}` is not the name of a file in this folder")));
    }
    let missing: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).filter(|path| !path.is_file()).collect();
    if !missing.is_empty() {
        let missing: Vec<String> = missing.iter().map(|path| path.display().to_string()).collect();
        return Err(broken(format!("missing shards: {}", missing.join(", "))));
    }
    let mut tensors = BTreeMap::new();
    for file in files {
        let mut shard = read_tensors(&folder.join(file))?;
        shard.retain(|name, _| names.weight_map.get(name) == Some(file));
        tensors.append(&mut shard);
    }
    match names.weight_map.iter().find(|(name, _)| !tensors.contains_key(*name)) {
        Some((name, file)) => Err(Error::format(folder.join(file).display(), format!("`{name}` is not in this shard"))),
        None => Ok(tensors),
    }
}
