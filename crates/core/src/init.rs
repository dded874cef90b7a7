//! Initial values of parameters.

use candle_core::{DType, Device, Shape, Tensor};

use crate::{Error, Result, Rng};

/// How a parameter starts. Fans are PyTorch's: for a weight `(out, in, …)` the fan in is `in · receptive field`, the fan
/// out `out · receptive field`.
///
/// # References
/// Kaiming: He et al. 2015, arXiv 1502.01852. Xavier: Glorot and Bengio 2010. Orthogonal: Saxe et al. 2013, arXiv 1312.6120.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element 0.
    Zeros,
    /// Every element 1.
    Ones,
    /// Every element the same.
    Constant(f64),
    /// Uniform in [low, high).
    Uniform {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Normal, drawn again where it falls outside [low, high].
    TruncatedNormal {
        /// Mean before the cut.
        mean: f64,
        /// Standard deviation before the cut.
        std: f64,
        /// Lowest value kept.
        low: f64,
        /// Highest value kept.
        high: f64,
    },
    /// Uniform within ± gain · √(3 / fan).
    KaimingUniform {
        /// See [`gain`].
        gain: f64,
        /// Which fan.
        fan: Fan,
    },
    /// Normal of deviation gain / √fan.
    KaimingNormal {
        /// See [`gain`].
        gain: f64,
        /// Which fan.
        fan: Fan,
    },
    /// Uniform within ± gain · √(6 / (fan in + fan out)).
    XavierUniform {
        /// See [`gain`].
        gain: f64,
    },
    /// Normal of deviation gain · √(2 / (fan in + fan out)).
    XavierNormal {
        /// See [`gain`].
        gain: f64,
    },
    /// Orthonormal rows or columns (whichever are fewer) of the weight as a matrix `(out, rest)`, times gain.
    Orthogonal {
        /// See [`gain`].
        gain: f64,
    },
    /// Uniform within ± 1 / √fan, where the fan is given: PyTorch's default of linear and convolutional biases.
    UniformFan(usize),
}

/// Which fan a Kaiming initialisation keeps the variance of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// Of the forward pass.
    In,
    /// Of the backward pass.
    Out,
}

/// The gain that PyTorch recommends after each nonlinearity.
pub mod gain {
    /// Linear, convolution, sigmoid.
    pub const LINEAR: f64 = 1.0;
    /// tanh: 5/3.
    pub const TANH: f64 = 5.0 / 3.0;
    /// ReLU: √2.
    pub const RELU: f64 = std::f64::consts::SQRT_2;

    /// Leaky ReLU: √(2 / (1 + slope²)).
    pub fn leaky_relu(negative_slope: f64) -> f64 {
        (2.0 / (1.0 + negative_slope * negative_slope)).sqrt()
    }
}

impl Init {
    /// PyTorch's default for the weight of linear and convolutional layers: Kaiming uniform with the gain of a leaky ReLU
    /// of slope √5, which is uniform within ± 1 / √(fan in).
    pub const WEIGHT: Self = Self::KaimingUniform { gain: 0.577_350_269_189_625_8, fan: Fan::In };

    /// A tensor of initial values.
    ///
    /// # Errors
    /// A fan of a tensor with fewer than two dimensions, bounds out of order, or a deviation below zero.
    pub fn tensor(self, shape: impl Into<Shape>, rng: &mut Rng, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        let mut uniform = |bound: f64, shape: Shape| rng.uniform_tensor(shape, -bound, bound, dtype, device);
        match self {
            Self::Zeros => Ok(Tensor::zeros(shape, dtype, device)?),
            Self::Ones => Ok(Tensor::ones(shape, dtype, device)?),
            Self::Constant(value) => Ok(Tensor::full(value, shape, device)?.to_dtype(dtype)?),
            Self::UniformFan(fan) => uniform(1.0 / (fan.max(1) as f64).sqrt(), shape),
            Self::KaimingUniform { gain, fan } => uniform(gain * (3.0 / fan_of(&shape, fan)?).sqrt(), shape),
            Self::XavierUniform { gain } => uniform(gain * (6.0 / fan_sum(&shape)?).sqrt(), shape),
            Self::Uniform { low, high } => rng.uniform_tensor(shape, low, high, dtype, device),
            Self::Normal { mean, std } => rng.normal_tensor(shape, mean, std, dtype, device),
            Self::KaimingNormal { gain, fan } => {
                let std = gain / fan_of(&shape, fan)?.sqrt();
                rng.normal_tensor(shape, 0.0, std, dtype, device)
            }
            Self::XavierNormal { gain } => {
                let std = gain * (2.0 / fan_sum(&shape)?).sqrt();
                rng.normal_tensor(shape, 0.0, std, dtype, device)
            }
            Self::TruncatedNormal { mean, std, low, high } => {
                truncated(mean, std, low, high, shape, rng, dtype, device)
            }
            Self::Orthogonal { gain } => orthogonal(gain, shape, rng, dtype, device),
        }
    }
}

fn fans(shape: &Shape) -> Result<(f64, f64)> {
    match shape.dims() {
        [outputs, inputs, field @ ..] => {
            let field = field.iter().product::<usize>() as f64;
            Ok(((*inputs as f64 * field).max(1.0), (*outputs as f64 * field).max(1.0)))
        }
        dims => Err(Error::invalid("initial values by fan", "a shape of two dimensions or more", format!("{dims:?}"))),
    }
}

fn fan_of(shape: &Shape, fan: Fan) -> Result<f64> {
    fans(shape).map(|(fan_in, fan_out)| if fan == Fan::In { fan_in } else { fan_out })
}

fn fan_sum(shape: &Shape) -> Result<f64> {
    fans(shape).map(|(fan_in, fan_out)| fan_in + fan_out)
}

#[allow(clippy::too_many_arguments)]
fn truncated(
    mean: f64,
    std: f64,
    low: f64,
    high: f64,
    shape: Shape,
    rng: &mut Rng,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    // Drawing again takes ever longer as the kept range leaves the bulk; four deviations keep it under 32,000 draws.
    let reachable = low < high && std > 0.0 && (low - mean) / std < 4.0 && (high - mean) / std > -4.0;
    if !reachable || (high - low) / std < 1e-3 {
        let got = format!("mean {mean}, std {std}, low {low}, high {high}");
        return Err(Error::invalid("truncated normal", "low < high within four deviations of the mean", got));
    }
    rng.tensor(shape, dtype, device, |rng| {
        loop {
            let value = mean + std * rng.normal();
            if (low..=high).contains(&value) {
                return value;
            }
        }
    })
}

/// Gram-Schmidt, twice for accuracy, on the rows of a normal matrix; transposed where there are more rows than columns.
fn orthogonal(gain: f64, shape: Shape, rng: &mut Rng, dtype: DType, device: &Device) -> Result<Tensor> {
    fans(&shape)?;
    let rows = shape.dims()[0];
    let columns = shape.elem_count() / rows.max(1);
    let (short, long) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(short);
    while basis.len() < short {
        let mut vector: Vec<f64> = (0..long).map(|_| rng.normal()).collect();
        for _ in 0..2 {
            for other in &basis {
                let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        // A draw that lies in the span of the others has probability zero; the next draw replaces it.
        if norm > 1e-9 {
            vector.iter_mut().for_each(|v| *v /= norm);
            basis.push(vector);
        }
    }
    let flat: Vec<f64> = basis.concat().iter().map(|v| v * gain).collect();
    let matrix = Tensor::from_vec(flat, (short, long), &Device::Cpu)?;
    let matrix = if rows > columns { matrix.t()?.contiguous()? } else { matrix };
    Ok(matrix.reshape(shape)?.to_dtype(dtype)?.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    fn draw(init: Init, shape: impl Into<Shape>) -> Tensor {
        init.tensor(shape, &mut Seed(3).rng(), DType::F64, &Device::Cpu).unwrap()
    }

    fn moments(tensor: &Tensor) -> (f64, f64, f64) {
        let values = tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        (mean, std, values.iter().fold(0.0, |m: f64, v| m.max(v.abs())))
    }

    #[test]
    fn deviations_follow_the_fans() {
        // Weight (64, 32, 3, 3): fan in 288, fan out 576. 18,432 samples: the deviation's standard error is 0.5 %.
        let shape = (64, 32, 3, 3);
        let cases = [
            (Init::WEIGHT, 1.0 / 288f64.sqrt() / 3f64.sqrt()),
            (Init::KaimingNormal { gain: gain::RELU, fan: Fan::In }, (2.0 / 288f64).sqrt()),
            (Init::KaimingNormal { gain: gain::RELU, fan: Fan::Out }, (2.0 / 576f64).sqrt()),
            (Init::KaimingUniform { gain: gain::RELU, fan: Fan::In }, (2.0 / 288f64).sqrt()),
            (Init::XavierUniform { gain: 1.0 }, (2.0 / 864f64).sqrt()),
            (Init::XavierNormal { gain: gain::TANH }, gain::TANH * (2.0 / 864f64).sqrt()),
        ];
        for (init, expected) in cases {
            let (mean, std, _) = moments(&draw(init, shape));
            assert!(mean.abs() < 5.0 * expected / 135.0, "{init:?}: mean {mean}");
            assert!((std / expected - 1.0).abs() < 0.025, "{init:?}: {std}, expected {expected}");
        }
        assert!(moments(&draw(Init::WEIGHT, shape)).2 <= 1.0 / 288f64.sqrt());
    }

    #[test]
    fn truncated_normal_keeps_its_bounds() {
        let init = Init::TruncatedNormal { mean: 0.0, std: 1.0, low: -2.0, high: 2.0 };
        let (mean, std, largest) = moments(&draw(init, 20_000));
        assert!(largest <= 2.0 && mean.abs() < 0.035);
        // The deviation of a standard normal cut at ±2 is 0.8796.
        assert!((std - 0.8796).abs() < 0.02, "{std}");
        let unreachable = Init::TruncatedNormal { mean: 0.0, std: 1.0, low: 50.0, high: 51.0 };
        assert!(unreachable.tensor(3, &mut Seed(1).rng(), DType::F32, &Device::Cpu).is_err());
    }

    #[test]
    fn orthogonal_rows_or_columns() {
        for (rows, columns) in [(4, 9), (9, 4), (5, 5)] {
            let matrix = draw(Init::Orthogonal { gain: 2.0 }, (rows, columns));
            let (a, b) = (matrix.clone(), matrix.t().unwrap());
            let gram = if rows <= columns { a.matmul(&b) } else { b.matmul(&a) }.unwrap();
            for (i, row) in gram.to_vec2::<f64>().unwrap().iter().enumerate() {
                for (j, value) in row.iter().enumerate() {
                    assert!((value - if i == j { 4.0 } else { 0.0 }).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn a_vector_has_no_fans() {
        let error = Init::WEIGHT.tensor(3, &mut Seed(1).rng(), DType::F32, &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("two dimensions"), "{error}");
    }
}
