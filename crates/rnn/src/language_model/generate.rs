//! Token after token from a trained model.

use candle_core::{Device, Tensor};
use glassbox_core::{Error, Pass, Result, Sampling, TokenSampler};

use super::LanguageModel;
use crate::NetworkState;

/// Tokens that a [`LanguageModel`] goes on with, without end; it ends after an error. From
/// [`LanguageModel::generate`].
#[derive(Debug)]
pub struct GeneratedTokens<'a> {
    model: &'a LanguageModel,
    device: Device,
    sampler: TokenSampler,
    state: Option<NetworkState>,
    /// What is to be read before the next token is drawn; nothing after an error.
    unread: Vec<u32>,
}

impl<'a> GeneratedTokens<'a> {
    pub(super) fn new(model: &'a LanguageModel, prompt: &[u32], sampling: &Sampling) -> Result<Self> {
        let vocab_size = model.config().vocab_size;
        if prompt.is_empty() {
            return Err(Error::invalid("prompt", "at least one token", "none"));
        }
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::invalid("token of the prompt", format!("an id below vocab_size {vocab_size}"), id));
        }
        let (device, sampler) = (model.device(), sampling.sampler()?);
        Ok(Self { model, device, sampler, state: None, unread: prompt.to_vec() })
    }

    fn draw(&mut self) -> Result<u32> {
        let unread = std::mem::take(&mut self.unread);
        let ids = Tensor::new(unread.as_slice(), &self.device)?.unsqueeze(0)?;
        let (logits, state) = self.model.forward_with(&ids, self.state.as_ref(), &Pass::eval())?;
        let token = self.sampler.sample(&logits.get(0)?.get(unread.len() - 1)?)?;
        self.state = Some(state);
        self.unread = vec![token];
        Ok(token)
    }
}

impl Iterator for GeneratedTokens<'_> {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.unread.is_empty()).then(|| self.draw())
    }
}
