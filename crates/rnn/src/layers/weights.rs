//! The parameters of one layer in one direction.

use candle_core::Tensor;
use glassbox_core::{Dropout, Error, Init, Layer, Param, Pass, Result, VarBuilder};
use glassbox_kernels::recurrent::RecurrentWeights;

use super::stack::StackConfig;

/// The parameters of one layer in one direction, by PyTorch's names and initially, as there, uniform within
/// ± 1/√hidden_size.
#[derive(Debug)]
pub(super) struct Weights {
    weight_ih: Param,
    weight_hh: Param,
    bias: Option<[Param; 2]>,
    weight_hr: Option<Param>,
    recurrent_dropout: Dropout,
}

/// Their values in one pass.
pub(super) struct Values {
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Option<[Tensor; 2]>,
    weight_hr: Option<Tensor>,
}

impl Weights {
    /// For `inputs` features. `suffix` ends the names: `l0`, `l0_reverse`, `l1`, ….
    pub fn new(config: &StackConfig, inputs: usize, suffix: &str, vb: &VarBuilder) -> Result<Self> {
        let StackConfig { hidden_size, options, .. } = *config;
        let (rows, init) = (config.cell.num_gates() * hidden_size, Init::UniformFan(hidden_size));
        let recurrent = if options.orthogonal { Init::Orthogonal { gain: 1.0 } } else { init };
        let name = |name: &str| format!("{name}_{suffix}");
        let weight_ih = vb.param(&name("weight_ih"), (rows, inputs), init)?;
        let weight_hh = vb.param(&name("weight_hh"), (rows, config.state_size()), recurrent)?;
        let bias = |which: &str, forget: f64| {
            let name = name(which);
            let exists = vb.store().get(vb.pp(&name).path()).is_some();
            let bias = vb.param(&name, rows, init)?;
            if config.unit_forget_bias && !exists {
                set_forget_bias(&bias, hidden_size, forget)?;
            }
            Ok::<_, Error>(bias)
        };
        let bias = if options.bias { Some([bias("bias_ih", 1.0)?, bias("bias_hh", 0.0)?]) } else { None };
        let projection = |size: usize| vb.param(&name("weight_hr"), (size, hidden_size), init);
        let weight_hr = config.proj_size.map(projection).transpose()?;
        let recurrent_dropout = Dropout::new(options.recurrent_dropout)?;
        Ok(Self { weight_ih, weight_hh, bias, weight_hr, recurrent_dropout })
    }

    pub fn get(&self, pass: &Pass) -> Result<Values> {
        Ok(Values {
            weight_ih: self.weight_ih.get(pass),
            weight_hh: self.recurrent_dropout.forward(&self.weight_hh.get(pass), pass)?,
            bias: self.bias.as_ref().map(|bias| bias.each_ref().map(|bias| bias.get(pass))),
            weight_hr: self.weight_hr.as_ref().map(|weight| weight.get(pass)),
        })
    }
}

impl Values {
    pub fn borrow(&self) -> RecurrentWeights<'_> {
        RecurrentWeights {
            weight_ih: &self.weight_ih,
            weight_hh: &self.weight_hh,
            bias: self.bias.as_ref().map(|[ih, hh]| (ih, hh)),
            weight_hr: self.weight_hr.as_ref(),
        }
    }
}

/// Sets the second gate's part of an LSTM's bias.
fn set_forget_bias(bias: &Param, hidden_size: usize, value: f64) -> Result<()> {
    let old = bias.value();
    let forget = Tensor::full(value, hidden_size, old.device())?.to_dtype(old.dtype())?;
    let (before, after) = (old.narrow(0, 0, hidden_size)?, old.narrow(0, 2 * hidden_size, 2 * hidden_size)?);
    bias.set(&Tensor::cat(&[before, forget, after], 0)?)
}
