//! From the logits of a model trained with [`Ctc`](crate::Ctc) to labels.

mod beam;
mod trie;

pub use beam::{CtcBeamSearch, PrefixScorer};

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Error, Result, TensorExt};

/// Labels read from a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct CtcHypothesis {
    /// The labels, without blanks.
    pub labels: Vec<u32>,
    /// The logarithm of the probability of these labels, as far as the decoder summed it: greedy decoding that of its one
    /// path, beam search that of all paths that it kept.
    pub log_prob: f64,
    /// What the decoder made large: `log_prob`, with the [`PrefixScorer`]'s scores where there is one.
    pub score: f64,
}

/// The labels that the most probable path of each sample spells: the best class of every step, repeated ones merged, then
/// blanks removed. Of classes that are equal the first is taken.
///
/// # Shapes
/// `logits` (batch, seq_len, classes), or log-probabilities; `lengths` are the samples' numbers of steps, from 0 to
/// `seq_len`, all by default. Returns one hypothesis for each sample.
///
/// # Errors
/// Shapes or lengths that disagree; a blank that is no class; logits that are not numbers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_rnn::ctc_greedy;
///
/// let logits = Tensor::new(&[[[0f32, 5.0, 0.0], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 5.0]]], &Device::Cpu)?;
/// assert_eq!(ctc_greedy(&logits, None, 0)?[0].labels, [1, 2]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn ctc_greedy(logits: &Tensor, lengths: Option<&[usize]>, blank: usize) -> Result<Vec<CtcHypothesis>> {
    let samples = log_probs(logits, lengths, blank)?;
    Ok(samples.iter().map(|steps| best_path(steps, blank)).collect())
}

fn best_path(steps: &[Vec<f64>], blank: usize) -> CtcHypothesis {
    let (mut labels, mut log_prob, mut before) = (vec![], 0.0, blank);
    for step in steps {
        let first_best = |best: (usize, f64), class: (usize, f64)| if class.1 > best.1 { class } else { best };
        let (class, best) = step.iter().copied().enumerate().fold((blank, f64::NEG_INFINITY), first_best);
        if class != before && class != blank {
            labels.push(class as u32);
        }
        (before, log_prob) = (class, log_prob + best);
    }
    CtcHypothesis { labels, log_prob, score: log_prob }
}

/// The log-probabilities of every sample, step by step, as far as the sample goes.
fn log_probs(logits: &Tensor, lengths: Option<&[usize]>, blank: usize) -> Result<Vec<Vec<Vec<f64>>>> {
    logits.expect_rank(3, "(batch, seq_len, classes)")?;
    let (batch, seq_len, classes) = logits.dims3()?;
    if blank >= classes || u32::try_from(classes).is_err() {
        return Err(Error::invalid("blank", format!("one of {classes} classes"), blank));
    }
    if let Some(lengths) = lengths.filter(|lengths| lengths.len() != batch) {
        return Err(Error::invalid("lengths", format!("{batch}, one for each sample"), lengths.len()));
    }
    let double = logits.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let mut samples = double.log_softmax(2)?.to_vec3::<f64>()?;
    for (i, &length) in lengths.unwrap_or_default().iter().enumerate() {
        if length > seq_len {
            return Err(Error::invalid(format!("length of sample {i}"), format!("at most {seq_len}"), length));
        }
        samples[i].truncate(length);
    }
    match samples.iter().position(|steps| steps.iter().flatten().any(|x| x.is_nan())) {
        Some(i) => Err(Error::invalid(format!("logits of sample {i}"), "numbers", "NaN")),
        None => Ok(samples),
    }
}

#[cfg(test)]
mod tests;
