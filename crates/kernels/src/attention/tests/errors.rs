//! What does not fit is named.

use super::*;

fn message(result: Result<Tensor>) -> String {
    result.unwrap_err().to_string()
}

fn assert_names(result: Result<Tensor>, expected: &str) {
    let got = message(result);
    assert!(got.contains(expected), "expected {expected}, got {got}");
}

#[test]
fn shapes() {
    let params = AttentionParams::default();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let q = zeros(&[2, 4, 5, 8]);
    let try_with = |k: &[usize], v: &[usize]| attention(&q, &zeros(k), &zeros(v), None, &params);
    assert_names(try_with(&[2, 4, 5], &[2, 4, 5, 8]), "attention: expected q, k and v (batch, heads, len, dim)");
    assert_names(try_with(&[1, 4, 5, 8], &[1, 4, 5, 8]), "expected k (2, num_kv_heads, kv_len, 8)");
    assert_names(try_with(&[2, 4, 5, 7], &[2, 4, 5, 8]), "for q [2, 4, 5, 8], got [2, 4, 5, 7]");
    assert_names(try_with(&[2, 4, 5, 8], &[2, 4, 6, 8]), "expected v (2, 4, 5, value_dim)");
    assert_names(try_with(&[2, 3, 5, 8], &[2, 3, 5, 8]), "expected num_kv_heads to divide num_heads");
    assert_names(try_with(&[2, 0, 5, 8], &[2, 0, 5, 8]), "expected num_kv_heads to divide num_heads");
    let double = zeros(&[2, 4, 5, 8]).to_dtype(DType::F64).unwrap();
    assert_names(attention(&q, &double, &double, None, &params), "expected all inputs of dtype F32, got F64");

    let packed = |shape: &[usize], heads| attention_packed(&zeros(shape), heads, None, &params);
    assert_names(packed(&[2, 5], 1), "attention_packed: expected qkv of three dimensions, got [2, 5]");
    assert_names(packed(&[2, 5, 10], 1), "expected qkv (batch, len, 3 * d_model), got [2, 5, 10]");
    assert_names(packed(&[2, 5, 12], 3), "expected num_heads to divide d_model 4, got 3");
    assert_names(packed(&[2, 5, 12], 0), "expected num_heads to divide d_model 4, got 0");
    let cross = attention_packed_kv(&zeros(&[2, 5, 4]), &zeros(&[2, 6, 9]), 2, None, &params);
    assert_names(cross, "attention_packed_kv: expected kv (2, kv_len, 2 * 4) for q [2, 5, 4], got [2, 6, 9]");
}

#[test]
fn parameters() {
    let xs = Tensor::zeros((1, 2, 3, 4), DType::F32, &Device::Cpu).unwrap();
    let with = |params| attention(&xs, &xs, &xs, None, &params);
    let plain = AttentionParams::default();
    assert_names(with(AttentionParams { window: Some(0), ..plain }), "expected a window of at least 1, got 0");
    assert_names(with(AttentionParams { scale: Some(f64::NAN), ..plain }), "expected a finite scale, got NaN");
    assert_names(
        with(AttentionParams { dropout: Some((1.1, 0)), ..plain }),
        "expected a dropout probability from 0 to 1",
    );
}

#[test]
fn masks() {
    let xs = Tensor::zeros((2, 2, 3, 4), DType::F32, &Device::Cpu).unwrap();
    let with = |mask| attention(&xs, &xs, &xs, Some(&mask), &AttentionParams::default());
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    assert_names(with(AttentionMask::lengths([3])), "expected 2 lengths of at most 3, got [3]");
    assert_names(with(AttentionMask::lengths([3, 4])), "expected 2 lengths of at most 3, got [3, 4]");
    let padding = with(AttentionMask::padding(&zeros(&[2, 4], DType::U8)));
    assert_names(padding, "expected a padding mask [2, 3] of integers, got [2, 4] U8");
    assert_names(with(AttentionMask::padding(&zeros(&[2, 3], DType::F32))), "got [2, 3] F32");
    let additive = with(AttentionMask::additive(&zeros(&[2, 2, 3, 2], DType::F32)));
    assert_names(additive, "expected an additive mask for [2, 2, 3, 3], got [2, 2, 3, 2]");
    assert_names(with(AttentionMask::additive(&zeros(&[3, 3], DType::F64))), "expected an additive mask of dtype F32");
    let learned = candle_core::Var::zeros((3, 3), DType::F32, &Device::Cpu).unwrap();
    assert_names(with(AttentionMask::additive(learned.as_tensor())), "the additive mask gets no gradient");
}
