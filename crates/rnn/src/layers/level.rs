//! One layer of a recurrent network, in one direction or both.

use candle_core::Tensor;
use glassbox_core::{Layer, LayerNorm, Pass, Result, Site, VarBuilder};

use super::cell::{Cell, Outcome};
use super::stack::StackConfig;
use super::weights::Weights;

pub(super) use super::cell::Start;

/// One layer: its parameters in each direction, and the normalisation of its outputs.
#[derive(Debug)]
pub(super) struct Level {
    forward: Weights,
    reverse: Option<Weights>,
    norm: Option<LayerNorm>,
    /// Of every layer but the last, whose output is that of all.
    site: Option<Site>,
}

impl Level {
    pub fn new(config: &StackConfig, index: usize, vb: &VarBuilder) -> Result<Self> {
        let (sizes, options) = (config.sizes(), config.options);
        let inputs = if index == 0 { sizes.input_size } else { sizes.output_size() };
        let weights = |suffix: &str| Weights::new(config, inputs, &format!("l{index}{suffix}"), vb);
        let forward = weights("")?;
        let reverse = options.bidirectional.then(|| weights("_reverse")).transpose()?;
        let norm = || LayerNorm::new(sizes.output_size(), vb.pp(format!("norm_l{index}")));
        let norm = options.layer_norm.then(norm).transpose()?;
        let site = || Site::new(vb.pp(format!("l{index}")).path(), config.cell.kind());
        let site = (index + 1 < sizes.num_layers).then(site);
        Ok(Self { forward, reverse, norm, site })
    }

    /// The layer's outputs and final states, from the states in `starts`, one for each direction, or from zeros.
    pub fn run(
        &self,
        cell: Cell,
        xs: &Tensor,
        starts: &[Start],
        lengths: Option<&[usize]>,
        pass: &Pass,
    ) -> Result<Outcome> {
        let outcome = self.recur(cell, xs, starts, lengths, pass)?;
        let (sequence, norm) = (outcome.sequence, self.norm.as_ref());
        let finish = || norm.map_or_else(|| Ok(sequence.clone()), |norm| normalise(norm, &sequence, lengths, pass));
        let sequence = match &self.site {
            Some(site) => site.run(xs, pass, finish)?,
            None => finish()?,
        };
        Ok(Outcome { sequence, ..outcome })
    }

    fn recur(
        &self,
        cell: Cell,
        xs: &Tensor,
        starts: &[Start],
        lengths: Option<&[usize]>,
        pass: &Pass,
    ) -> Result<Outcome> {
        let forward = self.forward.get(pass)?;
        match &self.reverse {
            None => cell.forward(xs, &forward.borrow(), starts.first(), lengths),
            Some(reverse) => {
                let reverse = reverse.get(pass)?;
                let starts = <&[Start; 2]>::try_from(starts).ok();
                cell.both(xs, [&forward.borrow(), &reverse.borrow()], starts, lengths)
            }
        }
    }
}

/// Layer normalisation, after which what lies beyond a sample's length is 0 again.
fn normalise(norm: &LayerNorm, xs: &Tensor, lengths: Option<&[usize]>, pass: &Pass) -> Result<Tensor> {
    let ys = norm.forward(xs, pass)?;
    let Some(lengths) = lengths else { return Ok(ys) };
    let (batch, seq_len, _) = ys.dims3()?;
    let counts = lengths.iter().flat_map(|&length| (0..seq_len).map(move |time| f32::from(time < length)));
    let counts = Tensor::from_vec(counts.collect(), (batch, seq_len, 1), ys.device())?.to_dtype(ys.dtype())?;
    Ok(ys.broadcast_mul(&counts)?)
}
