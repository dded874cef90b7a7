//! Any layer's activation and the gradient that flows into it, as tensors.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;
use glassbox_core::{Pass, Probe, Result, Seen, pattern};
use glassbox_kernels::backward::backward;

/// What passed one layer.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// The layer's path.
    pub path: String,
    /// Its type.
    pub kind: String,
    /// What came out, detached: one tensor for each time that the layer ran.
    pub outputs: Vec<Tensor>,
    /// The gradient of the loss with respect to each output, in the order in which the backward met them: the last output
    /// first. Empty where no loss was given, or where the loss does not depend on it.
    pub gradients: Vec<Tensor>,
}

impl Tapped {
    /// The only output, or the last one.
    pub fn output(&self) -> Option<&Tensor> {
        self.outputs.last()
    }

    /// The gradient of the last output.
    pub fn gradient(&self) -> Option<&Tensor> {
        self.gradients.first()
    }
}

/// Catches the outputs of layers whose paths match a pattern (`*` stands for any text), and the gradients that flow back
/// into them.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, Mlp, MlpConfig, ParamStore, Pass, Seed};
/// use glassbox_lens::Taps;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = MlpConfig { in_features: 3, hidden: vec![4], out_features: 2, ..Default::default() };
/// let model = Mlp::new(config, params.root())?;
/// let inputs = Tensor::ones((5, 3), DType::F32, &Device::Cpu)?;
/// let tapped = Taps::on("act*").run(|pass| Ok(model.forward(&inputs, pass)?.sum_all()?))?;
/// assert_eq!(tapped["act1"].output().unwrap().dims(), [5, 4]);
/// assert_eq!(tapped["act1"].gradient().unwrap().dims(), [5, 4]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Taps {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    pattern: String,
    tapped: Mutex<BTreeMap<String, Tapped>>,
}

impl Taps {
    /// Taps on the layers whose paths match `pattern`.
    pub fn on(pattern: impl Into<String>) -> Self {
        Self { inner: Arc::new(Inner { pattern: pattern.into(), tapped: Mutex::default() }) }
    }

    /// The probe to put on a pass of one's own.
    pub fn probe(&self) -> Arc<dyn Probe> {
        Arc::clone(&self.inner) as Arc<dyn Probe>
    }

    /// Runs `forward` under an evaluating pass that records gradients, then the backward of the scalar that it gives, and
    /// gives what passed the layers. A result of more elements than one has no backward.
    ///
    /// # Errors
    /// Those of `forward` and of the backward.
    pub fn run(&self, forward: impl FnOnce(&Pass) -> Result<Tensor>) -> Result<BTreeMap<String, Tapped>> {
        self.run_in(Pass::eval().with_gradients(), forward)
    }

    /// [`run`](Self::run) under a pass of your choice, such as a training one.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_in(
        &self,
        pass: Pass,
        forward: impl FnOnce(&Pass) -> Result<Tensor>,
    ) -> Result<BTreeMap<String, Tapped>> {
        let result = forward(&pass.with_probe(self.probe()))?;
        if result.elem_count() == 1 && result.track_op() {
            backward(&result)?;
        }
        Ok(self.take())
    }

    /// What was caught since the last call.
    pub fn take(&self) -> BTreeMap<String, Tapped> {
        std::mem::take(&mut *self.inner.lock())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Tapped>> {
        self.tapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, path: &str) -> bool {
        pattern::matches(&self.pattern, path)
    }
}

impl Probe for Inner {
    fn output(&self, seen: &Seen<'_>) -> Result<()> {
        if self.wants(seen.path) {
            let new = || {
                let (path, kind) = (seen.path.to_string(), seen.kind.to_string());
                Tapped { path, kind, outputs: vec![], gradients: vec![] }
            };
            let mut tapped = self.lock();
            tapped.entry(seen.path.to_string()).or_insert_with(new).outputs.push(seen.output.detach());
        }
        Ok(())
    }

    fn wants_gradient(&self, path: &str) -> bool {
        self.wants(path)
    }

    fn gradient(&self, path: &str, gradient: &Tensor) -> Result<()> {
        if let Some(tapped) = self.lock().get_mut(path) {
            tapped.gradients.push(gradient.detach());
        }
        Ok(())
    }
}
