//! Networks that learn targets from inputs.

use std::collections::BTreeMap;

use glassbox::prelude::*;
use glassbox::summary_of;

use super::{SEED, Update, Workload, take};

/// A model, its loss and its batch.
pub struct Supervised {
    model: Box<dyn Layer>,
    loss: Box<dyn Loss>,
    optimizer: AdamW,
    batch: Batch,
    sequences: bool,
    attention: u64,
}

impl Supervised {
    /// Trains the model that `build` makes on `batch`.
    pub fn new<M: Layer + 'static>(
        build: impl FnOnce(VarBuilder) -> Result<M>,
        loss: impl Loss + 'static,
        batch: Batch,
        dtype: DType,
    ) -> Result<Self> {
        let params = ParamStore::with_dtype(SEED, dtype, &Device::Cpu);
        let model = Box::new(build(params.root())?);
        let optimizer = AdamW::new(&params, 1e-3)?;
        Ok(Self { model, loss: Box::new(loss), optimizer, batch, sequences: false, attention: 0 })
    }

    /// The same, whose inputs are sequences: (batch, length, …).
    pub fn of_sequences(self) -> Self {
        Self { sequences: true, ..self }
    }

    /// The same, whose forward makes so many multiply-adds that have no weights.
    pub fn with_attention(self, attention: u64) -> Self {
        Self { attention, ..self }
    }
}

impl Workload for Supervised {
    fn step(&mut self) -> Result<Vec<Update>> {
        let outputs = self.model.forward(&self.batch.input, &Pass::train(SEED))?;
        let loss = self.loss.forward(&outputs, &self.batch.target)?;
        Ok(vec![Update::of(&loss, &mut self.optimizer)?])
    }

    fn stores(&self) -> Vec<(&'static str, &ParamStore)> {
        vec![("", self.optimizer.params())]
    }

    fn take_batch(&mut self, batch: &mut BTreeMap<String, Tensor>) -> anyhow::Result<()> {
        self.batch = Batch { input: take(batch, "input")?, target: take(batch, "target")? };
        Ok(())
    }

    fn samples(&self) -> usize {
        self.batch.input.dims()[0]
    }

    fn tokens(&self) -> Option<usize> {
        self.sequences.then(|| self.batch.input.dims()[..2].iter().product())
    }

    /// 6 · (what the layers report to a probe + attention).
    fn flops(&self) -> Result<f64> {
        let summary = summary_of(&*self.model, self.optimizer.params(), &self.batch.input)?;
        let products: u64 = summary.rows.iter().map(|row| row.multiply_adds).sum();
        Ok(6.0 * (products + self.attention) as f64)
    }
}
