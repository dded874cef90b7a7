//! Lets candle-nn's and candle-transformers' layers make their parameters in a [`ParamStore`].

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::init::{FanInOut, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;

use super::{Kind, ParamStore};
use crate::init::Fan;
use crate::{Error, Init};

impl SimpleBackend for ParamStore {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        hint: candle_nn::Init,
        dtype: DType,
        _: &Device,
    ) -> candle_core::Result<Tensor> {
        Ok(self.get_or_create(name, shape, from_candle(hint), dtype, Kind::Trainable)?.var().as_tensor().clone())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        match ParamStore::get(self, name) {
            Some(param) => Ok(param.var().as_tensor().clone()),
            None => Err(Error::invalid("parameter", "one that exists", format!("`{name}`")).into()),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        ParamStore::get(self, name).is_some()
    }
}

fn from_candle(hint: candle_nn::Init) -> Init {
    match hint {
        candle_nn::Init::Const(value) => Init::Constant(value),
        candle_nn::Init::Randn { mean, stdev } => Init::Normal { mean, std: stdev },
        candle_nn::Init::Uniform { lo, up } => Init::Uniform { low: lo, high: up },
        candle_nn::Init::Kaiming { dist, fan, non_linearity } => {
            let fan = if matches!(fan, FanInOut::FanIn) { Fan::In } else { Fan::Out };
            let gain = non_linearity.gain();
            match dist {
                NormalOrUniform::Normal => Init::KaimingNormal { gain, fan },
                NormalOrUniform::Uniform => Init::KaimingUniform { gain, fan },
            }
        }
    }
}
