//! One step under observation.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;
use glassbox_core::probe::Answer;
use glassbox_core::{Gradients, Kind, Param, ParamStore, Probe, Result, Seen, TensorExt};
use serde::{Deserialize, Serialize};

use super::line::{LayerInfo, LayerVitals, Network, ParamInfo, ParamVitals, Vitals};
use super::stats::{Histogram, Moments, Units, share, with_values};

/// Stores of parameters by role, as [`glassbox_core::train::Run::params`] has them.
pub(crate) type Roles = [(&'static str, ParamStore)];

/// Watches one step of training.
#[derive(Default)]
pub(crate) struct Recorder {
    recording: Mutex<Recording>,
}

#[derive(Default)]
struct Recording {
    layers: Vec<Layer>,
    input: Option<LayerVitals>,
    params: Vec<Watched>,
    shown: Vec<Shown>,
    answer: Option<FirstAnswer>,
    /// The layer with weights that came last, whose kind says how the units of an activation behind it lie.
    last_conv1d: bool,
}

struct Layer {
    info: LayerInfo,
    vitals: LayerVitals,
    moments: Moments,
}

/// A parameter before the update.
struct Watched {
    param: Param,
    before: Tensor,
    vitals: ParamVitals,
}

/// A layer's output for one sample, or what the network was given, small enough to be drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// The layer's path; empty for what the network was given.
    pub path: String,
    /// The layer's type.
    pub kind: String,
    /// (channels, height, width) of a picture, (steps, features) of a sequence.
    pub dims: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

struct FirstAnswer {
    num_classes: usize,
    are_probabilities: bool,
    cross_entropy: f64,
}

/// What a recorded step gives.
pub(crate) struct Recorded {
    pub network: Network,
    pub vitals: Vitals,
    pub shown: Vec<Shown>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the recording, after the update. Step, epoch and loss are for the caller to fill in.
    pub fn finish(&self, roles: &Roles) -> Result<Recorded> {
        let Recording { layers, input, params, shown, answer, .. } = std::mem::take(&mut *self.lock());
        let mut network = Network { params: param_infos(roles), ..Network::default() };
        if let Some(answer) = answer {
            network.num_classes = Some(answer.num_classes);
            network.answers_are_probabilities = answer.are_probabilities;
            network.initial_cross_entropy = Some(answer.cross_entropy);
        }
        let mut vitals = Vitals { input, ..Vitals::default() };
        for Layer { info, vitals: mut layer, moments } in layers {
            fill(&mut layer, &moments);
            network.layers.push(info);
            vitals.layers.push(layer);
        }
        for watched in params {
            vitals.params.push(watched.after(roles)?);
        }
        Ok(Recorded { network, vitals, shown })
    }
}

impl Watched {
    fn new(param: &Param, gradient: &Tensor) -> Result<Self> {
        let before = param.value().copy()?;
        let (weight, gradient) = (with_values(&before, Moments::of)?, with_values(gradient, Moments::of)?);
        let vitals = ParamVitals {
            name: param.name().to_string(),
            weight_norm: weight.norm(),
            weight_std: weight.std(),
            gradient_norm: if gradient.non_finite > 0 { f64::NAN } else { gradient.norm() },
            update_ratio: None,
            non_finite: gradient.non_finite,
        };
        Ok(Self { param: param.clone(), before, vitals })
    }

    /// The vital signs, now that the update was made.
    fn after(self, roles: &Roles) -> Result<ParamVitals> {
        let change = with_values(&self.before, |before| {
            with_values(&self.param.value(), |now| {
                let squares = before.iter().zip(now).map(|(&a, &b)| (f64::from(b) - f64::from(a)).powi(2));
                squares.sum::<f64>().sqrt()
            })
        })??;
        let mut vitals = self.vitals;
        if vitals.weight_norm > 0.0 {
            vitals.update_ratio = Some(change / vitals.weight_norm);
        }
        vitals.name = full_name(&self.param, roles);
        Ok(vitals)
    }
}

/// The parameter's name, with its role before it where there are several.
fn full_name(param: &Param, roles: &Roles) -> String {
    let owns = |store: &ParamStore| store.get(param.name()).is_some_and(|own| own.var().id() == param.var().id());
    match roles {
        [_] | [] => param.name().to_string(),
        many => match many.iter().find(|(_, store)| owns(store)) {
            Some((role, _)) => format!("{role}/{}", param.name()),
            None => param.name().to_string(),
        },
    }
}

fn param_infos(roles: &Roles) -> Vec<ParamInfo> {
    let all = roles.iter().flat_map(|(_, store)| store.all());
    let info = |param: Param| ParamInfo {
        name: full_name(&param, roles),
        shape: param.shape().dims().to_vec(),
        frozen: param.kind() == Kind::Frozen,
    };
    all.filter(|param| param.kind() != Kind::Buffer).map(info).collect()
}

fn fill(vitals: &mut LayerVitals, moments: &Moments) {
    (vitals.mean, vitals.std) = (moments.mean(), moments.std());
    (vitals.min, vitals.max, vitals.non_finite) = (moments.min, moments.max, moments.non_finite);
}

impl Probe for Recorder {
    fn output(&self, seen: &Seen<'_>) -> Result<()> {
        let mut recording = self.lock();
        if recording.layers.is_empty() && recording.input.is_none() {
            recording.see_input(seen)?;
        }
        if seen.kind.starts_with("Conv") || seen.kind == "Linear" {
            recording.last_conv1d = seen.kind.starts_with("Conv1d") || seen.kind.starts_with("ConvTranspose1d");
        }
        if !seen.output.dtype().is_float() {
            return Ok(());
        }
        let units = Units::of(seen.output.dims(), recording.last_conv1d && seen.output.rank() == 3);
        with_values(seen.output, |values| recording.see(seen, values, units))
    }

    fn param_gradients(&self, gradients: &Gradients) -> Result<()> {
        let watched = gradients.iter().map(|(param, gradient)| Watched::new(param, gradient));
        let watched: Vec<Watched> = watched.collect::<Result<_>>()?;
        self.lock().params.extend(watched);
        Ok(())
    }

    fn answer(&self, answer: &Answer<'_>) -> Result<()> {
        let first = first_answer(answer)?;
        self.lock().answer = first;
        Ok(())
    }
}

impl Recording {
    fn see_input(&mut self, seen: &Seen<'_>) -> Result<()> {
        if !seen.input.dtype().is_float() {
            return Ok(());
        }
        with_values(seen.input, |values| {
            let moments = Moments::of(values);
            let histogram = Histogram::of(values, &moments);
            let mut vitals = LayerVitals { path: "input".into(), histogram, ..LayerVitals::default() };
            fill(&mut vitals, &moments);
            self.input = Some(vitals);
            self.shown.extend(inputs(seen.input.dims(), values));
        })
    }

    fn see(&mut self, seen: &Seen<'_>, values: &[f32], units: Units) {
        let moments = Moments::of(values);
        let dead = (seen.kind == "Relu").then(|| units.share_without(values, |x| x > 0.0));
        // A recurrence with ReLU has no bounds.
        let bounds = bounds(seen.kind).filter(|_| moments.max <= 1.0);
        let saturated = bounds.map(|(low, high)| share(values, |x| x < low || x > high));
        let histogram = Histogram::of(values, &moments);
        if let Some(layer) = self.layers.iter_mut().find(|layer| layer.info.path == seen.path) {
            // A layer that runs more than once in a step: all its outputs together.
            let (old, new) = (layer.moments.count.max(1) as f64, moments.count as f64);
            layer.vitals.dead = layer.vitals.dead.zip(dead).map(|(a, b)| a.min(b));
            layer.vitals.saturated =
                layer.vitals.saturated.zip(saturated).map(|(a, b)| (a * old + b * new) / (old + new));
            layer.moments = layer.moments.and(moments);
            layer.vitals.histogram = histogram;
            return;
        }
        let path = seen.path.to_string();
        self.shown.extend(sample(seen, values));
        self.layers.push(Layer {
            info: LayerInfo { path: path.clone(), kind: seen.kind.into(), shape: seen.output.dims().to_vec() },
            vitals: LayerVitals { path, dead, saturated, histogram, ..LayerVitals::default() },
            moments,
        });
    }
}

/// Where the outputs of a saturating layer count as saturated: beyond ±0.97 of tanh, 0.03 and 0.97 of a sigmoid.
fn bounds(kind: &str) -> Option<(f32, f32)> {
    match kind {
        "Tanh" | "Rnn" | "Gru" | "Lstm" => Some((-0.97, 0.97)),
        "Sigmoid" => Some((0.03, 0.97)),
        _ => None,
    }
}

/// Values of a picture that are kept at most, along each side and channels.
const SIDE: usize = 48;
const CHANNELS: usize = 16;
/// Steps and features of a sequence that are kept at most.
const STEPS: usize = 96;
const FEATURES: usize = 48;
/// Layers that are kept at most.
const INPUTS: usize = 8;

/// The first samples of a batch of pictures.
fn inputs(dims: &[usize], values: &[f32]) -> Vec<Shown> {
    let &[batch, channels @ (1 | 3), height, width] = dims else { return vec![] };
    let size = channels * height * width;
    let picture = |sample: &[f32]| shrink("", "input", [channels, height, width], sample);
    values.chunks(size.max(1)).take(batch.min(INPUTS)).filter_map(picture).collect()
}

/// A layer's output for the first sample, where it is a picture or a sequence.
fn sample(seen: &Seen<'_>, values: &[f32]) -> Option<Shown> {
    match *seen.output.dims() {
        [_, channels, height, width] if height > 1 || width > 1 => {
            shrink(seen.path, seen.kind, [channels, height, width], values)
        }
        [_, steps, features] if matches!(seen.kind, "Rnn" | "Gru" | "Lstm" | "MinGru" | "MinLstm") => {
            let (kept_steps, kept) = (steps.min(STEPS), features.min(FEATURES));
            let rows = values.chunks(features.max(1)).take(kept_steps);
            let values = rows.flat_map(|row| row.iter().take(kept).copied()).collect();
            Some(Shown { path: seen.path.into(), kind: seen.kind.into(), dims: vec![kept_steps, kept], values })
        }
        _ => None,
    }
}

/// A picture of the first channels, every so many-th row and column of it where it is large.
fn shrink(path: &str, kind: &str, [channels, height, width]: [usize; 3], values: &[f32]) -> Option<Shown> {
    let stride = height.max(width).div_ceil(SIDE).max(1);
    let (channels, rows, columns) = (channels.min(CHANNELS), height.div_ceil(stride), width.div_ceil(stride));
    let mut kept = Vec::with_capacity(channels * rows * columns);
    for channel in 0..channels {
        for row in (0..height).step_by(stride) {
            let start = (channel * height + row) * width;
            kept.extend(values.get(start..start + width)?.iter().step_by(stride));
        }
    }
    Some(Shown { path: path.into(), kind: kind.into(), dims: vec![channels, rows, columns], values: kept })
}

/// Classes and cross-entropy, where the answer is logits of classes.
fn first_answer(answer: &Answer<'_>) -> Result<Option<FirstAnswer>> {
    let Some((classes, rows)) = classes_of(answer)? else { return Ok(None) };
    let (mut loss, mut probabilities) = (0.0, true);
    for (row, &class) in rows.iter().zip(&classes) {
        let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = highest + row.iter().map(|x| (x - highest).exp()).sum::<f64>().ln();
        loss += log_sum - row.get(class).copied().unwrap_or(f64::NAN);
        let sum: f64 = row.iter().sum();
        probabilities &= row.iter().all(|&x| (0.0..=1.0).contains(&x)) && (sum - 1.0).abs() < 1e-3;
    }
    let num_classes = rows.first().map_or(0, Vec::len);
    let cross_entropy = loss / classes.len().max(1) as f64;
    Ok(Some(FirstAnswer { num_classes, are_probabilities: probabilities, cross_entropy }))
}

/// The classes, and the row of logits of each.
type Classified = (Vec<usize>, Vec<Vec<f64>>);

/// The classes and the rows of logits of an answer, where it is one of classes: outputs (batch, classes), targets (batch)
/// of ids.
pub(crate) fn classes_of(answer: &Answer<'_>) -> Result<Option<Classified>> {
    let (outputs, targets) = (answer.outputs, answer.targets);
    let fits = outputs.rank() == 2 && targets.rank() == 1 && outputs.dim(0)? == targets.dim(0)?;
    if !fits || targets.dtype().is_float() || !outputs.dtype().is_float() || outputs.dim(1)? < 2 {
        return Ok(None);
    }
    let classes = targets.to_f64_vec()?;
    let width = outputs.dim(1)?;
    // A target outside the classes, such as one to be ignored, has no row.
    let rows = outputs.to_f64_vec()?;
    let pairs = classes.iter().zip(rows.chunks(width)).filter(|(class, _)| (0.0..width as f64).contains(*class));
    Ok(Some(pairs.map(|(&class, row)| (class as usize, row.to_vec())).unzip()))
}
