//! Where the first number that is not finite came from.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;
use glassbox_core::{Error, Gradients, ParamStore, Probe, Result, Seen};
use glassbox_kernels::reduce::find;

/// Finds the first layer of a pass whose output is not finite, and keeps what is needed to run that layer again.
///
/// [`Lens`](crate::Lens) puts one on the second run of a step that failed; it can watch any pass:
///
/// ```
/// use std::sync::Arc;
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, Linear, ParamStore, Pass, Seed};
/// use glassbox_lens::FirstNonFinite;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = Linear::new(2, 2, params.root().pp("fc"))?;
/// let pass = Pass::eval().with_probe(Arc::new(FirstNonFinite::new(&params)));
/// let error = layer.forward(&Tensor::new(&[[1f32, f32::NAN]], &Device::Cpu)?, &pass).unwrap_err();
/// assert!(error.to_string().contains("first non-finite value: input of `fc` is NaN"), "{error}");
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct FirstNonFinite {
    stores: Vec<ParamStore>,
    replay: Option<PathBuf>,
    found: Mutex<Option<Found>>,
}

/// The first number that was not finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The layer's path.
    pub path: String,
    /// The layer's type.
    pub kind: String,
    /// Whose number it is.
    pub place: Place,
    /// The number: NaN or an infinity.
    pub value: f64,
}

/// Where in a layer a number that is not finite was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In what the network was given.
    Input,
    /// In a parameter, left there by the update before: the backward of that step is where it began.
    Parameter(String),
    /// In the output, while inputs and parameters are finite.
    Output,
    /// In the gradient that flows back into the output: the layers behind this one made it.
    OutputGradient,
    /// In the gradient of this parameter, while that of the layer's output is finite.
    Gradient(String),
}

impl FirstNonFinite {
    /// Looks at passes of the network whose parameters are in `params`.
    pub fn new(params: &ParamStore) -> Self {
        Self::of(vec![params.clone()], None)
    }

    pub(crate) fn of(stores: Vec<ParamStore>, replay: Option<PathBuf>) -> Self {
        Self { stores, replay, found: Mutex::default() }
    }

    /// Writes the layer's input and parameters to `path`, as safetensors: `input`, `output`, and parameters by their names.
    pub fn keep_at(self, path: impl Into<PathBuf>) -> Self {
        Self { replay: Some(path.into()), ..self }
    }

    /// What was found.
    pub fn found(&self) -> Option<Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, found: Found) -> Error {
        let (what, value) = (format!("first non-finite value: {}", found.what()), found.value);
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Error::NonFinite { what, value, step: 0, last_good: None }
    }

    fn look(&self, seen: &Seen<'_>) -> Result<Option<Found>> {
        let found = |place, value| Found { path: seen.path.into(), kind: seen.kind.into(), place, value };
        let Some(value) = non_finite(seen.output)? else { return Ok(None) };
        if let Some(value) = non_finite(seen.input)? {
            return Ok(Some(found(Place::Input, value)));
        }
        if let Some((name, value)) = self.broken_param(seen.path)? {
            return Ok(Some(found(Place::Parameter(name), value)));
        }
        Ok(Some(found(Place::Output, value)))
    }

    /// Where a parameter of the layer at `path` is not finite: the last such parameter of the network. A backward goes from
    /// the last layer to the first, and what is not finite spreads, so that is where it began or just behind.
    fn broken_param(&self, path: &str) -> Result<Option<(String, f64)>> {
        let broken = |param: &glassbox_core::Param| non_finite(&param.value());
        for param in self.params_of(path) {
            if broken(&param)?.is_some() {
                let last = self.params_of("").into_iter().rev();
                let mut all = last.map(|param| Ok(broken(&param)?.map(|value| (param.name().to_string(), value))));
                return all.find_map(Result::transpose).transpose();
            }
        }
        Ok(None)
    }

    fn params_of(&self, path: &str) -> Vec<glassbox_core::Param> {
        let within = |name: &str| {
            path.is_empty() || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.') || rest.is_empty())
        };
        self.stores.iter().flat_map(ParamStore::all).filter(|param| within(param.name())).collect()
    }

    fn keep(&self, seen: &Seen<'_>) -> Result<()> {
        let Some(path) = &self.replay else { return Ok(()) };
        let mut tensors = HashMap::from([("input".to_string(), seen.input.detach().contiguous()?)]);
        tensors.insert("output".to_string(), seen.output.detach().contiguous()?);
        for param in self.params_of(seen.path) {
            tensors.insert(param.name().to_string(), param.value().contiguous()?);
        }
        Ok(candle_core::safetensors::save(&tensors, path)?)
    }
}

fn non_finite(tensor: &Tensor) -> Result<Option<f64>> {
    if !tensor.dtype().is_float() {
        return Ok(None);
    }
    Ok(find(tensor, |x| !x.is_finite())?)
}

impl Found {
    /// "output of `blocks.3.mlp.fc1`".
    pub fn what(&self) -> String {
        let path = if self.path.is_empty() { "the network" } else { &self.path };
        match &self.place {
            Place::Input => format!("input of `{path}`"),
            Place::Output => format!("output of `{path}`"),
            Place::OutputGradient => format!("gradient flowing into `{path}`"),
            Place::Gradient(name) => format!("gradient of `{name}`"),
            Place::Parameter(name) => format!("parameter `{name}`, since the update before (its backward),"),
        }
    }
}

impl Probe for FirstNonFinite {
    fn output(&self, seen: &Seen<'_>) -> Result<()> {
        let Some(found) = self.look(seen)? else { return Ok(()) };
        self.keep(seen)?;
        Err(self.fail(found))
    }

    fn wants_gradient(&self, _: &str) -> bool {
        true
    }

    /// What is found here is told after the backward: Candle would make a text of an error within it.
    fn gradient(&self, path: &str, gradient: &Tensor) -> Result<()> {
        let Some(value) = non_finite(gradient)?.filter(|_| self.found().is_none()) else { return Ok(()) };
        if let Some(file) = &self.replay {
            let kept = HashMap::from([("output_gradient".to_string(), gradient.detach().contiguous()?)]);
            candle_core::safetensors::save(&kept, file)?;
        }
        self.fail(Found { path: path.into(), kind: String::new(), place: Place::OutputGradient, value });
        Ok(())
    }

    fn param_gradients(&self, gradients: &Gradients) -> Result<()> {
        if let Some(found) = self.found() {
            return Err(self.fail(found));
        }
        let gradients: Vec<_> = gradients.iter().collect();
        for (param, gradient) in gradients.into_iter().rev() {
            if let Some(value) = non_finite(gradient)? {
                let name = param.name().to_string();
                let path = name.rsplit_once('.').map_or("", |(path, _)| path).to_string();
                return Err(self.fail(Found { path, kind: String::new(), place: Place::Gradient(name), value }));
            }
        }
        Ok(())
    }
}

/// Fails a step whose gradients are not all finite, at one reading of them.
pub(crate) struct GradientCheck;

impl Probe for GradientCheck {
    fn watches_layers(&self) -> bool {
        false
    }

    fn output(&self, _: &Seen<'_>) -> Result<()> {
        Ok(())
    }

    fn param_gradients(&self, gradients: &Gradients) -> Result<()> {
        FirstNonFinite::of(vec![], None).param_gradients(gradients)
    }
}
