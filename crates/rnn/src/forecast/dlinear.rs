//! A linear forecast of trend and season.

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Error, Init, Layer, Param, Pass, Result, Site, VarBuilder};
use glassbox_kernels::graph::add;
use glassbox_kernels::linear::linear;

use super::expect_windows;
use crate::layers::expect_positive;

/// DLinear (Zeng et al. 2023, arXiv 2205.13504): each window is parted into a moving average, the trend, and the rest, the
/// season; the forecast is the sum of a linear map of each. Hard to beat where a series is little more than a trend and a
/// season, and always worth showing beside a larger model.
///
/// forecast = W_s (x − A x) + b_s + W_t A x + b_t; A is the mean of 25 steps around each, where the first and the last value
/// are repeated beyond the ends. The two maps are one: (W_s + (W_t − W_s) A) x + b_s + b_t, which is how it is computed.
///
/// Parameters: `linear_seasonal.weight`, `linear_trend.weight` (horizon, input_len), `linear_seasonal.bias`,
/// `linear_trend.bias` (horizon), initially uniform within ± 1/√input_len. All channels share them, each being forecast from
/// itself alone.
///
/// # Shapes
/// (batch, input_len, num_channels) to (batch, horizon, num_channels).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_rnn::DLinear;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let model = DLinear::new(96, 24, 7, params.root())?;
/// let windows = Tensor::zeros((2, 96, 7), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward(&windows, &Pass::eval())?.dims(), [2, 24, 7]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct DLinear {
    seasonal: (Param, Param),
    trend: (Param, Param),
    /// A, (input_len, input_len).
    average: Tensor,
    input_len: usize,
    num_channels: usize,
    site: Site,
}

/// Steps that the trend is the mean of.
const KERNEL: usize = 25;
/// The longest window: A is a matrix of its square.
const MAX_INPUT_LEN: usize = 16_384;

impl DLinear {
    /// A linear map from `input_len` steps (up to 16,384) of each of `num_channels` channels to the next `horizon`.
    ///
    /// # Errors
    /// A size of 0, or too long an input; parameters of the same name and another shape exist.
    pub fn new(input_len: usize, horizon: usize, num_channels: usize, vb: VarBuilder) -> Result<Self> {
        let sizes = [("input_len", input_len), ("horizon", horizon), ("num_channels", num_channels)];
        let check = || {
            sizes.into_iter().try_for_each(|(what, size)| expect_positive(what, size))?;
            if input_len > MAX_INPUT_LEN {
                return Err(Error::invalid("input_len", format!("at most {MAX_INPUT_LEN}"), input_len));
            }
            Ok(())
        };
        check().map_err(|e| e.at(vb.path()))?;
        let map = |name: &str| -> Result<(Param, Param)> {
            let (vb, bound) = (vb.pp(name), Init::UniformFan(input_len));
            Ok((vb.param("weight", (horizon, input_len), bound)?, vb.param("bias", horizon, bound)?))
        };
        let (seasonal, trend) = (map("linear_seasonal")?, map("linear_trend")?);
        let average = moving_average(input_len, vb.dtype(), vb.device())?;
        Ok(Self { seasonal, trend, average, input_len, num_channels, site: Site::new(vb.path(), "DLinear") })
    }

    fn forecast(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        expect_windows(xs, self.input_len, self.num_channels)?;
        let (seasonal, trend) = (self.seasonal.0.get(pass), self.trend.0.get(pass));
        let weight = add(&seasonal, &(trend - &seasonal)?.matmul(&self.average)?)?;
        let bias = add(&self.seasonal.1.get(pass), &self.trend.1.get(pass))?;
        let ys = linear(&xs.transpose(1, 2)?.contiguous()?, &weight, Some(&bias), None)?; // (batch, channels, horizon)
        Ok(ys.transpose(1, 2)?)
    }
}

impl Layer for DLinear {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || self.forecast(xs, pass))
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

/// The matrix that takes a window to its moving average.
fn moving_average(input_len: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let mut matrix = vec![0f64; input_len * input_len];
    for (step, row) in matrix.chunks_exact_mut(input_len).enumerate() {
        for place in step..step + KERNEL {
            let taken = place.saturating_sub(KERNEL / 2).min(input_len - 1);
            row[taken] += 1.0 / KERNEL as f64;
        }
    }
    Ok(Tensor::from_vec(matrix, (input_len, input_len), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}
