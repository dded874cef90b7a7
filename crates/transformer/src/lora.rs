//! Fine-tuning by low-rank changes of linear layers, in PEFT's format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::Tensor;
use glassbox_core::{Dropout, Error, Init, LowRank, Param, ParamStore, Pass, Result, Seed, pattern, write_atomic};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::hub::weights::{read_tensors, save_tensors};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before every name.
const ROOT: &str = "base_model.model.";
const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";

/// Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685): the weights W of some linear layers stay as they are, and the
/// layers compute with W + alpha / rank · B A, of which only the thin matrices A and B are trained.
///
/// ```
/// use candle_core::Device;
/// use glassbox_core::{Linear, ParamStore, Seed};
/// use glassbox_transformer::Lora;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = Linear::new(64, 64, params.root().pp("attn.q_proj"))?;
/// let adapter = Lora::on("*.q_proj", 4).add_to(&params)?;
/// assert_eq!(params.num_trainable(), 4 * (64 + 64));
/// // … training of `params` …
/// adapter.merge()?;
/// # drop(layer);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// Which linear layers: patterns of their paths, such as `*.q_proj`, in which `*` stands for any text.
    pub targets: Vec<String>,
    /// Rows of A and columns of B, 1 or more.
    pub rank: usize,
    /// The change is multiplied by alpha / rank, so that another rank needs no other learning rate. Above 0.
    pub alpha: f64,
    /// Of the layers' input on its way through A, in [0, 1).
    pub dropout: f64,
    /// What the first A is drawn with; the first B is 0, and so is the first change.
    pub seed: Seed,
}

impl Lora {
    /// Of the linear layers whose paths match `target`, of rank `rank`; alpha is twice the rank.
    pub fn on(target: impl Into<String>, rank: usize) -> Self {
        Self { targets: vec![target.into()], rank, alpha: 2.0 * rank as f64, dropout: 0.0, seed: Seed(0) }
    }

    /// Freezes everything in `params` and adds A and B, called `PATH.lora_A.weight` and `PATH.lora_B.weight`, of each layer.
    /// Parameters made trainable again, such as a head's, are saved with the adapter.
    ///
    /// # Errors
    /// A number out of its range; a target that no linear layer matches; a layer that already has such a change. Nothing is
    /// changed then.
    pub fn add_to(&self, params: &ParamStore) -> Result<Adapter> {
        self.check()?;
        let layers = self.layers(params)?;
        params.freeze("*");
        let scale = self.alpha / self.rank as f64;
        for (path, weight) in &layers {
            let (outputs, inputs) = weight.value().dims2()?;
            let vb = params.root().pp(path);
            let a = vb.param("lora_A.weight", (self.rank, inputs), Init::Zeros)?;
            let mut rng = self.seed.child(path).rng();
            a.set(&Init::WEIGHT.tensor((self.rank, inputs), &mut rng, params.dtype(), params.device())?)?;
            let b = vb.param("lora_B.weight", (outputs, self.rank), Init::Zeros)?;
            weight.set_low_rank(Some(LowRank { a, b, scale, dropout: Dropout::new(self.dropout)? }))?;
        }
        Ok(Adapter { lora: self.clone(), layers, params: params.clone() })
    }

    fn check(&self) -> Result<()> {
        Dropout::new(self.dropout)?;
        if self.rank == 0 {
            return Err(Error::invalid("rank", "1 or more", 0));
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(Error::invalid("alpha", "a number above 0", self.alpha));
        }
        Ok(())
    }

    /// The layers' paths and weights.
    fn layers(&self, params: &ParamStore) -> Result<Vec<(String, Param)>> {
        let linear: Vec<(String, Param)> = linear_layers(params).collect();
        let unmatched = |target: &&String| !linear.iter().any(|(path, _)| pattern::matches(target, path));
        if let Some(target) = self.targets.iter().find(unmatched) {
            return Err(Error::invalid(
                "targets",
                "patterns of linear layers",
                format!("`{target}`, which none matches"),
            ));
        }
        let is_target = |path: &str| self.targets.iter().any(|target| pattern::matches(target, path));
        let layers: Vec<_> = linear.into_iter().filter(|(path, _)| is_target(path)).collect();
        expect_unchanged(&layers)?;
        Ok(layers)
    }
}

/// Whether a parameter called `name` is part of a low-rank change.
pub(crate) fn is_part(name: &str) -> bool {
    name.ends_with(A) || name.ends_with(B)
}

fn linear_layers(params: &ParamStore) -> impl Iterator<Item = (String, Param)> {
    let path = |param: Param| Some((param.name().strip_suffix(".weight")?.to_string(), param));
    params.all().into_iter().filter(Param::is_linear).filter_map(path)
}

fn expect_unchanged(layers: &[(String, Param)]) -> Result<()> {
    match layers.iter().find(|(_, weight)| weight.low_rank().is_some()) {
        Some((path, _)) => Err(Error::invalid(format!("`{path}`"), "a layer without a low-rank change", "one with")),
        None => Ok(()),
    }
}

/// The low-rank changes that a model has.
#[derive(Debug)]
pub struct Adapter {
    lora: Lora,
    layers: Vec<(String, Param)>,
    params: ParamStore,
}

impl Adapter {
    /// The paths of the layers that are changed.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|(path, _)| path.as_str())
    }

    /// Adds the changes to the weights: the model computes the same without them. Everything stays frozen that was.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn merge(self) -> Result<()> {
        for (_, weight) in &self.layers {
            if let Some(change) = weight.low_rank() {
                weight.set(&(weight.value() + change.change(&Pass::eval())?)?)?;
            }
        }
        self.remove()
    }

    /// Takes the changes away: the model is what it was.
    ///
    /// # Errors
    /// None that a model of these layers can cause.
    pub fn remove(self) -> Result<()> {
        for (path, weight) in &self.layers {
            weight.set_low_rank(None)?;
            self.params.remove(&format!("{path}{A}"));
            self.params.remove(&format!("{path}{B}"));
        }
        Ok(())
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors`, which `peft` reads, into `folder`: the changes, and
    /// whatever else of the model is trainable.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save_dir(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let parts = self.layers.iter().flat_map(|(path, _)| [format!("{path}{A}"), format!("{path}{B}")]);
        let parts: BTreeSet<String> = parts.collect();
        let trained: Vec<Param> = self.params.trainable().into_iter().filter(|p| !is_part(p.name())).collect();
        let changes = parts.iter().filter_map(|name| self.params.get(name));
        let tensors = changes
            .chain(trained.iter().cloned())
            .map(|param| Ok((format!("{ROOT}{}", param.name()), param.value().contiguous()?)));
        save_tensors(&folder.join(WEIGHTS), &tensors.collect::<Result<BTreeMap<String, Tensor>>>()?)?;
        let modules = trained.iter().filter_map(|param| param.name().rsplit_once('.').map(|(module, _)| module));
        let modules: BTreeSet<&str> = modules.collect();
        let config = json!({
            "peft_type": "LORA",
            "task_type": null,
            "base_model_name_or_path": null,
            "inference_mode": true,
            "r": self.lora.rank,
            "lora_alpha": self.lora.alpha,
            "lora_dropout": self.lora.dropout,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "target_modules": self.layers().collect::<Vec<_>>(),
            "modules_to_save": if modules.is_empty() { Value::Null } else { json!(modules) },
        });
        let path = folder.join(CONFIG);
        let text = serde_json::to_string_pretty(&config).map_err(|e| Error::format(path.display(), e.to_string()))?;
        write_atomic(&path, text.as_bytes())
    }

    /// Adds the adapter in `folder`, which `peft` or [`save_dir`](Self::save_dir) wrote, to the model with `params`. It
    /// freezes everything else.
    ///
    /// # Errors
    /// A file is missing; `adapter_config.json` asks for what is not supported; a tensor has no layer here, or does not fit
    /// it. Nothing is changed then.
    pub fn from_dir(folder: impl AsRef<Path>, params: &ParamStore) -> Result<Self> {
        let folder = folder.as_ref();
        let config = Config::read(&folder.join(CONFIG))?;
        let place = folder.join(WEIGHTS);
        let broken = |problem: String| Error::format(place.display(), problem);
        let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
        for (name, tensor) in read_tensors(&place)? {
            let own = name.strip_prefix(ROOT).ok_or_else(|| broken(format!("`{name}` is no tensor of an adapter")))?;
            tensors.insert(name_in(params, own), tensor);
        }
        let names = tensors.keys().filter_map(|name| name.strip_suffix(A)).map(str::to_string);
        let known: BTreeMap<String, Param> = linear_layers(params).collect();
        let mut layers = vec![];
        for path in names {
            let weight = known.get(&path).ok_or_else(|| broken(format!("the model has no linear layer `{path}`")))?;
            expect_fit(&path, weight, config.r, &tensors).map_err(|e| broken(e.to_string()))?;
            layers.push((path, weight.clone()));
        }
        let misfit = |(name, tensor): &(&String, &Tensor)| match name.strip_suffix(B) {
            Some(path) => !layers.iter().any(|(layer, _)| layer == path),
            None => !is_part(name) && params.get(name).is_none_or(|p| p.shape() != tensor.shape()),
        };
        if let Some((name, tensor)) = tensors.iter().find(misfit) {
            return Err(broken(format!("`{name}` {:?} does not fit the model", tensor.dims())));
        }
        let targets = layers.iter().map(|(path, _)| path.clone()).collect();
        let lora = Lora { targets, rank: config.r, alpha: config.alpha(), dropout: config.lora_dropout, seed: Seed(0) };
        let adapter = lora.add_to(params)?;
        for (name, tensor) in &tensors {
            if let Some(param) = params.get(name) {
                param.set(tensor)?;
            }
        }
        Ok(adapter)
    }
}

/// The name that the model has for `name`: adapters of a base model leave out what the model with a head puts before it.
fn name_in(params: &ParamStore, name: &str) -> String {
    let layer = name.strip_suffix(A).or_else(|| name.strip_suffix(B));
    let wanted = layer.map_or(name.to_string(), |path| format!("{path}.weight"));
    if params.get(&wanted).is_some() {
        return name.to_string();
    }
    let with_dot = format!(".{wanted}");
    let found = params.names().into_iter().find_map(|known| known.strip_suffix(&with_dot).map(str::to_string));
    found.map_or(name.to_string(), |prefix| format!("{prefix}.{name}"))
}

fn expect_fit(path: &str, weight: &Param, rank: usize, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let (outputs, inputs) = weight.value().dims2()?;
    let wanted = [(A, [rank, inputs]), (B, [outputs, rank])];
    for (part, dims) in wanted {
        let name = format!("{path}{part}");
        match tensors.get(&name) {
            Some(tensor) if tensor.dims() == dims => {}
            Some(tensor) => return Err(Error::invalid(name, format!("{dims:?}"), format!("{:?}", tensor.dims()))),
            None => return Err(Error::invalid(name, format!("{dims:?}"), "nothing")),
        }
    }
    expect_unchanged(&[(path.to_string(), weight.clone())])
}

/// What of an `adapter_config.json` changes the computation.
#[derive(Deserialize)]
struct Config {
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
}

/// Fields that the tensors say already, or that only training from the start asks for.
const IRRELEVANT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

impl Config {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let broken = |problem: String| Error::format(path.display(), problem);
        let fields: Map<String, Value> =
            serde_json::from_str(&text).map_err(|e| broken(format!("not the configuration of an adapter: {e}")))?;
        let known = ["r", "lora_alpha", "lora_dropout", "use_rslora"];
        let is_off = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            _ => false,
        };
        let refused: Vec<String> = fields
            .iter()
            .filter(|(name, value)| match name.as_str() {
                "peft_type" => **value != json!("LORA"),
                "bias" => **value != json!("none"),
                name => !known.contains(&name) && !IRRELEVANT.contains(&name) && !is_off(value),
            })
            .map(|(name, value)| format!("`{name}` {value}"))
            .collect();
        if !refused.is_empty() {
            return Err(broken(format!("unknown or unsupported: {}", refused.join(", "))));
        }
        let config: Self = serde_json::from_value(Value::Object(fields)).map_err(|e| broken(e.to_string()))?;
        if config.r == 0 {
            return Err(broken("`r` 0, where 1 or more is needed".to_string()));
        }
        Ok(config)
    }

    /// alpha, where the change is multiplied by alpha / rank: rank-stabilised adapters have alpha / √rank.
    fn alpha(&self) -> f64 {
        if self.use_rslora { self.lora_alpha * (self.r as f64).sqrt() } else { self.lora_alpha }
    }
}
