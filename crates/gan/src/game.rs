//! The two players: what a generator and a critic are to the training step.

use candle_core::Tensor;
use glassbox_core::{Error, Layer, Pass, Result};

use crate::{InputGradient, input_gradient};

/// Makes samples from random numbers.
pub trait Generator: Send {
    /// Random numbers that a sample is made from; 0 where it needs none.
    fn latent_size(&self) -> usize;

    /// A sample for each of `latents`, (batch, latent_size), under `condition`: the classes (batch), u32, or whatever the
    /// samples are to follow, with one entry for each of the batch.
    ///
    /// # Errors
    /// Latents or a condition that do not suit the model.
    fn generate(&self, latents: &Tensor, condition: Option<&Tensor>, pass: &Pass) -> Result<Tensor>;

    /// What is added to the generator's loss, if anything is: the distance from the real samples of the same batch, say.
    ///
    /// # Errors
    /// Shapes that do not suit the model.
    fn extra_loss(&self, fake: &Tensor, real: &Tensor, condition: Option<&Tensor>) -> Result<Option<Tensor>> {
        let _ = (fake, real, condition);
        Ok(None)
    }
}

/// A generator made of a layer (batch, latent_size) to samples, without a condition.
pub struct FromLatents<L> {
    layer: L,
    latent_size: usize,
}

impl<L: Layer> FromLatents<L> {
    /// The generator that `layer` is.
    pub fn new(layer: L, latent_size: usize) -> Self {
        Self { layer, latent_size }
    }
}

impl<L: Layer> Generator for FromLatents<L> {
    fn latent_size(&self) -> usize {
        self.latent_size
    }

    fn generate(&self, latents: &Tensor, _: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.layer.forward(latents, pass)
    }
}

/// What a critic says of samples.
pub struct Verdict {
    /// A score for each sample, or for each part of it: the higher, the more real.
    pub scores: Tensor,
    /// Logits of classes (batch, num_classes), where the critic has an auxiliary classifier.
    pub classes: Option<Tensor>,
}

impl From<Tensor> for Verdict {
    fn from(scores: Tensor) -> Self {
        Self { scores, classes: None }
    }
}

/// Tells real samples from generated ones.
///
/// Every layer with an [`InputGradient`] is one that looks at no condition, such as a [`Chain`](crate::Chain).
pub trait Critic: Send {
    /// Its verdict on samples (batch, …) under `condition`, as the generator's.
    ///
    /// # Errors
    /// Samples or a condition that do not suit the model.
    fn judge(&self, samples: &Tensor, condition: Option<&Tensor>, pass: &Pass) -> Result<Verdict>;

    /// Its verdict, and the gradient of the sum of its scores with respect to `samples`, differentiable with respect to
    /// the parameters.
    ///
    /// # Errors
    /// As [`judge`](Self::judge); a critic that has none.
    fn judge_with_gradient(
        &self,
        samples: &Tensor,
        condition: Option<&Tensor>,
        pass: &Pass,
    ) -> Result<(Verdict, Tensor)> {
        let _ = (samples, condition, pass);
        let expected = "one with an input gradient, without batch normalisation";
        Err(Error::invalid("critic under a gradient penalty", expected, "another"))
    }
}

impl<L: InputGradient> Critic for L {
    fn judge(&self, samples: &Tensor, _: Option<&Tensor>, pass: &Pass) -> Result<Verdict> {
        self.forward(samples, pass).map(Verdict::from)
    }

    fn judge_with_gradient(&self, samples: &Tensor, _: Option<&Tensor>, pass: &Pass) -> Result<(Verdict, Tensor)> {
        let (scores, gradient) = input_gradient(self, samples, pass)?;
        Ok((scores.into(), gradient))
    }
}
