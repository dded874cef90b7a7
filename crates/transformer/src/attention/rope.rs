//! Rotary positions and how they are stretched to longer texts.

use std::f64::consts::PI;

use candle_core::{D, Tensor};
use glassbox_core::{Error, Result, concat};
use glassbox_kernels::rotary::{RotaryStyle, rotary};
use serde::{Deserialize, Serialize};

/// How queries and keys are turned: `rope_parameters` of a `config.json`, or `rope_scaling` of older ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeParameters {
    /// `default`, `linear` (Chen et al. 2023, arXiv 2306.15595) or `llama3` (Grattafiori et al. 2024, arXiv 2407.21783).
    #[serde(alias = "type", skip_serializing_if = "Option::is_none")]
    pub rope_type: Option<String>,
    /// The longest wavelength's base, above 0; 10,000 where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_theta: Option<f64>,
    /// By how much positions are shrunk, above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// `llama3`: wavelengths above the trained length over this are shrunk whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_freq_factor: Option<f64>,
    /// `llama3`: wavelengths below the trained length over this are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_freq_factor: Option<f64>,
    /// `llama3`: the length first trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_max_position_embeddings: Option<usize>,
}

/// The turn by positions.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    theta: f64,
    /// The angle that each pair is turned by from one position to the next, where it is not theta^(−2i / head_dim).
    speeds: Option<Vec<f64>>,
}

impl Rope {
    /// # Errors
    /// An unknown kind, or a number that it needs and lacks.
    pub fn new(theta: f64, parameters: &RopeParameters, head_dim: usize) -> Result<Self> {
        let theta = positive("rope_theta", Some(parameters.rope_theta.unwrap_or(theta)))?;
        if !head_dim.is_multiple_of(2) {
            return Err(Error::invalid("head_dim", "an even number, for rotary positions", head_dim));
        }
        let plain = || (0..head_dim / 2).map(|i| theta.powf(-((2 * i) as f64) / head_dim as f64));
        let speeds = match parameters.rope_type.as_deref() {
            None | Some("default") => None,
            Some("linear") => {
                let factor = positive("factor of the rotary positions", parameters.factor)?;
                Some(plain().map(|speed| speed / factor).collect())
            }
            Some("llama3") => Some(llama3(plain(), parameters)?),
            Some(other) => return Err(Error::invalid("rope_type", "default, linear or llama3", format!("{other:?}"))),
        };
        Ok(Self { theta, speeds })
    }

    /// Turns `xs` (batch, num_heads, len, head_dim), whose first token is at position `offset`.
    pub fn apply(&self, xs: &Tensor, offset: usize) -> Result<Tensor> {
        let Some(speeds) = &self.speeds else { return Ok(rotary(xs, self.theta, offset, RotaryStyle::Half)?) };
        let (len, half) = (xs.dim(2)?, xs.dim(3)? / 2);
        let angles =
            (offset..offset + len).flat_map(|position| speeds.iter().map(move |speed| position as f64 * speed));
        let (sines, cosines): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
        let table = |values: Vec<f64>| -> Result<Tensor> {
            Ok(Tensor::from_vec(values, (len, half), xs.device())?.to_dtype(xs.dtype())?)
        };
        let (sines, cosines) = (table(sines)?, table(cosines)?);
        let (a, b) = (xs.narrow(D::Minus1, 0, half)?, xs.narrow(D::Minus1, half, half)?);
        let first = (a.broadcast_mul(&cosines)? - b.broadcast_mul(&sines)?)?;
        let second = (b.broadcast_mul(&cosines)? + a.broadcast_mul(&sines)?)?;
        concat(&[first, second], D::Minus1)
    }
}

/// Long wavelengths shrunk, short ones not, those between in part.
fn llama3(plain: impl Iterator<Item = f64>, parameters: &RopeParameters) -> Result<Vec<f64>> {
    let factor = positive("factor of the rotary positions", parameters.factor)?;
    let low = positive("low_freq_factor", parameters.low_freq_factor)?;
    let high = positive("high_freq_factor", parameters.high_freq_factor)?;
    let trained = parameters.original_max_position_embeddings.map(|length| length as f64);
    let trained = positive("original_max_position_embeddings", trained)?;
    if high <= low {
        return Err(Error::invalid("high_freq_factor", format!("above low_freq_factor {low}"), high));
    }
    Ok(plain
        .map(|speed| {
            let turns = trained * speed / (2.0 * PI);
            let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            speed * (share + (1.0 - share) / factor)
        })
        .collect())
}

fn positive(what: &str, value: Option<f64>) -> Result<f64> {
    match value {
        Some(value) if value > 0.0 && value.is_finite() => Ok(value),
        Some(value) => Err(Error::invalid(what, "a number above 0", value)),
        None => Err(Error::invalid(what, "a number above 0", "none")),
    }
}
