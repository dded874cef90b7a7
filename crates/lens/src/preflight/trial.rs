//! Training for a few steps, to be undone.

use candle_core::Tensor;
use glassbox_core::optim::AdamW;
use glassbox_core::{Batch, Gradients, Layer, Loss, Optimizer, ParamStore, Pass, Result, TensorExt};

/// A model and the batch that it is tried on.
pub(super) struct Trial<'a> {
    pub model: &'a dyn Layer,
    pub loss: &'a dyn Loss,
    pub params: &'a ParamStore,
    pub batch: &'a Batch,
}

impl Trial<'_> {
    /// The loss of `input`, without regularisation: dropout and batch statistics as in evaluation.
    pub fn loss_of(&self, input: &Tensor) -> Result<Tensor> {
        let outputs = self.model.forward(input, &Pass::eval().with_gradients())?;
        self.loss.forward(&outputs, &self.batch.target)
    }

    /// The loss of the batch after `steps` steps on it, with zeros in place of its inputs where `blind`.
    pub fn overfit(&self, steps: usize, learning_rate: f64, blind: bool) -> Result<f64> {
        let input = if blind { self.batch.input.zeros_like()? } else { self.batch.input.clone() };
        let mut optimizer = AdamW::new(self.params, learning_rate)?.weight_decay(0.0);
        for _ in 0..steps {
            let loss = self.loss_of(&input)?;
            if !loss.to_f64()?.is_finite() {
                break;
            }
            optimizer.step(&Gradients::of(&loss, self.params)?, 1.0)?;
        }
        self.loss_of(&input)?.to_f64()
    }
}
