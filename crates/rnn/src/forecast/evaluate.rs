//! How good forecasts are.

use std::fmt;

use candle_core::{Device, Tensor};
use glassbox_core::dataset::Position;
use glassbox_core::{Batch, DataLoader, Error, Layer, Pass, Result, TensorExt, on_pool};

/// How good the forecasts of many windows are, in the units of the windows: z-scores where the series was standardised.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastScores {
    /// Mean squared error over all windows, steps and channels.
    pub mse: f64,
    /// Mean absolute error over the same.
    pub mae: f64,
    /// Mean squared error at each step of the horizon.
    pub mse_by_step: Vec<f64>,
    /// Mean absolute error at each step of the horizon.
    pub mae_by_step: Vec<f64>,
    /// Windows that were forecast.
    pub num_windows: usize,
    /// How good the prediction interval is, where the model gives several quantiles.
    pub interval: Option<IntervalScores>,
}

/// How good the interval from the lowest to the highest quantile is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntervalScores {
    /// The share of the true values within it, ends included: 0.9 is right for the quantiles 0.05 to 0.95.
    pub coverage: f64,
    /// Its mean width: the narrower of two intervals with the same coverage tells more.
    pub width: f64,
}

impl fmt::Display for ForecastScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mse {:.4}  mae {:.4}", self.mse, self.mae)?;
        match self.interval {
            Some(IntervalScores { coverage, width }) => write!(f, "  coverage {coverage:.4}  width {width:.4}"),
            None => Ok(()),
        }
    }
}

/// Forecasts every window of `windows` with `model`, as one would walk forward through the series, and scores the forecasts.
/// Of several quantiles the middle one is the forecast.
///
/// # Shapes
/// Inputs (batch, input_len, num_channels), targets (batch, horizon, num_channels); the model's outputs as the targets, or
/// with quantiles in ascending order as a fourth dimension.
///
/// # Errors
/// No windows; outputs of another shape; whatever the loader and the model fail with.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::dataset::{DataLoader, TensorDataset};
/// use glassbox_rnn::{SeasonalNaive, walk_forward};
/// let inputs = Tensor::new(&[[[1f32], [2.0]], [[2.0], [3.0]]], &Device::Cpu)?;
/// let targets = Tensor::new(&[[[3f32]], [[6.0]]], &Device::Cpu)?;
/// let windows = DataLoader::new(TensorDataset::new(inputs, targets)?, 64);
/// let scores = walk_forward(&SeasonalNaive::new(1, 1)?, &windows, &Device::Cpu)?;
/// assert_eq!((scores.mse, scores.mae, scores.num_windows), (5.0, 2.0, 2));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn walk_forward<L>(model: &L, windows: &DataLoader<Batch>, device: &Device) -> Result<ForecastScores>
where
    L: Layer + ?Sized,
{
    let mut sums = Sums::default();
    for batch in windows.batches(Position::default(), device)? {
        let batch = batch?;
        let outputs = on_pool(|| model.forward(&batch.input, &Pass::eval()))?;
        sums.add(&outputs, &batch.target)?;
    }
    sums.scores()
}

/// Sums over windows and channels.
#[derive(Default)]
struct Sums {
    /// Of each step of the horizon.
    squared: Vec<f64>,
    absolute: Vec<f64>,
    num_windows: usize,
    num_channels: usize,
    /// Values inside the interval, and the widths; 0 quantiles is a forecast alone.
    inside: f64,
    width: f64,
    num_quantiles: usize,
}

impl Sums {
    fn add(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let (windows, horizon, channels) = targets.dims3()?;
        let quantiles = match *outputs.dims() {
            [a, b, c] if [a, b, c] == [windows, horizon, channels] => 1,
            [a, b, c, quantiles] if [a, b, c] == [windows, horizon, channels] && quantiles > 0 => quantiles,
            _ => {
                let expected = format!("shape {:?}, or with quantiles behind", targets.dims());
                return Err(Error::invalid("forecasts", expected, format!("{:?}", outputs.dims())));
            }
        };
        if self.num_windows == 0 {
            (self.squared, self.absolute) = (vec![0.0; horizon], vec![0.0; horizon]);
        } else if self.squared.len() != horizon {
            return Err(Error::invalid("targets", format!("horizon {}, as before", self.squared.len()), horizon));
        }
        (self.num_channels, self.num_quantiles) = (channels, quantiles);
        self.num_windows += windows;
        let (outputs, targets) = (outputs.to_f64_vec()?, targets.to_f64_vec()?);
        for (i, (forecast, target)) in outputs.chunks_exact(quantiles).zip(targets).enumerate() {
            let (step, error) = (i / channels % horizon, forecast[quantiles / 2] - target);
            self.squared[step] += error * error;
            self.absolute[step] += error.abs();
            let (low, high) = (forecast[0], forecast[quantiles - 1]);
            self.inside += if (low..=high).contains(&target) { 1.0 } else { 0.0 };
            self.width += high - low;
        }
        Ok(())
    }

    fn scores(self) -> Result<ForecastScores> {
        let by_step = (self.num_windows * self.num_channels) as f64;
        if by_step == 0.0 {
            return Err(Error::invalid("windows to forecast", "at least one", "none"));
        }
        let count = by_step * self.squared.len() as f64;
        let mean = |sums: &[f64]| sums.iter().sum::<f64>() / count;
        let interval = IntervalScores { coverage: self.inside / count, width: self.width / count };
        Ok(ForecastScores {
            mse: mean(&self.squared),
            mae: mean(&self.absolute),
            mse_by_step: self.squared.iter().map(|sum| sum / by_step).collect(),
            mae_by_step: self.absolute.iter().map(|sum| sum / by_step).collect(),
            num_windows: self.num_windows,
            interval: (self.num_quantiles > 1).then_some(interval),
        })
    }
}
