//! A length at which a square of scores would be 64 MiB a head.

use candle_core::Var;

use super::super::engine::Values;
use super::super::view::{Strides, View};
use super::super::{backward, forward};
use super::*;

const LEN: usize = 4096;

/// The scratch of forward does not grow with the length; that of backward by what gradients of keys and values take.
#[test]
fn scratch_grows_with_the_length_at_most() {
    let sizes = |len| Sizes { batch: 1, heads: 4, kv_heads: 4, q_len: len, kv_len: len, head_dim: 64, value_dim: 64 };
    let scratch = |len: usize| {
        let sizes = sizes(len);
        let like = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let rules = Rules::new("attention", &sizes, &like, None, &AttentionParams::default()).unwrap();
        let view = View { data: &[0f32; 0][..], strides: Strides { batch: 0, head: 0, row: 0 } };
        let values =
            Values { q: view, k: view, v: view, additive: None, sizes, rules: &rules, blocks: Blocks::default() };
        (forward::scratch_len(&values), backward::scratch_len(&values, len))
    };
    let ((forward, backward), (half_forward, half_backward)) = (scratch(LEN), scratch(LEN / 2));
    assert_eq!(forward, half_forward);
    assert!(forward * size_of::<f32>() < 128 << 10, "{forward}");
    assert_eq!(backward - half_backward, LEN / 2 * 128);
}

/// Rows of the output, and the gradient of their queries, against the composed form of these rows alone.
#[test]
fn rows_of_a_long_sequence() {
    let dim = 16;
    let (heads, mask) = (2, AttentionMask::default());
    let params = AttentionParams { causal: true, ..Default::default() };
    let qkv = Var::from_tensor(&single(&values((1, LEN, 3 * heads * dim), 1).unwrap())).unwrap();
    let ys = attention_packed(qkv.as_tensor(), heads, None, &params).unwrap();
    let grad = ys.sum_all().unwrap().backward().unwrap().get(&qkv).unwrap().clone();
    let part = |t: &Tensor, i: usize| {
        by_head(&t.narrow(2, i * heads * dim, heads * dim).unwrap().contiguous().unwrap(), heads).unwrap()
    };
    let qkv = qkv.as_detached_tensor();
    for row in [0, 63, 64, 1000, 2047, LEN - 1] {
        let q = Var::from_tensor(&part(&qkv, 0).narrow(2, row, 1).unwrap().contiguous().unwrap()).unwrap();
        let kv = |i| part(&qkv, i).narrow(2, 0, row + 1).unwrap().contiguous().unwrap();
        let want = composed(&[q.as_tensor().clone(), kv(1), kv(2)], &mask, &params).unwrap();
        let want_grad = want.sum_all().unwrap().backward().unwrap().get(&q).unwrap().clone();
        let got = by_head(&ys, heads).unwrap().narrow(2, row, 1).unwrap();
        assert_close(&flat(&got), &flat(&want), 1e-5);
        assert_close(&flat(&part(&grad, 0).narrow(2, row, 1).unwrap()), &flat(&want_grad), 1e-5);
    }
}
