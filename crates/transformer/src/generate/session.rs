//! A model in the middle of a batch of texts.

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Error, Pass, Result};

use super::GenerateConfig;
use crate::attention::Cache;
use crate::model::{CausalLm, EncoderDecoder};

/// Who writes.
enum Model<'a> {
    Alone(&'a dyn CausalLm),
    Of { model: &'a dyn EncoderDecoder, source: Tensor, source_mask: Option<Tensor> },
}

/// A batch of texts, each with its prompt, and what the model keeps of them.
pub(super) struct Session<'a> {
    model: Model<'a>,
    cache: Option<Cache>,
    rows: Vec<Row>,
    /// Tokens of every row, padding included, that the cache holds.
    cached: usize,
    pub vocab_size: usize,
    pub eos: Vec<u32>,
    /// New tokens that there is room for, up to `max_new_tokens`.
    pub max_new_tokens: usize,
    pass: Pass,
}

#[derive(Clone)]
struct Row {
    /// What fills it up on the left.
    padding: usize,
    prompt: usize,
    /// The prompt and what was written.
    text: Vec<u32>,
}

impl<'a> Session<'a> {
    /// At the end of the prompts.
    pub fn after(model: &'a dyn CausalLm, prompts: &[impl AsRef<[u32]>], config: &GenerateConfig) -> Result<Self> {
        let vocab_size = model.vocab_size();
        let longest = longest("prompt", prompts)?;
        let ids = prompts.iter().flat_map(|prompt| prompt.as_ref());
        if let Some(id) = ids.into_iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::invalid("token of the prompt", format!("an id below vocab_size {vocab_size}"), id));
        }
        let row = |text: &[u32]| Row { padding: longest - text.len(), prompt: text.len(), text: text.to_vec() };
        let rows = prompts.iter().map(|prompt| row(prompt.as_ref())).collect();
        let limits = (vocab_size, model.max_positions(), longest);
        let cache = config.use_cache.then(|| model.new_cache());
        Self::new(Model::Alone(model), rows, cache, model.eos_token_ids(), limits, config)
    }

    /// At the start of the targets.
    pub fn of(model: &'a dyn EncoderDecoder, sources: &[impl AsRef<[u32]>], config: &GenerateConfig) -> Result<Self> {
        let longest = longest("source", sources)?;
        let is_padded = sources.iter().any(|source| source.as_ref().len() < longest);
        let filled = |value: fn(u32) -> u32| -> Result<Tensor> {
            let mut all = Vec::with_capacity(sources.len() * longest);
            for source in sources {
                all.extend(source.as_ref().iter().map(|&id| value(id)));
                all.resize(all.len() + longest - source.as_ref().len(), 0);
            }
            Ok(Tensor::from_vec(all, (sources.len(), longest), &Device::Cpu)?)
        };
        let source_mask = is_padded.then(|| filled(|_| 1)).transpose()?;
        let pass = Pass::eval();
        let source = model.encode(&filled(|id| id)?, source_mask.as_ref(), &pass)?;
        let row = Row { padding: 0, prompt: 1, text: vec![model.start_token_id()] };
        let limits = (model.vocab_size(), model.max_target_positions(), 1);
        let cache = config.use_cache.then(|| model.new_cache());
        let (rows, eos) = (vec![row; sources.len()], model.eos_token_ids());
        Self::new(Model::Of { model, source, source_mask }, rows, cache, eos, limits, config)
    }

    fn new(
        model: Model<'a>,
        rows: Vec<Row>,
        cache: Option<Cache>,
        eos: &[u32],
        (vocab_size, max_positions, longest): (usize, Option<usize>, usize),
        config: &GenerateConfig,
    ) -> Result<Self> {
        config.check(vocab_size)?;
        // The last token is never read.
        let room = max_positions.map_or(usize::MAX, |positions| (positions + 1).saturating_sub(longest));
        if room == 0 {
            let expected = format!("at most {} tokens, the model's context", max_positions.unwrap_or(0));
            return Err(Error::invalid("prompt", expected, longest));
        }
        let eos = config.eos_token_ids.clone().unwrap_or_else(|| eos.to_vec());
        let max_new_tokens = config.max_new_tokens.min(room);
        Ok(Self { model, cache, rows, cached: 0, vocab_size, eos, max_new_tokens, pass: Pass::eval() })
    }

    pub fn num_rows(&self) -> usize {
        self.rows.len()
    }

    /// The prompt of a row and what was written after it.
    pub fn text(&self, row: usize) -> &[u32] {
        &self.rows[row].text
    }

    /// What was written in a row.
    pub fn written(&self, row: usize) -> &[u32] {
        let Row { prompt, text, .. } = &self.rows[row];
        &text[*prompt..]
    }

    /// The logits of the next token of each row, one row after another: vocab_size each.
    pub fn logits(&mut self) -> Result<Vec<f32>> {
        let Some(first) = self.rows.first() else { return Ok(vec![]) };
        let total = first.padding + first.text.len();
        let (count, len) = (self.rows.len(), total - self.cached);
        let mut ids = Vec::with_capacity(count * len);
        for Row { padding, text, .. } in &self.rows {
            ids.resize(ids.len() + padding.saturating_sub(self.cached), 0);
            ids.extend_from_slice(&text[self.cached.saturating_sub(*padding)..]);
        }
        let ids = Tensor::from_vec(ids, (count, len), &Device::Cpu)?;
        let mask = self.mask(total)?;
        let logits = match &self.model {
            Model::Alone(model) => model.forward(&ids, mask.as_ref(), self.cache.as_mut(), &self.pass)?,
            Model::Of { model, source, source_mask } => {
                model.decode(&ids, source, source_mask.as_ref(), self.cache.as_mut(), &self.pass)?
            }
        };
        if logits.dims() != [count, len, self.vocab_size] {
            let expected = format!("({count}, {len}, {})", self.vocab_size);
            return Err(Error::invalid("logits of the model", expected, format!("{:?}", logits.dims())));
        }
        if self.cache.is_some() {
            self.cached = total;
        }
        Ok(logits.narrow(1, len - 1, 1)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
    }

    /// (rows, total), 0 where there is padding; none where there is no padding.
    fn mask(&self, total: usize) -> Result<Option<Tensor>> {
        if self.rows.iter().all(|row| row.padding == 0) {
            return Ok(None);
        }
        let row = |row: &Row| (0..total).map(move |place| u8::from(place >= row.padding)).collect::<Vec<_>>();
        let all: Vec<u8> = self.rows.iter().flat_map(row).collect();
        Ok(Some(Tensor::from_vec(all, (self.rows.len(), total), &Device::Cpu)?))
    }

    /// Goes on with these rows, in this order, each with one more token; a row may be there several times, or not at all.
    pub fn go_on(&mut self, next: &[(usize, u32)]) -> Result<()> {
        let parents: Vec<u32> = next.iter().map(|&(row, _)| row as u32).collect();
        let is_the_same = parents.len() == self.rows.len() && (0..).zip(&parents).all(|(place, &row)| place == row);
        if !is_the_same && !parents.is_empty() {
            self.cache = self.cache.take().map(|cache| cache.select(&parents)).transpose()?;
            if let Model::Of { source, source_mask, .. } = &mut self.model {
                let rows = Tensor::new(parents.as_slice(), source.device())?;
                *source = source.index_select(&rows, 0)?;
                *source_mask =
                    source_mask.take().map(|mask| mask.index_select(&rows.to_device(mask.device())?, 0)).transpose()?;
            }
        }
        if !is_the_same {
            self.rows = next.iter().map(|&(row, _)| self.rows[row].clone()).collect();
        }
        self.rows.iter_mut().zip(next).for_each(|(row, &(_, token))| row.text.push(token));
        Ok(())
    }
}

/// The length of the longest of `texts`.
fn longest(what: &str, texts: &[impl AsRef<[u32]>]) -> Result<usize> {
    if texts.is_empty() || texts.iter().any(|text| text.as_ref().is_empty()) {
        let got = if texts.is_empty() { format!("no {what}") } else { format!("an empty {what}") };
        return Err(Error::invalid(what, "at least one token", got));
    }
    Ok(texts.iter().map(|text| text.as_ref().len()).max().unwrap_or(0))
}
