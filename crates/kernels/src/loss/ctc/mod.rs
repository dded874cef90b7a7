//! Connectionist temporal classification: the loss of a label sequence whose alignment with the input is unknown.

mod lattice;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};

use super::Reduction;
use crate::Result;
use crate::cpu::{
    Float, apply1, by_float, copy_rows, is_fused, map_ids, output, tensor, values, with_values, zero_rows,
};
use lattice::Lattice;

/// How the loss reads its inputs, and how it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct CtcParams<'a> {
    /// The number of valid time steps of each sample, from 1 to `seq_len`; all of them by default.
    pub input_lengths: Option<&'a [usize]>,
    /// The number of labels of each sample, from 0 to `max_target_len`; all of them by default.
    pub target_lengths: Option<&'a [usize]>,
    /// The class that stands for no label; 0 by default.
    pub blank: usize,
    /// Whether a sample whose loss is infinite, since its target fits no path, counts 0 and has no gradient.
    pub zero_infinity: bool,
    /// How the losses of the samples become one. The mean divides each by the number of its labels (by 1 without labels)
    /// and the sum by the number of samples.
    pub reduction: Reduction,
}

/// The negative logarithm of the probability of each sample's labels, over all their alignments with the time steps
/// (connectionist temporal classification; Graves et al. 2006), reduced.
///
/// A path takes one class at each step with probability softmax(logits); it spells what is left once repeated classes are
/// merged and then blanks removed. The loss is −ln(sum over the paths that spell the target of their probabilities), by
/// the forward-backward algorithm in the log domain. The gradient with respect to a logit is softmax less the posterior
/// probability of its class at its step, made in the forward where it is wanted; it is 0 beyond a sample's length.
///
/// Log-probabilities are logits as well: with them the loss and its gradient are the same as PyTorch's, whose `ctc_loss`
/// takes them alone, and in the layout (time, batch, classes).
///
/// On another device than the CPU, and for half types, the loss is computed on the CPU in f32.
///
/// # Shapes
/// `logits` (batch, seq_len, classes); `targets` (batch, max_target_len), u32 or i64, whatever beyond a sample's length.
/// Returns a scalar, or (batch) without a reduction.
///
/// # Errors
/// Where shapes or lengths disagree, a length of an input is 0, a label is the blank or no class, or a target needs more
/// steps than its sample has (its labels, and one for each that equals the one before), unless `zero_infinity` is set.
/// In PyTorch such a sample's loss is infinite.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_kernels::loss::{CtcParams, ctc};
///
/// # fn main() -> candle_core::Result<()> {
/// // Two steps, two classes, all paths alike: three of the four spell the label 1.
/// let logits = Tensor::zeros((1, 2, 2), DType::F32, &Device::Cpu)?;
/// let targets = Tensor::new(&[[1u32]], &Device::Cpu)?;
/// let loss = ctc(&logits, &targets, &CtcParams::default())?.to_scalar::<f32>()?;
/// assert!((loss + 0.75f32.ln()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub fn ctc(logits: &Tensor, targets: &Tensor, params: &CtcParams) -> Result<Tensor> {
    let op = Ctc::new(logits, targets, params)?;
    if is_fused(logits) {
        return apply1(logits, op);
    }
    if !logits.dtype().is_float() {
        candle_core::bail!("ctc: expected logits of a float type, got {:?}", logits.dtype());
    }
    let on_cpu = logits.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    apply1(&on_cpu, op)?.to_dtype(logits.dtype())?.to_device(logits.device())
}

/// What one sample must spell, in how many steps.
struct Sample {
    labels: Vec<u32>,
    num_steps: usize,
}

impl Sample {
    /// The fewest steps that spell the labels: equal neighbours need a blank between them.
    fn steps_needed(&self) -> usize {
        self.labels.len() + self.labels.windows(2).filter(|pair| pair[0] == pair[1]).count()
    }
}

/// All but the logits.
struct Ctc {
    samples: Vec<Sample>,
    seq_len: usize,
    classes: usize,
    blank: u32,
    zero_infinity: bool,
    reduction: Reduction,
    /// Whether the logits' gradient is wanted.
    wanted: bool,
    /// Of every sample's loss with respect to the logits, which forward leaves for backward.
    gradient: OnceLock<Tensor>,
}

impl Ctc {
    fn new(logits: &Tensor, targets: &Tensor, params: &CtcParams) -> Result<Self> {
        let &[batch, seq_len, classes] = logits.dims() else {
            candle_core::bail!("ctc: expected logits (batch, seq_len, classes), got {:?}", logits.dims());
        };
        if params.blank >= classes || u32::try_from(classes).is_err() {
            candle_core::bail!("ctc: expected a blank below {classes}, the number of classes, got {}", params.blank);
        }
        let max_target_len = match *targets.dims() {
            [samples, len] if samples == batch => len,
            _ => candle_core::bail!("ctc: expected targets ({batch}, max_target_len), got {:?}", targets.dims()),
        };
        let steps = lengths("input_lengths", params.input_lengths, batch, 1, seq_len)?;
        let num_labels = lengths("target_lengths", params.target_lengths, batch, 0, max_target_len)?;
        let op = Self {
            samples: samples(targets, &num_labels, &steps, params.blank, classes)?,
            seq_len,
            classes,
            blank: params.blank as u32,
            zero_infinity: params.zero_infinity,
            reduction: params.reduction,
            wanted: logits.track_op(),
            gradient: OnceLock::new(),
        };
        if !params.zero_infinity {
            op.check_room()?;
        }
        Ok(op)
    }

    /// Fails where a target fits no path.
    fn check_room(&self) -> Result<()> {
        for (i, sample) in self.samples.iter().enumerate() {
            let (needed, steps) = (sample.steps_needed(), sample.num_steps);
            if needed > steps {
                let labels = sample.labels.len();
                candle_core::bail!(
                    "ctc: sample {i}: expected at least {needed} steps for its {labels} labels, got {steps}"
                );
            }
        }
        Ok(())
    }

    /// What sample `i`'s loss is multiplied by where they are reduced.
    fn scale(&self, i: usize) -> f64 {
        match self.reduction {
            Reduction::Mean => 1.0 / (self.samples.len() * self.samples[i].labels.len().max(1)) as f64,
            Reduction::Sum | Reduction::None => 1.0,
        }
    }

    /// The loss of every sample and, where it is wanted, its gradient.
    fn forward<T: Float>(&self, logits: &[T]) -> (Vec<T>, Vec<f64>) {
        let plane = self.seq_len * self.classes;
        let loss = |i: usize, gradient: &mut [T]| self.one(&self.samples[i], &logits[i * plane..][..plane], gradient);
        if self.wanted {
            return zero_rows(self.samples.len() * plane, plane, loss);
        }
        use rayon::prelude::*;
        (vec![], (0..self.samples.len()).into_par_iter().map(|i| loss(i, &mut [])).collect())
    }

    /// The loss of one sample. Its gradient is added to `gradient`, zeros, unless that is empty.
    fn one<T: Float>(&self, sample: &Sample, logits: &[T], gradient: &mut [T]) -> f64 {
        let valid = sample.num_steps * self.classes;
        let gradient = if gradient.is_empty() { gradient } else { &mut gradient[..valid] };
        let loss = if sample.steps_needed() > sample.num_steps {
            f64::INFINITY
        } else {
            Lattice::new(&logits[..valid], self.classes, self.blank, &sample.labels).loss(gradient)
        };
        if loss != f64::INFINITY {
            return loss;
        }
        if self.zero_infinity {
            return 0.0;
        }
        gradient.fill(T::from_f64(f64::NAN));
        loss
    }
}

/// The lengths, each from `min` to `max`, which is also every length where none are given.
fn lengths(name: &str, lengths: Option<&[usize]>, batch: usize, min: usize, max: usize) -> Result<Vec<usize>> {
    let lengths = lengths.map_or_else(|| vec![max; batch], <[usize]>::to_vec);
    if lengths.len() != batch {
        candle_core::bail!("ctc: expected {batch} {name}, got {}", lengths.len());
    }
    match lengths.iter().enumerate().find(|(_, len)| !(min..=max).contains(*len)) {
        Some((i, len)) => candle_core::bail!("ctc: sample {i}: expected {name} from {min} to {max}, got {len}"),
        None => Ok(lengths),
    }
}

/// The samples, their labels checked.
fn samples(
    targets: &Tensor,
    num_labels: &[usize],
    steps: &[usize],
    blank: usize,
    classes: usize,
) -> Result<Vec<Sample>> {
    let row_len = targets.dim(1)?;
    let labels = map_ids("ctc", targets, |place, id| {
        let (sample, position) = (place / row_len, place % row_len);
        match u32::try_from(id) {
            _ if position >= num_labels[sample] => Ok(0),
            Ok(label) if (label as usize) < classes && label as usize != blank => Ok(label),
            _ => candle_core::bail!(
                "ctc: sample {sample}, label {position}: expected one of {classes} classes but the blank {blank}, got {id}"
            ),
        }
    })?;
    let sample = |(i, (&len, &num_steps)): (usize, (&usize, &usize))| Sample {
        labels: labels[i * row_len..][..len].to_vec(),
        num_steps,
    };
    Ok(num_labels.iter().zip(steps).enumerate().map(sample).collect())
}

impl CustomOp1 for Ctc {
    fn name(&self) -> &'static str {
        "ctc"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!("ctc", logits.dtype(), T => {
            let (gradient, losses) = self.forward(&values::<T>(logits, layout)?);
            if self.wanted {
                // Another forward with the same op would find the same values.
                let _ = self.gradient.set(tensor(gradient, layout.shape())?);
            }
            Ok(match self.reduction {
                Reduction::None => output(losses.into_iter().map(T::from_f64).collect(), self.samples.len()),
                Reduction::Sum | Reduction::Mean => {
                    let total: f64 = losses.iter().enumerate().map(|(i, loss)| loss * self.scale(i)).sum();
                    output(vec![T::from_f64(total)], ())
                }
            })
        })
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !logits.track_op() {
            return Ok(None);
        }
        let Some(saved) = self.gradient.get() else {
            candle_core::bail!("ctc: backward before forward");
        };
        by_float!("ctc", logits.dtype(), T => with_values::<T, _, 2>([saved, grad], |[saved, g]| {
            let (gradient, _) = copy_rows(saved, self.seq_len * self.classes, |i, row| {
                let g = if self.reduction == Reduction::None { g[i] } else { g[0] };
                let factor = g * T::from_f64(self.scale(i));
                row.iter_mut().for_each(|x| *x *= factor);
            });
            tensor(gradient, logits.shape()).map(Some)
        }))
    }
}
