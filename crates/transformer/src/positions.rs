//! How a model knows where a token stands.

use candle_core::{DType, Device, Tensor};
use glassbox_core::Result;
use serde::{Deserialize, Serialize};

/// How a model knows where a token stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A vector of each position, learned and added to the token's.
    #[default]
    Learned,
    /// Sines and cosines of the position, added to the token's vector (Vaswani et al. 2017, arXiv 1706.03762).
    Sinusoidal,
    /// Queries and keys are turned by angles proportional to the position (Su et al. 2021, arXiv 2104.09864), at a base of
    /// 10,000.
    Rotary,
    /// Scores fall linearly with the distance, in each head at its own rate (Press et al. 2022, arXiv 2108.12409).
    Alibi,
    /// It does not, but by what causal attention lets it see.
    None,
}

/// Sines of each of `positions` in the first half of its vector, cosines in the second, of angles
/// position / 10,000^(2i / width).
///
/// # Shapes
/// `positions` (batch, len), u32. Returns (batch, len, width).
pub(crate) fn sinusoids(positions: &Tensor, width: usize, dtype: DType) -> Result<Tensor> {
    let sines = width.div_ceil(2);
    let speed = |i: usize| 10_000f64.powf(-((2 * i) as f64) / width as f64);
    let speeds: Vec<f64> = (0..width).map(|i| if i < sines { speed(i) } else { speed(i - sines) }).collect();
    let mut values = Vec::with_capacity(positions.elem_count() * width);
    for position in positions.flatten_all()?.to_vec1::<u32>()? {
        let angles = speeds.iter().map(|speed| f64::from(position) * speed).enumerate();
        values.extend(angles.map(|(i, angle)| if i < sines { angle.sin() } else { angle.cos() } as f32));
    }
    let (batch, len) = positions.dims2()?;
    Ok(Tensor::from_vec(values, (batch, len, width), positions.device())?.to_dtype(dtype)?)
}

/// What is added to the scores of causal attention: −slope · distance, with slopes 2^(−8 (head + 1) / num_heads).
///
/// # Shapes
/// Returns (1, num_heads, len, offset + len) for tokens from `offset` on.
pub(crate) fn alibi(num_heads: usize, offset: usize, len: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(num_heads * len * (offset + len));
    for head in 0..num_heads {
        let slope = 2f64.powf(-8.0 * (head + 1) as f64 / num_heads as f64);
        for query in offset..offset + len {
            values.extend((0..offset + len).map(|key| -(slope * query.saturating_sub(key) as f64) as f32));
        }
    }
    Ok(Tensor::from_vec(values, (1, num_heads, len, offset + len), device)?.to_dtype(dtype)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_and_cosines_are_those_of_the_paper() {
        let table = sinusoids(&Tensor::new(&[[0u32, 3]], &Device::Cpu).unwrap(), 4, DType::F32).unwrap();
        let table = table.to_vec3::<f32>().unwrap();
        assert_eq!(table[0][0], [0.0, 0.0, 1.0, 1.0]);
        let want = [3f64.sin(), 0.03f64.sin(), 3f64.cos(), 0.03f64.cos()].map(|x| x as f32);
        assert_eq!(table[0][1], want);
    }

    #[test]
    fn alibi_falls_with_the_distance() {
        let bias = alibi(2, 1, 2, DType::F32, &Device::Cpu).unwrap().squeeze(0).unwrap().to_vec3::<f32>().unwrap();
        // Slopes 1/16 and 1/256; what is ahead is hidden by the causal mask.
        assert_eq!(bias[0], [[-0.0625, 0.0, 0.0], [-0.125, -0.0625, 0.0]]);
        assert_eq!(bias[1][1], [-2.0 / 256.0, -1.0 / 256.0, 0.0]);
    }
}
