//! How many tokens a language model hesitates between.

use candle_core::{DType, Tensor};
use glassbox_kernels::index::gather;

use super::classes::{read_targets, several_scores_shape};
use super::{Mean, Metric};
use crate::{Result, TensorExt};

/// `exp(−mean ln p(target))` over all tokens: the exponential of the mean cross-entropy. 1 is perfect, vocab_size is a
/// uniform guess. Every token weighs the same, however the batches are cut.
///
/// # Shapes
/// Outputs (batch, …, vocab_size) of logits with targets (batch, …) of tokens.
///
/// Reference: Jelinek et al., Perplexity, a measure of the difficulty of speech recognition tasks, 1977.
#[derive(Clone, Debug, Default)]
pub struct Perplexity {
    nats: Mean,
    ignore_index: Option<i64>,
}

impl Perplexity {
    /// Leaves out the tokens whose target is `index`, such as PyTorch's −100 of padding.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.ignore_index = Some(index);
        self
    }
}

impl Metric for Perplexity {
    fn name(&self) -> &str {
        "perplexity"
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let (samples, vocab_size) = several_scores_shape(outputs)?;
        let tokens = read_targets(samples, targets, vocab_size, self.ignore_index)?;
        if tokens.is_empty() {
            return Ok(());
        }
        for (log_probability, token) in log_probabilities(outputs, &tokens, vocab_size)?.into_iter().zip(tokens) {
            if token.is_some() {
                self.nats.update(-log_probability, 1.0);
            }
        }
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        Ok(self.nats.compute_as(self.name())?.exp())
    }

    fn reset(&mut self) {
        self.nats.reset();
    }

    fn higher_is_better(&self) -> bool {
        false
    }
}

/// The logarithm of each token's probability, computed on the outputs' device; of token 0 where it is left out.
fn log_probabilities(outputs: &Tensor, tokens: &[Option<usize>], vocab_size: usize) -> Result<Vec<f64>> {
    let dtype = if outputs.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let logits = outputs.detach().reshape((tokens.len(), vocab_size))?.to_dtype(dtype)?;
    let index: Vec<u32> = tokens.iter().map(|token| token.unwrap_or(0) as u32).collect();
    let index = Tensor::from_vec(index, (tokens.len(), 1), outputs.device())?;
    gather(&logits.log_softmax(1)?, &index, 1)?.to_f64_vec()
}
