//! Terms that bound the critic's slope.

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng};
use glassbox_kernels::reduce::mean_all;
use serde::{Deserialize, Serialize};

use crate::loss::{norms, squared_norms};

/// A term of the critic's loss that holds its input gradient g = ∂D/∂x. It is exact: its gradient with respect to the
/// parameters is the double backward that PyTorch computes with `create_graph=True`.
///
/// # References
/// WGAN-GP: Gulrajani et al. 2017, arXiv 1704.00028. R1 and R2: Mescheder et al. 2018, arXiv 1801.04406. DRAGAN: Kodali et
/// al. 2017, arXiv 1705.07215.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Penalty {
    /// weight · mean (‖g‖ − 1)², at points drawn evenly between a real and a generated sample. WGAN-GP's weight is 10.
    Gradient {
        /// 0 or more.
        weight: f64,
    },
    /// gamma / 2 · mean ‖g‖², at real samples.
    R1 {
        /// 0 or more; 0.1 to 10, more for larger images.
        gamma: f64,
    },
    /// gamma / 2 · mean ‖g‖², at generated samples.
    R2 {
        /// 0 or more.
        gamma: f64,
    },
    /// The sum of R1 and R2.
    R1R2 {
        /// 0 or more.
        gamma: f64,
    },
    /// weight · mean (‖g‖ − 1)², at real samples with even noise of up to half their standard deviation added.
    Dragan {
        /// 0 or more; 10 in the paper.
        weight: f64,
    },
}

/// Where a penalty wants the gradient.
pub(crate) enum Points {
    /// At these samples of its own.
    Other(Tensor),
    /// At the real ones, at the generated ones, or at both.
    Judged {
        /// At the real ones.
        real: bool,
        /// At the generated ones.
        fake: bool,
    },
}

impl Penalty {
    pub(crate) fn check(self) -> Result<()> {
        let (Self::Gradient { weight } | Self::Dragan { weight }) = self else {
            let (Self::R1 { gamma } | Self::R2 { gamma } | Self::R1R2 { gamma }) = self else { return Ok(()) };
            return expect_weight("gamma", gamma);
        };
        expect_weight("weight", weight)
    }

    /// Where the gradient is wanted. `rng` draws what is random of it.
    pub(crate) fn points(self, real: &Tensor, fake: &Tensor, rng: &mut Rng) -> Result<Points> {
        Ok(match self {
            Self::Gradient { .. } => Points::Other(between(real, fake, rng)?),
            Self::Dragan { .. } => Points::Other(around(real, rng)?),
            Self::R1 { .. } => Points::Judged { real: true, fake: false },
            Self::R2 { .. } => Points::Judged { real: false, fake: true },
            Self::R1R2 { .. } => Points::Judged { real: true, fake: true },
        })
    }

    /// The term, from the critic's gradient at each point, (batch, …): a scalar.
    ///
    /// # Errors
    /// A gradient without a batch dimension.
    pub fn term(self, gradient: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Gradient { weight } | Self::Dragan { weight } => {
                (mean_all(&(norms(gradient)? - 1.0)?.sqr()?)? * weight)?
            }
            Self::R1 { gamma } | Self::R2 { gamma } | Self::R1R2 { gamma } => {
                (mean_all(&squared_norms(gradient)?)? * (gamma / 2.0))?
            }
        })
    }
}

fn expect_weight(what: &str, weight: f64) -> Result<()> {
    if weight >= 0.0 && weight.is_finite() {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} of the gradient penalty"), "a finite number of at least 0", weight))
}

/// Points on the lines from each real sample to a generated one.
fn between(real: &Tensor, fake: &Tensor, rng: &mut Rng) -> Result<Tensor> {
    if real.dims() != fake.dims() {
        let expected = format!("{:?}, as the real ones", real.dims());
        return Err(Error::invalid("generated samples", expected, format!("{:?}", fake.dims())));
    }
    let share = rng.uniform_tensor(per_sample(real), 0.0, 1.0, real.dtype(), real.device())?;
    Ok((real + (fake - real)?.broadcast_mul(&share)?)?.detach())
}

fn around(real: &Tensor, rng: &mut Rng) -> Result<Tensor> {
    let mean = real.mean_all()?;
    let std = real.broadcast_sub(&mean)?.sqr()?.mean_all()?.sqrt()?;
    let noise = rng.uniform_tensor(real.shape(), 0.0, 0.5, real.dtype(), real.device())?;
    Ok((real + noise.broadcast_mul(&std)?)?.detach())
}

/// The shape (batch, 1, …) of one number for each sample of `xs`.
pub(crate) fn per_sample(xs: &Tensor) -> Vec<usize> {
    let mut shape = vec![1; xs.rank()];
    if let (Some(first), Some(&batch)) = (shape.first_mut(), xs.dims().first()) {
        *first = batch;
    }
    shape
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use glassbox_core::{Seed, TensorExt};

    use super::*;

    #[test]
    fn terms_are_their_formulas() {
        let gradient = Tensor::new(&[[3f64, 4.0], [0.0, 1.0]], &Device::Cpu).unwrap();
        let term = |penalty: Penalty| penalty.term(&gradient).unwrap().to_f64().unwrap();
        assert!((term(Penalty::Gradient { weight: 10.0 }) - 10.0 * 16.0 / 2.0).abs() < 1e-9);
        assert!((term(Penalty::R1 { gamma: 3.0 }) - 1.5 * 26.0 / 2.0).abs() < 1e-9);
    }

    #[test]
    fn points_lie_between() {
        let (real, fake) = (
            Tensor::zeros((50, 2), candle_core::DType::F64, &Device::Cpu).unwrap(),
            Tensor::ones((50, 2), candle_core::DType::F64, &Device::Cpu).unwrap(),
        );
        let points = between(&real, &fake, &mut Seed(1).rng()).unwrap().to_vec2::<f64>().unwrap();
        assert!(points.iter().all(|p| p[0] == p[1] && (0.0..1.0).contains(&p[0])));
        assert!(points.iter().any(|p| p[0] < 0.2) && points.iter().any(|p| p[0] > 0.8));
        assert!(Penalty::R1 { gamma: -1.0 }.check().is_err() && Penalty::Dragan { weight: f64::NAN }.check().is_err());
    }
}
