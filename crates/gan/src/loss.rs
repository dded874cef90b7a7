//! What the critic and the generator make small.

use candle_core::Tensor;
use glassbox_core::loss::CrossEntropy;
use glassbox_core::{Activation, Error, Loss, Result};
use glassbox_kernels::activation::activation;
use glassbox_kernels::reduce::{mean, mean_all};
use serde::{Deserialize, Serialize};

/// The game of critic and generator. With r a score of a real sample, f of a generated one, and softplus(x) = ln(1 + e^x);
/// all are means over the scores:
///
/// | | critic | generator |
/// |---|---|---|
/// | `NonSaturating` | softplus(−r) + softplus(f) | softplus(−f) |
/// | `Minimax` | softplus(−r) + softplus(f) | −softplus(f) |
/// | `LeastSquares` | (r − 1)² / 2 + f² / 2 | (f − 1)² / 2 |
/// | `Hinge` | max(0, 1 − r) + max(0, 1 + f) | −f |
/// | `Wasserstein` | f − r | −f |
/// | `Relativistic` | softplus(f − r) | softplus(r − f) |
/// | `RelativisticAverage` | softplus(mean f − r) / 2 + softplus(f − mean r) / 2 | the same, with r and f exchanged |
///
/// Scores are logits: no sigmoid at the critic's end. The Wasserstein loss needs a critic whose slope is bounded: by a
/// [gradient penalty](crate::Penalty), by spectral normalisation, or by clipped weights.
///
/// # References
/// Minimax and non-saturating: Goodfellow et al. 2014, arXiv 1406.2661. Least squares: Mao et al. 2016, arXiv 1611.04076.
/// Hinge: Lim and Ye 2017, arXiv 1705.02894. Wasserstein: Arjovsky et al. 2017, arXiv 1701.07875. Relativistic:
/// Jolicoeur-Martineau 2018, arXiv 1807.00734; pairs as in Huang et al. 2024, arXiv 2501.05441.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_gan::AdversarialLoss;
/// let (real, fake) = (Tensor::new(&[0.5f32, 3.0], &Device::Cpu)?, Tensor::new(&[-2f32, 0.0], &Device::Cpu)?);
/// assert_eq!(AdversarialLoss::Hinge.critic(&real, &fake)?.to_scalar::<f32>()?, 0.25 + 0.5);
/// assert_eq!(AdversarialLoss::Hinge.generator(&fake, None)?.to_scalar::<f32>()?, 1.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdversarialLoss {
    /// The classical game, in the form whose gradient stays large while the critic wins.
    #[default]
    NonSaturating,
    /// The game as first written: the generator's gradient vanishes while the critic wins.
    Minimax,
    /// Squared distances from 1 and 0.
    LeastSquares,
    /// Margins, beyond which the critic's gradient is zero.
    Hinge,
    /// The difference of the mean scores.
    Wasserstein,
    /// Each real sample against one generated one; the numbers of both must agree.
    Relativistic,
    /// Each sample against the mean of the other kind.
    RelativisticAverage,
}

impl AdversarialLoss {
    /// Every loss, in the table's order.
    pub const ALL: [Self; 7] = [
        Self::NonSaturating,
        Self::Minimax,
        Self::LeastSquares,
        Self::Hinge,
        Self::Wasserstein,
        Self::Relativistic,
        Self::RelativisticAverage,
    ];

    /// Whether the generator's loss depends on the scores of real samples.
    pub fn compares(self) -> bool {
        matches!(self, Self::Relativistic | Self::RelativisticAverage)
    }

    /// The critic's loss: a scalar.
    ///
    /// # Shapes
    /// Scores of any shape; a relativistic loss in pairs wants the same of both.
    ///
    /// # Errors
    /// Shapes that do not suit the loss.
    pub fn critic(self, real: &Tensor, fake: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::NonSaturating | Self::Minimax => (mean_all(&softplus(&real.neg()?)?)? + mean_all(&softplus(fake)?)?)?,
            Self::LeastSquares => ((mean_all(&(real - 1.0)?.sqr()?)? + mean_all(&fake.sqr()?)?)? * 0.5)?,
            Self::Hinge => {
                let above = |xs: &Tensor| activation(xs, Activation::Relu);
                (mean_all(&above(&real.affine(-1.0, 1.0)?)?)? + mean_all(&above(&(fake + 1.0)?)?)?)?
            }
            Self::Wasserstein => (mean_all(fake)? - mean_all(real)?)?,
            Self::Relativistic => mean_all(&softplus(&paired(fake, real)?)?)?,
            Self::RelativisticAverage => average(real, fake)?,
        })
    }

    /// The generator's loss: a scalar. `real` are the scores of real samples, which a loss that
    /// [compares](Self::compares) needs.
    ///
    /// # Errors
    /// No `real` where it is needed; shapes that do not suit the loss.
    pub fn generator(self, fake: &Tensor, real: Option<&Tensor>) -> Result<Tensor> {
        let real = || real.ok_or_else(|| Error::invalid("generator's loss", "scores of real samples", "none"));
        Ok(match self {
            Self::NonSaturating => mean_all(&softplus(&fake.neg()?)?)?,
            Self::Minimax => mean_all(&softplus(fake)?)?.neg()?,
            Self::LeastSquares => (mean_all(&(fake - 1.0)?.sqr()?)? * 0.5)?,
            Self::Hinge | Self::Wasserstein => mean_all(fake)?.neg()?,
            Self::Relativistic => mean_all(&softplus(&paired(real()?, fake)?)?)?,
            Self::RelativisticAverage => average(fake, real()?)?,
        })
    }
}

fn softplus(xs: &Tensor) -> Result<Tensor> {
    // ln(1 + e^x) = −ln(sigmoid(−x)), exact for every x.
    Ok(activation(&xs.neg()?, Activation::LogSigmoid)?.neg()?)
}

fn paired(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        let got = format!("{:?} and {:?}", a.dims(), b.dims());
        return Err(Error::invalid("scores of a relativistic loss", "as many real as generated ones", got));
    }
    Ok((a - b)?)
}

/// That `above` scores higher than the mean of `below`, and `below` lower than the mean of `above`.
fn average(above: &Tensor, below: &Tensor) -> Result<Tensor> {
    let first = softplus(&above.neg()?.broadcast_add(&mean_all(below)?)?)?;
    let second = softplus(&below.broadcast_sub(&mean_all(above)?)?)?;
    Ok(((mean_all(&first)? + mean_all(&second)?)? * 0.5)?)
}

/// The cross-entropy of the classes that an auxiliary classifier names: added to the losses of both sides (Odena et al.
/// 2016, arXiv 1610.09585).
pub(crate) fn class_loss(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    CrossEntropy::default().forward(logits, labels)
}

/// Square roots of the sums of squares of each sample: (batch, …) to (batch).
///
/// The gradient of a root is infinite at 0; 1e-12 below the root makes it 0 there.
pub(crate) fn norms(xs: &Tensor) -> Result<Tensor> {
    Ok((squared_norms(xs)? + 1e-12)?.sqrt()?)
}

/// The sum of squares of each sample: (batch, …) to (batch).
pub(crate) fn squared_norms(xs: &Tensor) -> Result<Tensor> {
    let features = xs.elem_count() / xs.dim(0)?.max(1);
    let squares = xs.reshape((xs.dim(0)?, features))?.sqr()?;
    // The mean in f64 inside, then the number of features: a sum of tens of thousands of f32 numbers keeps its digits.
    Ok((mean(&squares, 1)? * features as f64)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use glassbox_core::TensorExt;
    use glassbox_core::testkit::{check_gradients, values};

    use super::*;

    #[test]
    fn gradients() {
        let scores = [(values((5, 1), 1).unwrap() * 3.0).unwrap(), (values((5, 1), 2).unwrap() * 3.0).unwrap()];
        let wrap = |result: Result<Tensor>| result.map_err(Into::into);
        for loss in AdversarialLoss::ALL {
            check_gradients(&scores, |t| wrap(loss.critic(&t[0], &t[1]))).unwrap();
            if loss.compares() {
                check_gradients(&scores, |t| wrap(loss.generator(&t[0], Some(&t[1])))).unwrap();
            } else {
                check_gradients(&scores[..1], |t| wrap(loss.generator(&t[0], None))).unwrap();
            }
        }
    }

    #[test]
    fn far_scores_stay_finite() {
        let far = |x: f32| Tensor::full(x, (4, 1), &Device::Cpu).unwrap();
        for loss in AdversarialLoss::ALL {
            for (real, fake) in [(1e4, -1e4), (-1e4, 1e4)] {
                let (real, fake) = (far(real), far(fake));
                assert!(loss.critic(&real, &fake).unwrap().to_f64().unwrap().is_finite(), "{loss:?}");
                assert!(loss.generator(&fake, Some(&real)).unwrap().to_f64().unwrap().is_finite(), "{loss:?}");
            }
        }
    }

    #[test]
    fn what_a_loss_lacks_is_named() {
        let scores = Tensor::zeros((4, 1), DType::F32, &Device::Cpu).unwrap();
        let error = AdversarialLoss::Relativistic.generator(&scores, None).unwrap_err().to_string();
        assert!(error.contains("scores of real samples"), "{error}");
        let fewer = scores.narrow(0, 0, 2).unwrap();
        assert!(AdversarialLoss::Relativistic.critic(&scores, &fewer).is_err());
    }

    #[test]
    fn norms_are_norms_and_flat_at_zero() {
        let xs = Tensor::new(&[[3f64, 4.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let var = candle_core::Var::from_tensor(&xs).unwrap();
        let ys = norms(var.as_tensor()).unwrap();
        assert!((ys.to_vec1::<f64>().unwrap()[0] - 5.0).abs() < 1e-9);
        let grads = ys.sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get(var.as_tensor()).unwrap().to_vec2::<f64>().unwrap()[1], [0.0, 0.0]);
    }
}
