//! From a window to the steps after it.

use candle_core::Tensor;
use glassbox_core::{Activation, Dropout, Error, Init, Layer, Linear, Param, Pass, Result, VarBuilder, concat};
use glassbox_kernels::graph::reshape;

use super::ForecasterConfig;
use crate::layers::expect_positive;
use crate::{Gru, GruConfig, Recurrent, RnnState};

/// How a [`Forecaster`](crate::Forecaster) makes the steps of the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// All steps at once, from the state after the last step of the window. Channels are the features of a step, so each can
    /// tell of the others.
    Direct,
    /// One step after another, each forecast (the middle quantile) being the next step's input; in training, too. For
    /// horizons up to 1024: errors add up, and so does the graph. Channels are the features of a step.
    Recursive,
    /// SegRNN (Lin et al. 2023, arXiv 2308.11200). The window is cut into segments, each one step of the recurrence; all
    /// segments of the horizon are then forecast in parallel, each from the last state and an embedding of its position and
    /// its channel. Channels are forecast by the same weights, each from itself alone. A horizon that is no multiple of
    /// segment_len ends within the last segment.
    Segments {
        /// Steps of a segment; input_len is a multiple of it.
        segment_len: usize,
    },
}

/// The longest horizon of recursive decoding: each step adds to the depth of the graph, which Candle walks recursively.
const MAX_RECURSIVE: usize = 1024;

#[derive(Debug)]
pub(super) enum Decoder {
    Steps(Steps),
    Segments(Segments),
}

impl Decoder {
    pub fn new(config: &ForecasterConfig, vb: &VarBuilder) -> Result<Self> {
        match config.decoding {
            Decoding::Segments { segment_len } => Segments::new(config, segment_len, vb).map(Self::Segments),
            Decoding::Direct | Decoding::Recursive => Steps::new(config, vb).map(Self::Steps),
        }
    }

    /// (batch, input_len, num_channels) to (batch, horizon, num_channels, num_values).
    pub fn forecast(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        match self {
            Self::Steps(steps) if steps.recursive => steps.recursive(xs, pass),
            Self::Steps(steps) => steps.direct(xs, pass),
            Self::Segments(segments) => segments.forecast(xs, pass),
        }
    }
}

/// A recurrence over the steps of the window, with the channels as features.
///
/// Parameters: `gru.*`, `head.*`.
#[derive(Debug)]
pub(super) struct Steps {
    gru: Gru,
    dropout: Dropout,
    /// To the whole horizon, or recursively to one step.
    head: Linear,
    recursive: bool,
    horizon: usize,
    num_channels: usize,
    num_values: usize,
}

impl Steps {
    fn new(config: &ForecasterConfig, vb: &VarBuilder) -> Result<Self> {
        let ForecasterConfig { num_channels, horizon, hidden_size, .. } = *config;
        let (num_values, recursive) = (config.num_values(), config.decoding == Decoding::Recursive);
        if recursive && horizon > MAX_RECURSIVE {
            return Err(Error::invalid("horizon", format!("at most {MAX_RECURSIVE}, for recursive decoding"), horizon));
        }
        let steps = if recursive { 1 } else { horizon };
        Ok(Self {
            gru: Gru::new(num_channels, hidden_size, GruConfig::default(), vb.pp("gru"))?,
            dropout: Dropout::new(config.dropout)?,
            head: Linear::new(hidden_size, steps * num_channels * num_values, vb.pp("head"))?,
            recursive,
            horizon,
            num_channels,
            num_values,
        })
    }

    fn direct(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (_, state) = self.gru.forward_with(xs, None, None, pass)?;
        self.read(&state.hidden.squeeze(0)?, self.horizon, pass)
    }

    fn recursive(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (_, mut state) = self.gru.forward_with(xs, None, None, pass)?;
        let mut steps = vec![self.read(&state.hidden.squeeze(0)?, 1, pass)?];
        while let (true, Some(last)) = (steps.len() < self.horizon, steps.last()) {
            let forecast = last.narrow(3, self.num_values / 2, 1)?.squeeze(3)?.squeeze(1)?;
            let (output, next) = self.gru.step(&forecast, Some(&state), pass)?;
            steps.push(self.read(&output, 1, pass)?);
            state = next;
        }
        concat(&steps, 1)
    }

    /// A state, (batch, hidden_size), to (batch, steps, num_channels, num_values).
    fn read(&self, state: &Tensor, steps: usize, pass: &Pass) -> Result<Tensor> {
        let ys = self.head.forward(&self.dropout.forward(state, pass)?, pass)?;
        Ok(reshape(&ys, (state.dim(0)?, steps, self.num_channels, self.num_values))?)
    }
}

/// A recurrence over the segments of each channel.
///
/// Parameters: `embed.*`, `gru.*`, `positions` (segments of the horizon, hidden_size / 2), `channels` (num_channels,
/// hidden_size / 2), both initially standard normal, `head.*`.
#[derive(Debug)]
pub(super) struct Segments {
    embed: Linear,
    gru: Gru,
    positions: Param,
    channels: Param,
    dropout: Dropout,
    head: Linear,
    segment_len: usize,
    horizon: usize,
    num_values: usize,
}

impl Segments {
    fn new(config: &ForecasterConfig, segment_len: usize, vb: &VarBuilder) -> Result<Self> {
        let ForecasterConfig { num_channels, input_len, horizon, hidden_size, .. } = *config;
        expect_positive("segment_len", segment_len)?;
        if input_len % segment_len != 0 {
            return Err(Error::invalid("input_len", format!("a multiple of segment_len {segment_len}"), input_len));
        }
        if hidden_size % 2 != 0 {
            let expected = "an even number: half for the position, half for the channel";
            return Err(Error::invalid("hidden_size", expected, hidden_size));
        }
        let embedding = |name, count| vb.param(name, (count, hidden_size / 2), Init::Normal { mean: 0.0, std: 1.0 });
        let num_values = config.num_values();
        Ok(Self {
            embed: Linear::new(segment_len, hidden_size, vb.pp("embed"))?,
            gru: Gru::new(hidden_size, hidden_size, GruConfig::default(), vb.pp("gru"))?,
            positions: embedding("positions", horizon.div_ceil(segment_len))?,
            channels: embedding("channels", num_channels)?,
            dropout: Dropout::new(config.dropout)?,
            head: Linear::new(hidden_size, segment_len * num_values, vb.pp("head"))?,
            segment_len,
            horizon,
            num_values,
        })
    }

    fn forecast(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (batch, input_len, channels) = xs.dims3()?;
        let segments = (batch * channels, input_len / self.segment_len, self.segment_len);
        let segments = reshape(&xs.transpose(1, 2)?.contiguous()?, segments)?;
        let embedded = Activation::Relu.forward(&self.embed.forward(&segments, pass)?, pass)?;
        let (_, state) = self.gru.forward_with(&embedded, None, None, pass)?;

        // One step for each segment of the horizon, all from the same state.
        let queries = self.queries(batch, pass)?; // (batch · channels · positions, hidden_size)
        let (count, hidden_size) = queries.dims2()?;
        let positions = count / (batch * channels).max(1);
        let repeated = state.hidden.unsqueeze(2)?.broadcast_as((1, batch * channels, positions, hidden_size))?;
        let state = RnnState { hidden: repeated.contiguous()?.reshape((1, count, hidden_size))? };
        let (output, _) = self.gru.step(&queries, Some(&state), pass)?;

        let ys = self.head.forward(&self.dropout.forward(&output, pass)?, pass)?;
        let ys = reshape(&ys, (batch, channels, positions * self.segment_len, self.num_values))?;
        Ok(ys.narrow(2, 0, self.horizon)?.transpose(1, 2)?)
    }

    /// What each channel's segments are asked by: the embedding of the position beside that of the channel.
    fn queries(&self, batch: usize, pass: &Pass) -> Result<Tensor> {
        let (positions, channels) = (self.positions.get(pass), self.channels.get(pass));
        let ((num_positions, half), num_channels) = (positions.dims2()?, channels.dim(0)?);
        let grid = (num_channels, num_positions, half);
        let positions = positions.unsqueeze(0)?.broadcast_as(grid)?;
        let channels = channels.unsqueeze(1)?.broadcast_as(grid)?;
        let queries = concat(&[&positions, &channels], 2)?.unsqueeze(0)?;
        let all = queries.broadcast_as((batch, num_channels, num_positions, 2 * half))?;
        Ok(all.contiguous()?.reshape((batch * num_channels * num_positions, 2 * half))?)
    }
}
