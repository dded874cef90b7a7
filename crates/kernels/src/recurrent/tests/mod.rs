mod agreement;
mod errors;
mod gradients;

use candle_core::Tensor;

use super::cell::{Cell, Gru, Lstm, RnnRelu, RnnTanh};
use super::inputs::{Direction, Inputs};
use super::{RecurrentWeights, composed, op};
use crate::Result;
use crate::testkit::values;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Lstm,
    Gru,
    Tanh,
    Relu,
}

const KINDS: [Kind; 4] = [Kind::Lstm, Kind::Gru, Kind::Tanh, Kind::Relu];

/// A way of calling an operation.
#[derive(Clone, Debug)]
struct Setup {
    kind: Kind,
    /// Whether each direction runs in reverse.
    directions: Vec<bool>,
    bias: bool,
    state: bool,
    /// The size that an LSTM's hidden states are projected to.
    proj_size: Option<usize>,
    lengths: Option<Vec<usize>>,
}

impl Setup {
    /// Forward, with everything that is optional but lengths.
    fn full(kind: Kind) -> Self {
        Self { kind, directions: vec![false], bias: true, state: true, proj_size: None, lengths: None }
    }

    /// `xs`, then for each direction the weights and what else it has; sizes are batch, seq_len, input and hidden.
    fn tensors(&self, (batch, seq_len, input, hidden): (usize, usize, usize, usize)) -> Vec<Tensor> {
        let gates = match self.kind {
            Kind::Lstm => 4,
            Kind::Gru => 3,
            Kind::Tanh | Kind::Relu => 1,
        };
        let (width, output) = (gates * hidden, self.proj_size.unwrap_or(hidden));
        let mut shapes = vec![vec![batch, seq_len, input]];
        for _ in &self.directions {
            shapes.extend([vec![width, input], vec![width, output]]);
            if self.bias {
                shapes.extend([vec![width], vec![width]]);
            }
            if self.state {
                shapes.push(vec![batch, output]);
                shapes.extend((self.kind == Kind::Lstm).then(|| vec![batch, hidden]));
            }
            shapes.extend(self.proj_size.map(|size| vec![size, hidden]));
        }
        shapes.into_iter().zip(1..).map(|(shape, seed)| values(shape, seed).unwrap()).collect()
    }

    /// All outputs of the operation, fused or composed, of tensors in the order of [`Self::tensors`].
    fn outputs(&self, tensors: &[Tensor], fused: bool) -> Result<Vec<Tensor>> {
        let mut rest = tensors[1..].iter();
        let mut next = |wanted: bool| if wanted { rest.next() } else { None };
        let mut parts = Vec::new();
        for _ in &self.directions {
            let (weight_ih, weight_hh) = (next(true).unwrap(), next(true).unwrap());
            let bias = next(self.bias).zip(next(self.bias));
            let states = (next(self.state), next(self.state && self.kind == Kind::Lstm));
            let weight_hr = next(self.proj_size.is_some());
            parts.push((RecurrentWeights { weight_ih, weight_hh, bias, weight_hr }, states));
        }
        let directions = parts.iter().zip(&self.directions);
        let directions =
            directions.map(|((weights, (h0, c0)), &reverse)| Direction { weights, h0: *h0, c0: *c0, reverse });
        let inputs = Inputs { xs: &tensors[0], directions: directions.collect(), lengths: self.lengths.as_deref() };
        match self.kind {
            Kind::Lstm => apply::<Lstm>(&inputs, fused),
            Kind::Gru => apply::<Gru>(&inputs, fused),
            Kind::Tanh => apply::<RnnTanh>(&inputs, fused),
            Kind::Relu => apply::<RnnRelu>(&inputs, fused),
        }
    }
}

fn apply<C: Cell>(inputs: &Inputs, fused: bool) -> Result<Vec<Tensor>> {
    inputs.check::<C>("test")?;
    if fused { op::apply::<C>(inputs) } else { composed::apply::<C>(inputs) }
}

/// All elements of all tensors in one row.
fn joined(tensors: &[Tensor]) -> Result<Tensor> {
    let flat = tensors.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&flat, 0)
}
