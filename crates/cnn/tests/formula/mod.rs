//! Parameters and inputs from a formula, so that fixtures of whole models need not hold them.
//!
//! `tools/fixtures/cnn_formula.py` is the same in Python; both are exact.

use candle_core::{DType, Device, Tensor};
use glassbox_core::{ParamStore, Result};

/// `count` numbers in [0, 1): SplitMix64 of the elements' indices, from the FNV-1a hash of `name`.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let start = name.bytes().fold(0xCBF2_9CE4_8422_2325, hash);
    (1..=count as u64).map(move |i| {
        let z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(start);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 * 2f64.powi(-53)
    })
}

/// The parameter or buffer called `name`: weights in a range that keeps activations near 1.
fn value(name: &str, shape: &[usize]) -> Result<Tensor> {
    let u = uniform(name, shape.iter().product());
    let values: Vec<f64> = if name.ends_with("num_batches_tracked") {
        vec![0.0]
    } else if name.ends_with("running_var") {
        u.map(|u| 0.5 + u).collect()
    } else if shape.len() > 1 {
        let fan_in = shape[1..].iter().product::<usize>() as f64;
        let scale = (if shape.len() == 4 { 6.0 } else { 3.0 } / fan_in).sqrt();
        u.map(|u| (u - 0.5) * 2.0 * scale).collect()
    } else if name.ends_with("weight") {
        u.map(|u| 0.25 + 0.5 * u).collect()
    } else {
        u.map(|u| (u - 0.5) * 0.2).collect()
    };
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Pixels in [-1, 1).
pub fn images(shape: &[usize], dtype: DType) -> Result<Tensor> {
    let values: Vec<f64> = uniform("images", shape.iter().product()).map(|u| (u - 0.5) * 2.0).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?)
}

/// Sets every parameter and buffer.
pub fn fill(params: &ParamStore) -> Result<()> {
    params.all().iter().try_for_each(|param| param.set(&value(param.name(), param.shape().dims())?))
}
