//! A model at a glance: its layers with output shapes, parameters and multiply-adds.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use crate::{Layer, ParamStore, Pass, Probe, Result, Seen};

/// What [`summary`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// One row for each layer, in the order of the forward.
    pub rows: Vec<SummaryRow>,
    /// Elements of all parameters, frozen ones included, buffers not.
    pub num_params: usize,
    /// Elements of the trainable parameters.
    pub num_trainable: usize,
}

/// One layer of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// The layer's path.
    pub path: String,
    /// Its type.
    pub kind: String,
    /// The shape of its output.
    pub output: Vec<usize>,
    /// Elements of its own parameters; those of a layer within it count there.
    pub num_params: usize,
    /// Multiply-adds of one forward of its own products.
    pub multiply_adds: u64,
}

/// Runs `model` once on zeros of shape `input` and lists its layers. `params` holds its parameters.
///
/// # Errors
/// An input that does not suit the model.
///
/// ```
/// use candle_core::Device;
/// use glassbox_core::{Mlp, MlpConfig, ParamStore, Seed, summary};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = MlpConfig { in_features: 8, hidden: vec![16], out_features: 2, ..Default::default() };
/// let model = Mlp::new(config, params.root())?;
/// println!("{}", summary(&model, &params, &[1, 8])?);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn summary(model: &dyn Layer, params: &ParamStore, input: &[usize]) -> Result<Summary> {
    summary_of(model, params, &Tensor::zeros(input, params.dtype(), params.device())?)
}

/// [`summary`] for an input of any type, such as token ids.
///
/// # Errors
/// An input that does not suit the model.
pub fn summary_of(model: &dyn Layer, params: &ParamStore, input: &Tensor) -> Result<Summary> {
    let recorder = Arc::new(Recorder::default());
    model.forward(input, &Pass::eval().with_probe(recorder.clone()))?;
    let mut rows = recorder.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for param in params.all().iter().filter(|p| p.kind() != crate::Kind::Buffer) {
        // The innermost layer that holds it; a layer that runs twice counts its parameters once.
        let holds =
            |row: &&mut SummaryRow| param.name().strip_prefix(&row.path).is_some_and(|rest| rest.starts_with('.'));
        let owner = rows.iter_mut().filter(holds).reduce(|a, b| if b.path.len() > a.path.len() { b } else { a });
        match owner {
            Some(row) => row.num_params += param.elem_count(),
            None => rows.push(SummaryRow {
                path: param.name().to_string(),
                kind: "parameter".into(),
                output: vec![],
                num_params: param.elem_count(),
                multiply_adds: 0,
            }),
        }
    }
    Ok(Summary { rows, num_params: params.num_params(), num_trainable: params.num_trainable() })
}

#[derive(Default)]
struct Recorder {
    rows: Mutex<Vec<SummaryRow>>,
}

impl Probe for Recorder {
    fn output(&self, seen: &Seen<'_>) -> Result<()> {
        let row = SummaryRow {
            path: seen.path.to_string(),
            kind: seen.kind.to_string(),
            output: seen.output.dims().to_vec(),
            num_params: 0,
            multiply_adds: seen.multiply_adds,
        };
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["layer", "type", "output", "parameters", "multiply-adds"].map(String::from);
        let mut table = vec![header];
        table.extend(self.rows.iter().map(|row| {
            let output = if row.output.is_empty() { String::new() } else { format!("{:?}", row.output) };
            [row.path.clone(), row.kind.clone(), output, grouped(row.num_params as u64), grouped(row.multiply_adds)]
        }));
        let widths: [usize; 5] =
            std::array::from_fn(|c| table.iter().map(|row| row[c].chars().count()).max().unwrap_or(0));
        let rule = "─".repeat(widths.iter().sum::<usize>() + 8);
        for (i, [layer, kind, output, params, adds]) in table.iter().enumerate() {
            let [a, b, c, d, e] = widths;
            writeln!(f, "{layer:a$}  {kind:b$}  {output:c$}  {params:>d$}  {adds:>e$}")?;
            if i == 0 {
                writeln!(f, "{rule}")?;
            }
        }
        let adds = self.rows.iter().map(|row| row.multiply_adds).sum();
        let (all, trainable) = (grouped(self.num_params as u64), grouped(self.num_trainable as u64));
        write!(f, "{rule}\n{all} parameters, {trainable} trainable; {} multiply-adds", grouped(adds))
    }
}

/// Digits in groups of three: 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}
