//! Recurrent layers.

use glassbox::prelude::*;
use glassbox::probe::Cost;
use glassbox::{Init, Param, Site};
use glassbox_kernels::recurrent::{RecurrentParams, RecurrentWeights, bidirectional_gru, lstm};

/// The parameters of one layer in one direction, initially uniform within ± 1/√hidden_size.
struct Weights {
    weight_ih: Param,
    weight_hh: Param,
    bias_ih: Param,
    bias_hh: Param,
}

impl Weights {
    /// Of so many `gates`; `layer` is what their names end with, such as `l0` or `l0_reverse`.
    fn new(gates: usize, inputs: usize, hidden_size: usize, layer: &str, vb: &VarBuilder) -> Result<Self> {
        let (rows, init) = (gates * hidden_size, Init::UniformFan(hidden_size));
        Ok(Self {
            weight_ih: vb.param(&format!("weight_ih_{layer}"), (rows, inputs), init)?,
            weight_hh: vb.param(&format!("weight_hh_{layer}"), (rows, hidden_size), init)?,
            bias_ih: vb.param(&format!("bias_ih_{layer}"), rows, init)?,
            bias_hh: vb.param(&format!("bias_hh_{layer}"), rows, init)?,
        })
    }

    fn get(&self, pass: &Pass) -> [Tensor; 4] {
        [&self.weight_ih, &self.weight_hh, &self.bias_ih, &self.bias_hh].map(|param| param.get(pass))
    }
}

fn borrow([weight_ih, weight_hh, bias_ih, bias_hh]: &[Tensor; 4]) -> RecurrentWeights<'_> {
    RecurrentWeights { weight_ih, weight_hh, bias: Some((bias_ih, bias_hh)) }
}

/// One layer of long short-term memory over whole sequences.
///
/// Parameters: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, as PyTorch's `nn.LSTM`.
///
/// # Shapes
/// (batch, length, input_size) to (batch, length, hidden_size).
pub struct Lstm {
    weights: Weights,
    site: Site,
}

impl Lstm {
    /// A layer from `input_size` features to `hidden_size`.
    pub fn new(input_size: usize, hidden_size: usize, vb: VarBuilder) -> Result<Self> {
        let products = 4 * (input_size + hidden_size);
        let site = Site::new(vb.path(), "Lstm").with_cost(Cost::PerOutput(products as u64));
        Ok(Self { weights: Weights::new(4, input_size, hidden_size, "l0", &vb)?, site })
    }
}

impl Layer for Lstm {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            let weights = self.weights.get(pass);
            Ok(lstm(xs, &borrow(&weights), None, &RecurrentParams::default())?.sequence)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

/// Layers of gated recurrent units over whole sequences, each in both directions.
///
/// Parameters: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, the same with `_reverse` behind, and so on for
/// `l1`, …, as PyTorch's `nn.GRU`.
///
/// # Shapes
/// (batch, length, input_size) to (batch, length, 2 · hidden_size).
pub struct BidirectionalGru {
    layers: Vec<([Weights; 2], Site)>,
}

impl BidirectionalGru {
    /// `num_layers` layers from `input_size` features to `hidden_size` in each direction.
    pub fn new(input_size: usize, hidden_size: usize, num_layers: usize, vb: VarBuilder) -> Result<Self> {
        let layer = |i: usize| {
            let inputs = if i == 0 { input_size } else { 2 * hidden_size };
            let weights = |name: String| Weights::new(3, inputs, hidden_size, &name, &vb);
            let products = 3 * (inputs + hidden_size);
            let site = Site::new(vb.pp(format!("l{i}")).path(), "Gru").with_cost(Cost::PerOutput(products as u64));
            Ok(([weights(format!("l{i}"))?, weights(format!("l{i}_reverse"))?], site))
        };
        Ok(Self { layers: (0..num_layers).map(layer).collect::<Result<_>>()? })
    }
}

impl Layer for BidirectionalGru {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.layers.iter().try_fold(xs.clone(), |xs, (directions, site)| {
            site.run(&xs, pass, || {
                let [forward, reverse] = directions.each_ref().map(|weights| weights.get(pass));
                Ok(bidirectional_gru(&xs, [&borrow(&forward), &borrow(&reverse)], None, None)?.sequence)
            })
        })
    }
}
