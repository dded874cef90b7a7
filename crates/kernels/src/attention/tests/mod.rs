//! The fused form against the composed one and against central differences, over masks, sizes, layouts and blocks.

mod errors;
mod long;

use candle_core::{DType, Device, Tensor};

use super::form::Form;
use super::*;
use crate::testing::{assert_close, flat, run};
use crate::testkit::{check_gradients, values};

/// So small that a few positions make several blocks with edges.
const SMALL: Blocks = Blocks { queries: 3, keys: 4 };

/// Batch, heads, heads of keys, queries, keys, head_dim, value_dim.
type Dims = [usize; 7];

const SHAPES: [Dims; 7] = [
    [1, 1, 1, 1, 1, 1, 1],
    [2, 2, 2, 5, 5, 3, 3],
    [2, 4, 2, 7, 7, 2, 5],
    [1, 3, 1, 4, 9, 3, 2],
    [2, 2, 1, 9, 4, 1, 3],
    [1, 2, 2, 1, 11, 4, 4],
    [1, 1, 1, 19, 1, 2, 2],
];

fn separate([batch, heads, kv_heads, q_len, kv_len, dim, value_dim]: Dims) -> Vec<Tensor> {
    let q = (values((batch, heads, q_len, dim), 1).unwrap() * 2.0).unwrap();
    let k = (values((batch, kv_heads, kv_len, dim), 2).unwrap() * 2.0).unwrap();
    vec![q, k, values((batch, kv_heads, kv_len, value_dim), 3).unwrap()]
}

/// What is tried on every shape.
fn variants([batch, heads, _, q_len, kv_len, ..]: Dims) -> Vec<(&'static str, AttentionParams, AttentionMask)> {
    let plain = AttentionParams::default();
    let none = AttentionMask::default();
    let padding: Vec<u8> = (0..batch * kv_len).map(|i| u8::from(i % 3 != 1)).collect();
    let padding = AttentionMask::padding(&Tensor::from_vec(padding, (batch, kv_len), &Device::Cpu).unwrap());
    // The last sample has a key less, the one before half of them: at length 1 that means none at all.
    let lengths =
        AttentionMask::lengths((0..batch).map(|i| kv_len - (i + 1) % 2 * kv_len.div_ceil(2)).collect::<Vec<_>>());
    let full = AttentionMask::additive(&values((batch, heads, q_len, kv_len), 5).unwrap());
    let bias = values((heads, 1, kv_len), 6).unwrap();
    let by_query = AttentionMask::additive(&values((1, 1, kv_len, q_len), 7).unwrap().t().unwrap());
    let causal = AttentionParams { causal: true, ..plain };
    let dropout = AttentionParams { dropout: Some((0.3, 11)), ..plain };
    let everything = AttentionParams { window: Some(3), scale: Some(0.7), dropout: Some((0.2, 5)), causal: true };
    let all_masks = AttentionMask { additive: full.additive.clone(), ..padding.clone() };
    let all_masks = AttentionMask { lengths: lengths.lengths.clone(), ..all_masks };
    vec![
        ("plain", plain, none.clone()),
        ("causal", causal, none.clone()),
        ("window", AttentionParams { window: Some(2), ..plain }, none.clone()),
        ("causal window", AttentionParams { window: Some(2), ..causal }, none.clone()),
        ("huge window", AttentionParams { window: Some(usize::MAX), ..plain }, none.clone()),
        ("scale", AttentionParams { scale: Some(-0.3), ..plain }, none.clone()),
        ("dropout", dropout, none.clone()),
        ("all dropped", AttentionParams { dropout: Some((1.0, 1)), ..plain }, none),
        ("padding", plain, padding.clone()),
        ("causal padding", causal, padding),
        ("lengths", plain, lengths),
        ("additive", plain, full),
        ("additive bias", plain, AttentionMask::additive(&bias)),
        ("additive transposed", plain, by_query),
        ("everything", everything, all_masks),
    ]
}

fn fused(t: &[Tensor], mask: &AttentionMask, params: &AttentionParams, blocks: Blocks) -> Result<Tensor> {
    attend(Form::Separate, &t.iter().collect::<Vec<_>>(), None, Some(mask), params, blocks)?.transpose(1, 2)
}

fn composed(t: &[Tensor], mask: &AttentionMask, params: &AttentionParams) -> Result<Tensor> {
    let inputs: Vec<_> = t.iter().collect();
    let sizes = Form::Separate.sizes(&inputs, None)?;
    let rules = Rules::new("attention", &sizes, &t[0], Some(mask), params)?;
    composed::attention(&t[0], &t[1], &t[2], &sizes, &rules)
}

fn single(tensor: &Tensor) -> Tensor {
    tensor.to_dtype(DType::F32).unwrap()
}

#[test]
fn fused_equals_composed_with_its_gradients() {
    for dims in SHAPES {
        for (name, params, mask) in variants(dims) {
            let inputs = separate(dims);
            let want = run(&inputs, |t| composed(t, &mask, &params));
            let inputs_f32: Vec<_> = inputs.iter().map(single).collect();
            let mask_f32 = AttentionMask { additive: mask.additive.as_ref().map(single), ..mask.clone() };
            for blocks in [SMALL, Blocks { queries: 16, keys: 5 }, Blocks::default()] {
                let got = run(&inputs, |t| fused(t, &mask, &params, blocks));
                let got_f32 = run(&inputs_f32, |t| fused(t, &mask_f32, &params, blocks));
                for (i, want) in want.iter().enumerate() {
                    println!("{dims:?} {name} {i}");
                    assert_close(&flat(&got[i]), &flat(want), 1e-12);
                    // Inputs and a few dozen operations rounded by 6e-8 each.
                    assert_close(&flat(&got_f32[i]), &flat(want), 1e-5);
                }
            }
        }
    }
}

/// Also as transposed views: `check_gradients` tries them, with the last dimension's elements apart.
#[test]
fn gradients() {
    for dims in [[2, 2, 1, 4, 5, 2, 3], [1, 2, 2, 5, 3, 2, 2]] {
        for (name, params, mask) in variants(dims) {
            println!("{dims:?} {name}");
            check_gradients(&separate(dims), |t| fused(t, &mask, &params, SMALL)).unwrap();
        }
        check_gradients(&separate(dims), |t| composed(t, &AttentionMask::default(), &AttentionParams::default()))
            .unwrap();
    }
}

/// (batch, len, heads, dim) seen as (batch, heads, len, dim).
fn by_head(xs: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, len, width) = xs.dims3()?;
    xs.reshape((batch, len, heads, width / heads))?.transpose(1, 2)
}

#[test]
fn packed_equals_separate_with_its_gradients() {
    let (heads, width) = (2, 6);
    let params = AttentionParams { causal: true, dropout: Some((0.2, 3)), ..Default::default() };
    let mask = AttentionMask::lengths([7, 4]);
    let merge = |ys: Tensor| ys.transpose(1, 2)?.flatten_from(2);
    let part = |xs: &Tensor, i: usize| by_head(&xs.narrow(2, i * width, width)?.contiguous()?, heads);

    let qkv = [values((2, 7, 3 * width), 1).unwrap()];
    let want =
        run(&qkv, |t| merge(attention(&part(&t[0], 0)?, &part(&t[0], 1)?, &part(&t[0], 2)?, Some(&mask), &params)?));
    let got = run(&qkv, |t| attention_packed(&t[0], heads, Some(&mask), &params));
    want.iter().zip(&got).for_each(|(want, got)| assert_close(&flat(got), &flat(want), 1e-13));
    check_gradients(&qkv, |t| attend(Form::Packed, &[&t[0]], Some(heads), Some(&mask), &params, SMALL)).unwrap();

    let inputs = [values((2, 5, width), 1).unwrap(), values((2, 7, 2 * width), 2).unwrap()];
    let want = run(&inputs, |t| {
        merge(attention(&by_head(&t[0], heads)?, &part(&t[1], 0)?, &part(&t[1], 1)?, Some(&mask), &params)?)
    });
    let got = run(&inputs, |t| attention_packed_kv(&t[0], &t[1], heads, Some(&mask), &params));
    want.iter().zip(&got).for_each(|(want, got)| assert_close(&flat(got), &flat(want), 1e-13));
    let form = Form::PackedKeys;
    check_gradients(&inputs, |t| attend(form, &[&t[0], &t[1]], Some(heads), Some(&mask), &params, SMALL)).unwrap();
}

/// A narrowed qkv, whose rows and batch items lie further apart than they are long; and every way of splitting it.
#[test]
fn strided_views() {
    let wide = values((3, 9, 20), 1).unwrap();
    let view = wide.narrow(0, 1, 2).unwrap().narrow(1, 2, 6).unwrap().narrow(2, 1, 18).unwrap();
    let params = AttentionParams::default();
    let want = attention_packed(&view.contiguous().unwrap(), 3, None, &params).unwrap();
    let got = attention_packed(&view, 3, None, &params).unwrap();
    assert_eq!(flat(&got), flat(&want));
    let part = |i: usize| by_head(&view.narrow(2, i * 6, 6).unwrap(), 3).unwrap();
    let ys = attention(&part(0), &part(1), &part(2), None, &params).unwrap();
    assert_eq!(flat(&ys.transpose(1, 2).unwrap()), flat(&want));
    // One head of keys for all, as a view that repeats it.
    let shared = part(1).narrow(1, 0, 1).unwrap();
    let repeated = shared.broadcast_as((2, 3, 6, 2)).unwrap();
    let want = attention(&part(0), &shared, &shared, None, &params).unwrap();
    assert_eq!(flat(&attention(&part(0), &repeated, &repeated, None, &params).unwrap()), flat(&want));
}

/// Merging the heads is a view of the memory that the output has.
#[test]
fn the_output_lies_in_memory_by_position() {
    let t = separate([2, 4, 2, 7, 7, 2, 5]);
    let ys = attention(&t[0], &t[1], &t[2], None, &AttentionParams::default()).unwrap();
    assert_eq!(ys.dims(), [2, 4, 7, 5]);
    assert!(ys.transpose(1, 2).unwrap().is_contiguous());
}

#[test]
fn a_query_that_sees_nothing_gets_zeros_and_gives_none() {
    // One key, hidden from sample 1; the first queries of the causal case come before every key.
    let inputs = separate([2, 1, 1, 3, 1, 2, 2]);
    for (params, mask) in [
        (AttentionParams::default(), AttentionMask::lengths([1, 0])),
        (AttentionParams { causal: true, ..Default::default() }, AttentionMask::default()),
        (
            AttentionParams::default(),
            AttentionMask::additive(&Tensor::new(&[[[[0.0]]], [[[f64::NEG_INFINITY]]]], &Device::Cpu).unwrap()),
        ),
    ] {
        for function in
            [fused as fn(&[Tensor], &AttentionMask, &AttentionParams, Blocks) -> Result<Tensor>, |t, m, p, _| {
                composed(t, m, p)
            }]
        {
            let got = run(&inputs, |t| function(t, &mask, &params, SMALL));
            let hidden = if params.causal { 0..4 } else { 6..12 };
            assert!(flat(&got[0])[hidden.clone()].iter().all(|&y| y == 0.0));
            assert!(flat(&got[0]).iter().any(|&y| y != 0.0));
            assert!(flat(&got[1])[hidden].iter().all(|&g| g == 0.0));
            assert!(got.iter().all(|t| flat(t).iter().all(|x| x.is_finite())));
        }
    }
}

/// Scores of several hundred: only differences to the largest may be exponentiated.
#[test]
fn large_scores_do_not_overflow() {
    let mut inputs: Vec<_> = separate([1, 2, 2, 9, 9, 4, 4]).iter().map(single).collect();
    inputs[0] = (&inputs[0] * 300.0).unwrap();
    let (mask, params) = (AttentionMask::default(), AttentionParams::default());
    let want = flat(&composed(&inputs, &mask, &params).unwrap());
    let got = flat(&fused(&inputs, &mask, &params, SMALL).unwrap());
    // A score of 600 is rounded by 3e-5, its exponential by as much.
    assert_close(&got, &want, 2e-4);
}

#[test]
fn only_wanted_gradients_and_only_those() {
    let dims = [2, 4, 2, 7, 6, 3, 2];
    let params = AttentionParams { dropout: Some((0.2, 1)), ..Default::default() };
    let inputs = separate(dims);
    let all = run(&inputs, |t| fused(t, &AttentionMask::default(), &params, SMALL));
    for wanted in 1..8 {
        let is = |i: usize| wanted >> i & 1 == 1;
        let leaf = |i: usize| candle_core::Var::from_tensor(&inputs[i]).unwrap();
        let vars: Vec<_> = (0..3).map(leaf).collect();
        let as_wanted = |(i, v): (usize, &candle_core::Var)| {
            if is(i) { v.as_tensor().clone() } else { v.as_detached_tensor() }
        };
        let t: Vec<_> = vars.iter().enumerate().map(as_wanted).collect();
        let ys = fused(&t, &AttentionMask::default(), &params, SMALL).unwrap();
        let weights = values(ys.shape().clone(), 7).unwrap();
        let grads = (ys * weights).unwrap().sum_all().unwrap().backward().unwrap();
        for i in 0..3 {
            assert_eq!(grads.get(&t[i]).map(flat), is(i).then(|| flat(&all[i + 1])), "input {i} of {wanted}");
        }
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    // Two heads of keys: one thread takes them one by one, eight make two passes by queries and by keys.
    let dims = [1, 4, 2, 150, 170, 16, 16];
    let params = AttentionParams { causal: true, dropout: Some((0.1, 2)), ..Default::default() };
    let inputs: Vec<_> = separate(dims).iter().map(single).collect();
    let blocks = Blocks { queries: 32, keys: 48 };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&inputs, |t| fused(t, &AttentionMask::lengths([161]), &params, blocks)))
    };
    let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect();
    let [one, two, eight] = [1, 2, 8].map(|threads| on(threads).iter().map(bits).collect::<Vec<Vec<u32>>>());
    assert!(one == two && one == eight);
}

#[test]
fn empty_tensors() {
    for dims in [[0, 2, 2, 3, 3, 2, 2], [2, 2, 2, 0, 3, 2, 2], [2, 2, 2, 3, 0, 2, 2], [2, 2, 1, 3, 3, 2, 0]] {
        let inputs = separate(dims);
        let mask = AttentionMask::default();
        let params = AttentionParams { causal: true, ..Default::default() };
        let got = run(&inputs, |t| fused(t, &mask, &params, SMALL));
        assert_eq!(got[0].dims(), [dims[0], dims[1], dims[3], dims[6]]);
        assert!(got.iter().all(|t| flat(t).iter().all(|&x| x == 0.0)));
        assert_eq!(composed(&inputs, &mask, &params).unwrap().dims(), got[0].dims());
    }
    let qkv = Tensor::zeros((0, 4, 6), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(attention_packed(&qkv, 2, None, &AttentionParams::default()).unwrap().dims(), [0, 4, 2]);
}

/// Half precision goes through the composed form.
#[test]
fn other_types_are_composed() {
    let inputs: Vec<_> = separate([2, 4, 2, 5, 5, 4, 4]);
    let (mask, params) = (AttentionMask::lengths([5, 3]), AttentionParams { causal: true, ..Default::default() });
    let want = flat(&fused(&inputs, &mask, &params, SMALL).unwrap());
    for dtype in [DType::BF16, DType::F16] {
        let half: Vec<_> = inputs.iter().map(|t| t.to_dtype(dtype).unwrap()).collect();
        let got = fused(&half, &mask, &params, SMALL).unwrap();
        assert_eq!(got.dtype(), dtype);
        // Scores of up to 8 with 8 bits of precision.
        assert_close(&flat(&got), &want, 0.05);
    }
}
