//! What the minimal recurrent layers share: their sizes, and the checks of what goes in.

use candle_core::Tensor;
use glassbox_core::{Error, Pass, Result, Site, VarBuilder};

#[derive(Debug)]
pub(super) struct Minimal {
    input_size: usize,
    site: Site,
}

impl Minimal {
    pub fn new(kind: &'static str, input_size: usize, hidden_size: usize, vb: &VarBuilder) -> Result<Self> {
        for (what, size) in [("input_size", input_size), ("hidden_size", hidden_size)] {
            if size == 0 {
                return Err(Error::invalid(what, "1 or more", size).at(vb.path()));
            }
        }
        Ok(Self { input_size, site: Site::new(vb.path(), kind) })
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The states of all steps of `xs`, which `states` makes, and the last of them.
    pub fn run(&self, xs: &Tensor, pass: &Pass, states: impl FnOnce() -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
        let sequence = self.site.run(xs, pass, || match *xs.dims() {
            [_, seq_len, input_size] if seq_len > 0 && input_size == self.input_size => states(),
            _ => {
                let expected = format!("(batch, seq_len, {}) of a step or more", self.input_size);
                Err(Error::invalid("input", expected, format!("{:?}", xs.dims())))
            }
        })?;
        let last = sequence.narrow(1, sequence.dim(1)? - 1, 1)?.squeeze(1)?;
        Ok((sequence, last))
    }

    /// `x` (batch, input_size) as a sequence.
    pub fn one_step(&self, x: &Tensor) -> Result<Tensor> {
        match *x.dims() {
            [_, input_size] if input_size == self.input_size => Ok(x.unsqueeze(1)?),
            _ => {
                let expected = format!("(batch, {})", self.input_size);
                Err(Error::invalid("input", expected, format!("{:?}", x.dims())).at(self.site.path()))
            }
        }
    }
}
