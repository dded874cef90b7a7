//! Layers of one kind of recurrence on top of each other.

use candle_core::Tensor;
use glassbox_core::probe::Cost;
use glassbox_core::{Dropout, Error, Init, Layer, Param, Pass, Result, Site, TensorExt, VarBuilder};

use super::cell::{Cell, Outcome};
use super::config::{Options, expect_positive};
use super::level::{Level, Start};
use super::{RecurrentSizes, RecurrentState};

/// What a stack is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct StackConfig {
    pub cell: Cell,
    pub input_size: usize,
    pub hidden_size: usize,
    pub proj_size: Option<usize>,
    pub unit_forget_bias: bool,
    pub options: Options,
}

impl StackConfig {
    /// Of the hidden states.
    pub fn state_size(&self) -> usize {
        self.proj_size.unwrap_or(self.hidden_size)
    }

    fn check(&self) -> Result<()> {
        self.options.check()?;
        expect_positive("input_size", self.input_size)?;
        expect_positive("hidden_size", self.hidden_size)?;
        match self.proj_size {
            Some(size) if size == 0 || size >= self.hidden_size => {
                Err(Error::invalid("proj_size", format!("from 1 to below hidden_size, {}", self.hidden_size), size))
            }
            _ => Ok(()),
        }
    }

    pub fn sizes(&self) -> RecurrentSizes {
        RecurrentSizes {
            input_size: self.input_size,
            hidden_size: self.hidden_size,
            state_size: self.state_size(),
            num_layers: self.options.num_layers,
            num_directions: if self.options.bidirectional { 2 } else { 1 },
        }
    }

    /// Multiply-adds of a step for each feature of its output, rounded where the hidden state is projected.
    fn cost(&self) -> Cost {
        let sizes = self.sizes();
        let inputs = self.input_size + (sizes.num_layers - 1) * sizes.output_size();
        let sums = self.cell.num_gates() * self.hidden_size * (inputs + sizes.num_layers * sizes.state_size);
        let projected = self.proj_size.map_or(0, |size| sizes.num_layers * size * self.hidden_size);
        Cost::PerOutput(((sums + projected) / sizes.state_size) as u64)
    }
}

/// Layers of one kind of recurrence on top of each other, with what stands between them.
#[derive(Debug)]
pub(super) struct Stack {
    cell: Cell,
    levels: Vec<Level>,
    /// The learned hidden and cell state.
    learned: Option<(Param, Option<Param>)>,
    /// Between the layers.
    dropout: Dropout,
    variational: bool,
    sizes: RecurrentSizes,
    site: Site,
}

/// The states of all layers and directions before the first step, each (num_layers · num_directions, batch, size).
struct States {
    hidden: Tensor,
    cell: Option<Tensor>,
}

impl States {
    /// Those of one layer in one direction.
    fn get(&self, index: usize) -> Result<Start> {
        let cell = self.cell.as_ref().map(|cell| cell.get(index)).transpose()?;
        Ok(Start { hidden: self.hidden.get(index)?, cell })
    }
}

/// The states after the last step, each of one layer in one direction.
#[derive(Default)]
pub(super) struct Final {
    hidden: Vec<Tensor>,
    cell: Vec<Tensor>,
}

impl Stack {
    pub fn new(config: StackConfig, vb: VarBuilder) -> Result<Self> {
        Self::build(&config, &vb).map_err(|e| e.at(vb.path()))
    }

    fn build(config: &StackConfig, vb: &VarBuilder) -> Result<Self> {
        config.check()?;
        let (StackConfig { cell, options, .. }, sizes) = (*config, config.sizes());
        let dropout = Dropout::new(options.dropout)?;
        let levels = (0..options.num_layers).map(|index| Level::new(config, index, vb)).collect::<Result<_>>()?;
        let zeros = |name: &str, size: usize| vb.param(name, (sizes.num_states(), 1, size), Init::Zeros);
        let learned = match options.learned_state {
            true if cell.has_cell_state() => {
                Some((zeros("h0", sizes.state_size)?, Some(zeros("c0", sizes.hidden_size)?)))
            }
            true => Some((zeros("h0", sizes.state_size)?, None)),
            false => None,
        };
        let site = Site::new(vb.path(), cell.kind()).with_cost(config.cost());
        Ok(Self { cell, levels, learned, dropout, variational: options.variational_dropout, sizes, site })
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    pub fn sizes(&self) -> RecurrentSizes {
        self.sizes
    }

    pub fn step<S: RecurrentState>(&self, xs: &Tensor, state: Option<&S>, pass: &Pass) -> Result<(Tensor, S)> {
        let sequence = self.sequence_of_one(xs).map_err(|e| e.at(self.site.path()))?;
        let (sequence, state) = self.forward_with(&sequence, state, None, pass)?;
        Ok((sequence.squeeze(1)?, state))
    }

    fn sequence_of_one(&self, xs: &Tensor) -> Result<Tensor> {
        if self.sizes.num_directions > 1 {
            return Err(Error::invalid("a network fed step by step", "one direction", "two"));
        }
        xs.expect_rank(2, "(batch, input_size)")?;
        Ok(xs.unsqueeze(1)?)
    }

    pub fn forward_with<S: RecurrentState>(
        &self,
        xs: &Tensor,
        state: Option<&S>,
        lengths: Option<&[usize]>,
        pass: &Pass,
    ) -> Result<(Tensor, S)> {
        let (sequence, Final { hidden, cell }) = self.run(xs, state.map(S::parts), lengths, pass)?;
        let cell = if cell.is_empty() { None } else { Some(Tensor::stack(&cell, 0)?) };
        Ok((sequence, S::from_parts(Tensor::stack(&hidden, 0)?, cell)?))
    }

    /// The sequence and the final states, from the given hidden and cell state.
    pub fn run(
        &self,
        xs: &Tensor,
        state: Option<(&Tensor, Option<&Tensor>)>,
        lengths: Option<&[usize]>,
        pass: &Pass,
    ) -> Result<(Tensor, Final)> {
        let mut last = Final::default();
        let sequence = self.site.run(xs, pass, || {
            let batch = self.expect_sequences(xs)?;
            let states = self.states(state, batch, pass)?;
            let mut xs = xs.clone();
            for (index, level) in self.levels.iter().enumerate() {
                if index > 0 {
                    xs = self.drop(&xs, pass)?;
                }
                let states_of = index * self.sizes.num_directions..(index + 1) * self.sizes.num_directions;
                let starts = states.as_ref().map(|states| states_of.map(|i| states.get(i)).collect());
                let starts: Vec<Start> = starts.unwrap_or_else(|| Ok(vec![]))?;
                let Outcome { sequence, hidden, cell } = level.run(self.cell, &xs, &starts, lengths, pass)?;
                last.hidden.extend(hidden);
                last.cell.extend(cell);
                xs = sequence;
            }
            Ok(xs)
        })?;
        Ok((sequence, last))
    }

    /// The batch size of what is a batch of sequences.
    fn expect_sequences(&self, xs: &Tensor) -> Result<usize> {
        xs.expect_rank(3, "(batch, seq_len, input_size)")?;
        xs.expect_last_dim(self.sizes.input_size, "input_size")?;
        match xs.dims3()? {
            (_, 0, _) => Err(Error::invalid("input", "sequences of at least one step", format!("{:?}", xs.dims()))),
            (batch, _, _) => Ok(batch),
        }
    }

    /// The given states, or the learned ones.
    fn states(&self, given: Option<(&Tensor, Option<&Tensor>)>, batch: usize, pass: &Pass) -> Result<Option<States>> {
        let sizes = self.sizes;
        if let Some((hidden, cell)) = given {
            expect_state("hidden", hidden, (sizes.num_states(), batch, sizes.state_size))?;
            cell.map_or(Ok(()), |cell| expect_state("cell", cell, (sizes.num_states(), batch, sizes.hidden_size)))?;
            return Ok(Some(States { hidden: hidden.clone(), cell: cell.cloned() }));
        }
        let Some((hidden, cell)) = &self.learned else { return Ok(None) };
        let of_all = |param: &Param, size: usize| {
            Ok::<_, Error>(param.get(pass).broadcast_as((sizes.num_states(), batch, size))?)
        };
        let cell = cell.as_ref().map(|cell| of_all(cell, sizes.hidden_size)).transpose()?;
        Ok(Some(States { hidden: of_all(hidden, sizes.state_size)?, cell }))
    }

    /// Dropout of what goes from one layer to the next.
    fn drop(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        if !self.variational || !pass.is_training() {
            return self.dropout.forward(xs, pass);
        }
        let (batch, _, features) = xs.dims3()?;
        let ones = Tensor::ones((batch, 1, features), xs.dtype(), xs.device())?;
        Ok(xs.broadcast_mul(&self.dropout.forward(&ones, pass)?)?)
    }
}

fn expect_state(what: &str, state: &Tensor, expected: (usize, usize, usize)) -> Result<()> {
    if state.dims() == [expected.0, expected.1, expected.2] {
        return Ok(());
    }
    let expected = format!("{expected:?}, (num_layers · num_directions, batch, size)");
    Err(Error::invalid(format!("{what} state"), expected, format!("{:?}", state.dims())))
}
