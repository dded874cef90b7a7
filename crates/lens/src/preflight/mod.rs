//! What can be known before training: whether it can learn at all, and how fast.

mod figures;
mod independence;
mod learning_rate;
mod saved;
mod trial;

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;
use glassbox_core::{Batch, Layer, Loss, ParamStore, Pass, Result, Summary, TensorExt, summary_of};

use crate::record::{Recorder, Shown};
use crate::report::Figure;
use crate::rules::{Certainty, Finding, number};

pub use learning_rate::RateRange;
pub(crate) use saved::Saved;

const KARPATHY: &str = "Karpathy, A Recipe for Training Neural Networks (2019)";

/// What is looked at before training, and how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PreflightConfig {
    /// Steps in which one batch is overfitted, and in which the baseline learns.
    pub overfit_steps: usize,
    /// Learning rate of these steps, by AdamW.
    pub learning_rate: f64,
    /// Whether the model is one whose outputs (batch, seq_len, …) may depend on earlier inputs only.
    pub causal: bool,
    /// Steps of the learning-rate range test; 0 leaves it out.
    pub range_steps: usize,
}

impl Default for PreflightConfig {
    fn default() -> Self {
        Self { overfit_steps: 100, learning_rate: 3e-3, causal: false, range_steps: 100 }
    }
}

/// What [`preflight`] found.
#[derive(Clone, Debug)]
pub struct Preflight {
    /// The model's layers.
    pub summary: Summary,
    /// The loss of the batch before training.
    pub initial_loss: f64,
    /// The loss of a model that knows nothing: ln(classes), for classes. None for other targets.
    pub expected_loss: Option<f64>,
    /// The loss of the batch after training on it alone.
    pub overfitted_loss: f64,
    /// The same, with every input 0: what can be learned without looking.
    pub baseline_loss: f64,
    /// Samples on which another sample's output depends, as pairs (output, input).
    pub leaks: Vec<(usize, usize)>,
    /// Positions whose output depends on a later input, as pairs (output, input).
    pub looks_ahead: Vec<(usize, usize)>,
    /// The learning-rate range test, where it was made.
    pub range: Option<RateRange>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    shown: Vec<Shown>,
}

/// Looks at a model before training: its layers, the loss at the start, whether it overfits one batch and does so by looking
/// at its inputs, whether samples or positions leak into each other, what the first layer is given, and which learning rate
/// suits it.
///
/// Afterwards parameters and buffers are what they were, to the bit; no random stream and no optimizer of yours is touched.
///
/// # Errors
/// A batch that does not suit the model or the loss.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::loss::CrossEntropy;
/// use glassbox_core::{Batch, Mlp, MlpConfig, ParamStore, Seed};
/// use glassbox_lens::preflight;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = MlpConfig { in_features: 4, hidden: vec![16], out_features: 3, ..Default::default() };
/// let model = Mlp::new(config, params.root())?;
/// let input = Seed(2).rng().normal_tensor((12, 4), 0.0, 1.0, DType::F32, &Device::Cpu)?;
/// let target = Tensor::from_vec((0..12).map(|i| i % 3).collect::<Vec<u32>>(), 12, &Device::Cpu)?;
/// let found = preflight(&model, &CrossEntropy::default(), &params, &Batch { input, target }, Default::default())?;
/// println!("{found}");
/// assert!((found.initial_loss - 3f64.ln()).abs() < 0.5 && found.leaks.is_empty());
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn preflight(
    model: &dyn Layer,
    loss: &dyn Loss,
    params: &ParamStore,
    batch: &Batch,
    config: PreflightConfig,
) -> Result<Preflight> {
    let saved = Saved::new(params)?;
    let found = look(model, loss, params, batch, config, &saved);
    // Whatever happened, the model is given back as it was.
    saved.restore(params)?;
    found
}

fn look(
    model: &dyn Layer,
    loss: &dyn Loss,
    params: &ParamStore,
    batch: &Batch,
    config: PreflightConfig,
    saved: &Saved,
) -> Result<Preflight> {
    let trial = trial::Trial { model, loss, params, batch };
    let summary = summary_of(model, params, &batch.input.narrow(0, 0, 1)?)?;
    let recorder = Arc::new(Recorder::default());
    let outputs = model.forward(&batch.input, &Pass::eval().with_probe(recorder.clone()))?;
    let shown = recorder.finish(&[])?.shown;
    let initial_loss = loss.forward(&outputs, &batch.target)?.to_f64()?;
    let leaks = independence::across_batch(model, &batch.input)?;
    let looks_ahead = if config.causal { independence::ahead(model, &batch.input)? } else { vec![] };
    let overfitted_loss = trial.overfit(config.overfit_steps, config.learning_rate, false)?;
    saved.restore(params)?;
    let baseline_loss = trial.overfit(config.overfit_steps, config.learning_rate, true)?;
    saved.restore(params)?;
    let range = match config.range_steps {
        0 => None,
        steps => Some(learning_rate::range(&trial, steps)?),
    };
    let expected_loss = expected(&outputs, &batch.target);
    let findings = vec![];
    let mut found = Preflight {
        summary,
        initial_loss,
        expected_loss,
        overfitted_loss,
        baseline_loss,
        leaks,
        looks_ahead,
        range,
        findings,
        shown,
    };
    found.findings = found.judge();
    Ok(found)
}

/// ln(classes), where the targets are ids and the outputs have one more dimension.
fn expected(outputs: &Tensor, targets: &Tensor) -> Option<f64> {
    let classes = *outputs.dims().last()?;
    let fits = !targets.dtype().is_float() && outputs.rank() == targets.rank() + 1 && classes > 1;
    fits.then(|| (classes as f64).ln())
}

impl Preflight {
    /// Figures for the report.
    pub fn figures(&self) -> Vec<Figure> {
        figures::all(self)
    }

    fn judge(&self) -> Vec<Finding> {
        let mut findings = vec![];
        let mut add = |finding: Finding| findings.push(finding.beyond_if_empty(KARPATHY));
        if let Some(expected) = self.expected_loss.filter(|&e| (self.initial_loss - e).abs() > (0.5 * e).max(1.0)) {
            let evidence =
                format!("the first loss is {}, guessing gives {}", number(self.initial_loss), number(expected));
            let finding = Finding::new("initial_loss", 0, evidence, self.initial_loss).certainty(Certainty::Possible);
            add(finding
                .beyond("ln(classes), give or take half of it", KARPATHY)
                .advise("Smaller weights in the last layer."));
        }
        // NaN is not learned either.
        if self.overfitted_loss.is_nan() || self.overfitted_loss >= 0.3 * self.initial_loss.abs() {
            let (from, to) = (number(self.initial_loss), number(self.overfitted_loss));
            let evidence = format!("one batch cannot be learned by heart: its loss goes from {from} to {to}");
            let finding = Finding::new("overfit_one_batch", 0, evidence, self.overfitted_loss);
            add(finding.beyond("below 0.3 of the first loss", KARPATHY).advise(
                "Look for labels in another order, dead units, a layer without gradient, or a network too small.",
            ));
        }
        if self.overfitted_loss > 0.8 * self.baseline_loss {
            let evidence = format!(
                "with every input 0 the loss comes to {}, with the true ones to {}",
                number(self.baseline_loss),
                number(self.overfitted_loss)
            );
            let finding = Finding::new("input_independent", 0, evidence, self.baseline_loss);
            add(finding.beyond("clearly worse without inputs", KARPATHY).advise(
                "The inputs do not arrive: are they constant, of the wrong scale, or cut off before the head?",
            ));
        }
        if let Some((output, input)) = self.leaks.first() {
            let evidence = format!("the output of sample {output} depends on the input of sample {input}");
            let finding = Finding::new("leak_across_batch", 0, evidence, self.leaks.len() as f64);
            add(finding
                .beyond("a gradient of exactly 0", KARPATHY)
                .advise("Look for a reshape that mixes the batch with another dimension.")
                .certainty(Certainty::Certain));
        }
        if let Some((output, input)) = self.looks_ahead.first() {
            let evidence = format!("the output at position {output} depends on the later input {input}");
            let finding = Finding::new("looks_ahead", 0, evidence, self.looks_ahead.len() as f64);
            add(finding
                .beyond("a gradient of exactly 0", KARPATHY)
                .advise("The causal mask is missing or off by one, or a layer runs in both directions.")
                .certainty(Certainty::Certain));
        }
        findings
    }
}

impl Finding {
    fn beyond_if_empty(self, source: &str) -> Self {
        if self.source.is_empty() { Self { source: source.into(), ..self } } else { self }
    }
}

impl fmt::Display for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = self.expected_loss.map(|e| format!(" (guessing: {})", number(e))).unwrap_or_default();
        writeln!(f, "loss before training     {}{expected}", number(self.initial_loss))?;
        writeln!(f, "one batch overfitted     {}", number(self.overfitted_loss))?;
        writeln!(f, "the same without inputs  {}", number(self.baseline_loss))?;
        if let Some(range) = &self.range {
            let rate = range.suggestion.map_or_else(|| "none found".into(), number);
            writeln!(f, "suggested learning rate  {rate}")?;
        }
        for finding in &self.findings {
            writeln!(f, "warning: {finding}")?;
        }
        if self.findings.is_empty() {
            writeln!(f, "nothing to object to")?;
        }
        Ok(())
    }
}
