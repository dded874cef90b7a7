//! Watching layers from outside: outputs by path, and the gradients that flow back into them.

use std::sync::Arc;

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Shape, Tensor};

use crate::{Gradients, Pass, Result};

/// Watches the layers of a pass. A probe changes no bit of the result.
pub trait Probe: Send + Sync {
    /// Whether the layers are to be shown. A probe that only wants the parameters' gradients and the answers says no, and
    /// the layers run as fast as unwatched.
    fn watches_layers(&self) -> bool {
        true
    }

    /// Called after each built-in layer's forward.
    ///
    /// # Errors
    /// The probe's own; it ends the forward.
    fn output(&self, seen: &Seen<'_>) -> Result<()>;

    /// Whether the gradient of the output of the layer at `path` is wanted.
    fn wants_gradient(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// Called in the backward with the gradient of the loss with respect to the output of the layer at `path`.
    ///
    /// # Errors
    /// The probe's own; it ends the backward.
    fn gradient(&self, path: &str, gradient: &Tensor) -> Result<()> {
        let _ = (path, gradient);
        Ok(())
    }

    /// Called by an [`Update`](crate::train::Update) before it changes the parameters, with their gradients as the backward
    /// left them.
    ///
    /// # Errors
    /// The probe's own; it ends the step.
    fn param_gradients(&self, gradients: &Gradients) -> Result<()> {
        let _ = gradients;
        Ok(())
    }

    /// Called with what the model answered to a batch of training or validation, where the step is a
    /// [`SupervisedStep`](crate::SupervisedStep).
    ///
    /// # Errors
    /// The probe's own; it ends the step.
    fn answer(&self, answer: &Answer<'_>) -> Result<()> {
        let _ = answer;
        Ok(())
    }
}

/// What a model answered to a batch, as a [`Probe`] sees it.
pub struct Answer<'a> {
    /// What it was given, where that is one tensor.
    pub input: Option<&'a Tensor>,
    /// Its outputs, as the loss takes them.
    pub outputs: &'a Tensor,
    /// What they should be.
    pub targets: &'a Tensor,
    /// Whether the batch is one of training.
    pub training: bool,
}

/// Several probes as one; each sees everything.
pub(crate) struct Probes(pub Vec<Arc<dyn Probe>>);

impl Probe for Probes {
    fn watches_layers(&self) -> bool {
        self.0.iter().any(|probe| probe.watches_layers())
    }

    fn output(&self, seen: &Seen<'_>) -> Result<()> {
        self.0.iter().filter(|probe| probe.watches_layers()).try_for_each(|probe| probe.output(seen))
    }

    fn wants_gradient(&self, path: &str) -> bool {
        self.0.iter().any(|probe| probe.wants_gradient(path))
    }

    fn gradient(&self, path: &str, gradient: &Tensor) -> Result<()> {
        let mut wanting = self.0.iter().filter(|probe| probe.wants_gradient(path));
        wanting.try_for_each(|probe| probe.gradient(path, gradient))
    }

    fn param_gradients(&self, gradients: &Gradients) -> Result<()> {
        self.0.iter().try_for_each(|probe| probe.param_gradients(gradients))
    }

    fn answer(&self, answer: &Answer<'_>) -> Result<()> {
        self.0.iter().try_for_each(|probe| probe.answer(answer))
    }
}

/// One layer's forward, as a [`Probe`] sees it.
pub struct Seen<'a> {
    /// The layer's path, such as `encoder.2.attn.q`.
    pub path: &'a str,
    /// The layer's type, such as `Linear`.
    pub kind: &'a str,
    /// What went in.
    pub input: &'a Tensor,
    /// What came out.
    pub output: &'a Tensor,
    /// Multiply-adds of this forward, as far as they are products with weights.
    pub multiply_adds: u64,
}

/// How many multiply-adds a layer makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cost {
    /// None to speak of: activations, pooling, containers.
    #[default]
    None,
    /// So many for each element of the output.
    PerOutput(u64),
    /// So many for each element of the input.
    PerInput(u64),
}

impl Cost {
    fn of(self, input: &Tensor, output: &Tensor) -> u64 {
        match self {
            Self::None => 0,
            Self::PerOutput(n) => n * output.elem_count() as u64,
            Self::PerInput(n) => n * input.elem_count() as u64,
        }
    }
}

/// Where a layer stands in its model: its path and type. A layer runs its forward through its site, which adds the path
/// to errors and shows the output to the probe.
#[derive(Clone, Debug)]
pub struct Site {
    path: String,
    kind: &'static str,
    cost: Cost,
}

impl Site {
    /// The site of a layer of type `kind` at `path`.
    pub fn new(path: impl Into<String>, kind: &'static str) -> Self {
        Self { path: path.into(), kind, cost: Cost::None }
    }

    /// The same site, with the cost of its products.
    pub fn with_cost(self, cost: Cost) -> Self {
        Self { cost, ..self }
    }

    /// The layer's path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Runs `forward`: errors get this path, the probe sees the output and, where it asks, its gradient.
    ///
    /// # Errors
    /// Those of `forward` and of the probe.
    pub fn run(&self, xs: &Tensor, pass: &Pass, forward: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let ys = forward().map_err(|e| e.at(&self.path))?;
        let Some(probe) = pass.probe() else { return Ok(ys) };
        let multiply_adds = self.cost.of(xs, &ys);
        probe.output(&Seen { path: &self.path, kind: self.kind, input: xs, output: &ys, multiply_adds })?;
        if ys.track_op() && probe.wants_gradient(&self.path) {
            return Ok(ys.apply_op1(GradientTap { path: self.path.clone(), probe: Arc::clone(probe) })?);
        }
        Ok(ys)
    }
}

/// The identity, whose backward shows the gradient to a probe.
struct GradientTap {
    path: String,
    probe: Arc<dyn Probe>,
}

impl CustomOp1 for GradientTap {
    fn name(&self) -> &'static str {
        "gradient-tap"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        copy(storage, layout)
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        copy(storage, layout)
    }

    fn metal_fwd(&self, storage: &MetalStorage, layout: &Layout) -> candle_core::Result<(MetalStorage, Shape)> {
        copy(storage, layout)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.probe.gradient(&self.path, grad)?;
        Ok(Some(grad.clone()))
    }
}

fn copy<S>(storage: &S, layout: &Layout) -> candle_core::Result<(S, Shape)>
where
    S: BackendStorage,
    S::Device: BackendDevice<Storage = S>,
{
    let shape = layout.shape().clone();
    let mut copy = storage.device().zeros_impl(&shape, storage.dtype())?;
    storage.copy_strided_src(&mut copy, 0, layout)?;
    Ok((copy, shape))
}
