//! Named parameters: trainable, frozen, or buffers; created, frozen, counted, saved and loaded by name.

mod backend;
mod builder;
mod low_rank;
mod param;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use candle_core::{DType, Device, Shape, Tensor};

pub use builder::VarBuilder;
pub use low_rank::LowRank;
pub use param::{Kind, Param};
pub use report::{KeyMismatch, LoadReport, WrongShape};

use crate::{Error, Init, Result, Seed, pattern, tensors};

/// The parameters of a model, in the order in which its layers made them. Clones share the same parameters.
///
/// ```
/// use glassbox_core::{Linear, ParamStore, Seed};
/// let params = ParamStore::new(Seed(42), &candle_core::Device::Cpu);
/// let layer = Linear::new(3, 2, params.root().pp("head"))?;
/// assert_eq!(params.names(), ["head.weight", "head.bias"]);
/// assert_eq!(params.num_trainable(), 8);
/// params.freeze("head.*");
/// assert_eq!(params.num_trainable(), 0);
/// # drop(layer);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ParamStore {
    inner: Arc<RwLock<Inner>>,
    seed: Seed,
    dtype: DType,
    device: Device,
}

#[derive(Default)]
struct Inner {
    params: Vec<Param>,
    index: HashMap<String, usize>,
    /// New parameters start as 0, since what they are is yet to be loaded.
    to_load: bool,
}

impl ParamStore {
    /// An empty store of f32 parameters on `device`. Each parameter's initial value depends on `seed` and its name alone.
    pub fn new(seed: Seed, device: &Device) -> Self {
        Self::with_dtype(seed, DType::F32, device)
    }

    /// An empty store of parameters of type `dtype`.
    pub fn with_dtype(seed: Seed, dtype: DType, device: &Device) -> Self {
        Self { inner: Arc::default(), seed, dtype, device: device.clone() }
    }

    /// An empty store of parameters of type `dtype` whose values will be loaded: until they are, new parameters start as 0,
    /// which spares the time that drawing initial values takes.
    pub fn to_load(dtype: DType, device: &Device) -> Self {
        let store = Self::with_dtype(Seed(0), dtype, device);
        store.write().to_load = true;
        store
    }

    /// The builder at the root of the model: what layers are made with.
    pub fn root(&self) -> VarBuilder {
        VarBuilder::new(self.clone())
    }

    /// The device of every parameter.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of new parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Every parameter and buffer, in order of creation.
    pub fn all(&self) -> Vec<Param> {
        self.read().params.clone()
    }

    /// The parameters that training changes, in order of creation.
    pub fn trainable(&self) -> Vec<Param> {
        self.all().into_iter().filter(|p| p.kind() == Kind::Trainable).collect()
    }

    /// Every name, in order of creation.
    pub fn names(&self) -> Vec<String> {
        self.read().params.iter().map(|p| p.name().to_string()).collect()
    }

    /// The parameter or buffer called `name`.
    pub fn get(&self, name: &str) -> Option<Param> {
        let inner = self.read();
        inner.index.get(name).map(|&i| inner.params[i].clone())
    }

    /// Number of elements of the trainable parameters.
    pub fn num_trainable(&self) -> usize {
        self.trainable().iter().map(Param::elem_count).sum()
    }

    /// Number of elements of all parameters, frozen ones included, buffers not.
    pub fn num_params(&self) -> usize {
        self.all().iter().filter(|p| p.kind() != Kind::Buffer).map(Param::elem_count).sum()
    }

    /// Freezes the parameters whose names match `pattern` (`*` stands for any text): they get no gradient and no update.
    /// Gives how many matched.
    pub fn freeze(&self, pattern: &str) -> usize {
        self.switch(pattern, Kind::Trainable, Kind::Frozen)
    }

    /// Makes frozen parameters whose names match `pattern` trainable again. Gives how many matched.
    pub fn unfreeze(&self, pattern: &str) -> usize {
        self.switch(pattern, Kind::Frozen, Kind::Trainable)
    }

    /// Takes out the parameters and buffers whose names match `pattern`; layers that hold them keep them. Gives how many.
    pub fn remove(&self, pattern: &str) -> usize {
        let mut inner = self.write();
        let before = inner.params.len();
        inner.params.retain(|param| !pattern::matches(pattern, param.name()));
        inner.index = inner.params.iter().enumerate().map(|(i, param)| (param.name().to_string(), i)).collect();
        before - inner.params.len()
    }

    fn switch(&self, pattern: &str, from: Kind, to: Kind) -> usize {
        let matching =
            self.all().into_iter().filter(|p| p.kind() != Kind::Buffer && pattern::matches(pattern, p.name()));
        matching.map(|p| p.switch(from, to)).count()
    }

    /// The parameter called `name`: the one that exists, or a new one with initial values from `init`.
    ///
    /// # Errors
    /// One of that name with another shape exists; `init` does not suit the shape.
    pub(crate) fn get_or_create(
        &self,
        name: &str,
        shape: Shape,
        init: Init,
        dtype: DType,
        kind: Kind,
    ) -> Result<Param> {
        let mut inner = self.write();
        if let Some(&i) = inner.index.get(name) {
            let existing = &inner.params[i];
            if existing.shape() != &shape {
                let expected = format!("shape {:?}, as it was first made", existing.shape().dims());
                return Err(Error::invalid(format!("parameter `{name}`"), expected, format!("{:?}", shape.dims())));
            }
            return Ok(existing.clone());
        }
        let init = if inner.to_load { Init::Zeros } else { init };
        let value = init.tensor(shape, &mut self.seed.child(name).rng(), dtype, &self.device)?;
        let param = Param::new(name, &value, kind)?;
        let position = inner.params.len();
        inner.index.insert(name.to_string(), position);
        inner.params.push(param.clone());
        Ok(param)
    }

    /// Every parameter and buffer by name, as tensors that share the parameters' memory.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.all().iter().map(|p| (p.name().to_string(), p.var().as_detached_tensor())).collect()
    }

    /// Writes every parameter and buffer to a safetensors file, atomically: a temporary file, synchronised, then renamed.
    ///
    /// # Errors
    /// The file cannot be written; the old one, if any, is then untouched.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        tensors::save(path.as_ref(), &self.tensors(), None)
    }

    /// Loads a safetensors file that must hold exactly this store's names and shapes.
    ///
    /// # Errors
    /// The file cannot be read, is cut short, or its keys do not fit: [`Error::Keys`] lists all that don't. Nothing is
    /// changed in that case.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<LoadReport> {
        self.load_renamed(path, str::to_string)
    }

    /// [`load`](Self::load), with each of the file's keys renamed by `rename` first.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_renamed(&self, path: impl AsRef<Path>, rename: impl Fn(&str) -> String) -> Result<LoadReport> {
        let report = self.prepare(path.as_ref(), rename)?;
        if !report.0.fits() {
            return Err(Error::Keys(Box::new(report.0)));
        }
        self.assign(report)
    }

    /// Loads what fits of a safetensors file, leaves the rest as it is, and reports both.
    ///
    /// # Errors
    /// The file cannot be read or is cut short.
    pub fn load_lenient(&self, path: impl AsRef<Path>, rename: impl Fn(&str) -> String) -> Result<LoadReport> {
        let report = self.prepare(path.as_ref(), rename)?;
        self.assign(report)
    }

    /// Replaces every value by the tensor of the same name; `source` says where they come from, for the report.
    ///
    /// # Errors
    /// Names or shapes do not fit; nothing is changed in that case.
    pub fn load_tensors(&self, source: &str, tensors: &BTreeMap<String, Tensor>) -> Result<LoadReport> {
        let report = LoadReport::compare(source, &self.all(), tensors);
        if !report.fits() {
            return Err(Error::Keys(Box::new(report)));
        }
        self.assign((report, tensors.clone()))
    }

    fn prepare(&self, path: &Path, rename: impl Fn(&str) -> String) -> Result<(LoadReport, BTreeMap<String, Tensor>)> {
        let (loaded, _) = tensors::load(path)?;
        let renamed: BTreeMap<String, Tensor> = loaded.into_iter().map(|(name, t)| (rename(&name), t)).collect();
        let report = LoadReport::compare(&path.display().to_string(), &self.all(), &renamed);
        Ok((report, renamed))
    }

    fn assign(&self, (report, tensors): (LoadReport, BTreeMap<String, Tensor>)) -> Result<LoadReport> {
        for name in &report.matched {
            if let (Some(param), Some(tensor)) = (self.get(name), tensors.get(name)) {
                param.set(tensor)?;
            }
        }
        self.write().to_load = false;
        Ok(report)
    }

    // A panic elsewhere cannot leave the list half-changed: no write above leaves it so in between.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ParamStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

#[cfg(test)]
mod tests;
