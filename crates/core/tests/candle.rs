//! What `docs/candle.md` says about Candle 0.11.1, shown; beside each, that Glassbox's own does it right.
//!
//! A test here that fails after an update of Candle is good news: a fix has landed. Take the claim out of
//! `docs/candle.md` and out of this file, and see whether our own operation is still needed.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

#[path = "candle/graph.rs"]
mod graph;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{ModuleT, rotary_emb};
use glassbox_core::testkit::{check_gradients, values};
use glassbox_core::{Gradients, Init, ParamStore, Pass, Seed, TensorExt};
use glassbox_kernels::{conv, loss, norm, pool, softmax, upsample};

const CPU: &Device = &Device::Cpu;
const EPS: f64 = 1e-5;
const FIXED: &str = "Candle has changed here, it seems for the better: see the head of this file";

const NORMAL: Init = Init::Normal { mean: 0.0, std: 1.0 };

type Function = fn(&[Tensor]) -> Result<Tensor>;
type Named<'a> = (&'a str, &'a dyn Fn(&Tensor) -> Result<Tensor>);

/// Central differences find `fault` in the gradients that Candle gives `theirs`, and nothing in those of `ours`.
fn claim(what: &str, shapes: &[&[usize]], theirs: Function, fault: &str, ours: Function) {
    let inputs: Vec<Tensor> = shapes.iter().zip(1..).map(|(&shape, seed)| values(shape, seed).unwrap()).collect();
    match check_gradients(&inputs, theirs) {
        Err(error) => assert!(error.to_string().contains(fault), "{what}: {FIXED}. It was `{fault}`, is: {error}"),
        Ok(()) => panic!("{what}: {FIXED}. It was `{fault}`, is right"),
    }
    check_gradients(&inputs, ours).unwrap_or_else(|error| panic!("{what}, ours: {error}"));
}

/// Whether a gradient reaches an f32 input of shape (1, 2, 4, 4) through `function`.
fn reaches(function: impl Fn(&Tensor) -> Result<Tensor>) -> bool {
    let x = Var::from_tensor(&values((1, 2, 4, 4), 1).unwrap().to_dtype(DType::F32).unwrap()).unwrap();
    let y = function(x.as_tensor()).unwrap().to_dtype(DType::F32).unwrap();
    y.sqr().unwrap().sum_all().unwrap().backward().unwrap().get(x.as_tensor()).is_some()
}

/// The gradient of the sum of `function` at an input of these values, flattened.
fn gradient(input: &[f64], shape: &[usize], function: impl Fn(&Tensor) -> Result<Tensor>) -> Vec<f64> {
    let x = Var::from_slice(input, shape, CPU).unwrap();
    let grads = function(x.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
    grads.get(x.as_tensor()).unwrap().to_f64_vec().unwrap()
}

#[test]
fn fused_operations_cut_the_gradient() {
    let vector = |value| Tensor::full(value, 4, CPU).unwrap();
    let (w, b) = (vector(1f32), vector(0f32));
    let angles = Tensor::zeros((4, 2), DType::F32, CPU).unwrap();
    let cut: [Named; 8] = [
        ("LayerNorm", &|x| candle_nn::LayerNorm::new(w.clone(), b.clone(), EPS).forward(x)),
        ("RmsNorm", &|x| candle_nn::RmsNorm::new(w.clone(), EPS).forward(x)),
        ("softmax_last_dim", &candle_nn::ops::softmax_last_dim),
        ("layer_norm", &|x| candle_nn::ops::layer_norm(x, &w, &b, EPS as f32)),
        ("rms_norm", &|x| candle_nn::ops::rms_norm(x, &w, EPS as f32)),
        ("rope", &|x| rotary_emb::rope(x, &angles, &angles)),
        ("rope_i", &|x| rotary_emb::rope_i(x, &angles, &angles)),
        ("rope_thd", &|x| rotary_emb::rope_thd(x, &angles.narrow(0, 0, 2)?, &angles.narrow(0, 0, 2)?)),
    ];
    for (name, theirs) in cut {
        assert!(!reaches(theirs), "{name} has a gradient (huggingface/candle 2168, 2977, 3568, 3569): {FIXED}");
    }
    let transposed = |x: &Tensor| candle_nn::LayerNorm::new(w.clone(), b.clone(), EPS).forward(&x.t()?);
    assert!(reaches(transposed), "LayerNorm takes another way for an input that is not contiguous");
    assert!(reaches(|x| candle_nn::LayerNorm::new_no_bias(w.clone(), EPS).forward(x)), "and for one without a bias");
    assert!(reaches(|x| candle_nn::RmsNorm::new(w.clone(), EPS).forward(&x.t()?)), "RmsNorm does, too");

    assert!(reaches(|x| softmax::softmax(x, 3)));
    assert!(reaches(|x| norm::layer_norm(x, Some(&w), Some(&b), &[4], EPS)));
    assert!(reaches(|x| norm::rms_norm(x, &w, EPS)));
}

#[test]
fn a_parameter_that_is_cut_off_is_named() {
    let params = ParamStore::new(Seed(1), CPU);
    let cut = params.root().pp("query").param("weight", (2, 4), NORMAL).unwrap();
    let gradients = |of: fn(&Tensor) -> Result<Tensor>| {
        let y = of(&cut.get(&Pass::train(Seed(1)))).unwrap();
        Gradients::of(&y.sqr().unwrap().sum_all().unwrap(), &params).unwrap()
    };
    let error = gradients(candle_nn::ops::softmax_last_dim).expect_all(&params).unwrap_err();
    assert!(error.to_string().contains("query.weight"), "{error}");
    gradients(|x| softmax::softmax(x, 1)).expect_all(&params).unwrap();
}

#[test]
fn in_place_and_discrete_operations_have_no_gradient() {
    let in_place = |x: &Tensor| {
        let target = x.zeros_like()?;
        target.slice_set(x, 0, 0)?;
        Ok(target)
    };
    let none: [Named; 5] = [
        ("slice_set", &in_place),
        ("comparison", &|x| x.gt(0.0)),
        ("argmax", &|x| x.argmax(3)),
        ("argsort", &|x| x.arg_sort_last_dim(true)),
        ("round", &|x| x.round()),
    ];
    for (name, function) in none {
        assert!(!reaches(function), "{name}: {FIXED}");
    }
}

#[test]
fn convolutions() {
    claim(
        "transposed convolution in one dimension",
        &[&[1, 2, 4], &[2, 3, 2]],
        |t| t[0].conv_transpose1d(&t[1], 0, 0, 2, 1, 1),
        "conv-transpose1d",
        |t| {
            let params = conv::ConvTranspose2dParams { stride: [1, 2], ..Default::default() };
            conv::conv_transpose2d(&t[0].unsqueeze(2)?, &t[1].unsqueeze(2)?, None, &params)?.squeeze(2)
        },
    );
    // With padding, the gradient of the input is right, and that of the weight still is not.
    for (padding, fault) in [(0, "gradient of input 0 (transposed: false)"), (1, "gradient of input 1")] {
        let inputs = [values((2, 2, 6), 1).unwrap(), values((3, 2, 3), 2).unwrap()];
        let error = check_gradients(&inputs, |t| t[0].conv1d(&t[1], padding, 1, 1, 1)).expect_err(FIXED).to_string();
        assert!(error.contains(fault), "convolution in one dimension (huggingface/candle 3836): {FIXED}. {error}");
        let params = conv::Conv1dParams { padding: [padding; 2], ..Default::default() };
        check_gradients(&inputs, |t| conv::conv1d(&t[0], &t[1], None, &params)).unwrap();
    }
    for shape in [[1, 2, 7, 6], [1, 2, 6, 7]] {
        claim(
            "convolution in two dimensions, not square, with a stride",
            &[&shape, &[3, 2, 3, 3]],
            |t| t[0].conv2d(&t[1], 0, 2, 1, 1),
            "shape mismatch",
            |t| conv::conv2d(&t[0], &t[1], None, &conv::Conv2dParams { stride: [2, 2], ..Default::default() }),
        );
    }
}

/// The largest difference between elements.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_f64().unwrap()
}

#[test]
fn values_of_the_forward_are_wrong_on_the_cpu() {
    let (x, w) = (values((2, 3, 6), 1).unwrap(), values((3, 2, 3), 2).unwrap());
    // A product of a batch of transposed matrices with one broadcast matrix.
    let (left, right) = (x.t().unwrap(), values((3, 5), 3).unwrap().broadcast_as((2, 3, 5)).unwrap());
    let theirs = left.matmul(&right).unwrap();
    assert!(distance(&theirs, &left.contiguous().unwrap().matmul(&right).unwrap()) > 0.1, "matmul: {FIXED}");

    // It is at work in the transposed convolution of more than one sample.
    let theirs = |x: &Tensor| x.conv_transpose1d(&w, 0, 0, 1, 1, 1).unwrap();
    let one_by_one =
        Tensor::cat(&[theirs(&x.narrow(0, 0, 1).unwrap()), theirs(&x.narrow(0, 1, 1).unwrap())], 0).unwrap();
    assert!(distance(&theirs(&x), &one_by_one) > 0.1, "conv_transpose1d: {FIXED}");
    let as_image = |t: &Tensor| t.unsqueeze(2).unwrap();
    let ours = conv::conv_transpose2d(&as_image(&x), &as_image(&w), None, &Default::default()).unwrap();
    assert!(distance(&ours.squeeze(2).unwrap(), &one_by_one) < 1e-12, "rounding in f64");

    // A weight that is not contiguous is read as if it were.
    let weight = values((4, 3, 3), 2).unwrap().t().unwrap();
    let want = x.conv1d(&weight.contiguous().unwrap(), 0, 1, 1, 1).unwrap();
    let theirs = x.conv1d(&weight, 0, 1, 1, 1).unwrap();
    assert!(distance(&theirs, &want) > 0.1, "conv1d (huggingface/candle 3836): {FIXED}");
    assert!(distance(&conv::conv1d(&x, &weight, None, &Default::default()).unwrap(), &want) < 1e-12);
}

#[test]
fn upsampling() {
    claim(
        "bilinear upsampling",
        &[&[1, 2, 3, 4]],
        |t| t[0].upsample_bilinear2d(6, 8, false),
        "backward not supported for upsample_bilinear2d",
        |t| upsample::upsample_bilinear2d(&t[0], 6, 8, false),
    );
    // The gradient of the skip connection comes first and is lost.
    claim(
        "nearest upsampling with a skip connection (huggingface/candle 3507)",
        &[&[1, 2, 3, 3]],
        |t| Tensor::cat(&[t[0].upsample_nearest2d(6, 6)?.flatten_all()?, t[0].flatten_all()?], 0),
        "gradient of input 0",
        |t| Tensor::cat(&[upsample::upsample_nearest2d(&t[0], 6, 6)?.flatten_all()?, t[0].flatten_all()?], 0),
    );
    claim(
        "nearest upsampling by uneven factors",
        &[&[1, 2, 3, 3]],
        |t| t[0].upsample_nearest2d(3, 6),
        "backward not supported for non uniform upscaling factors",
        |t| upsample::upsample_nearest2d(&t[0], 3, 6),
    );
    claim(
        "nearest upsampling by a broken factor",
        &[&[1, 2, 3, 3]],
        |t| t[0].upsample_nearest2d(5, 5),
        "backward not supported for non integer upscaling factors",
        |t| upsample::upsample_nearest2d(&t[0], 5, 5),
    );
}

const OVERLAPPING: pool::Pool2dParams = pool::Pool2dParams { stride: [1, 1], ..pool::Pool2dParams::new([2, 2]) };
const PAIRS: pool::Pool2dParams = pool::Pool2dParams::new([2, 2]);

#[test]
fn pooling() {
    claim(
        "max pooling, overlapping",
        &[&[1, 2, 4, 4]],
        |t| t[0].max_pool2d_with_stride(2, 1),
        "backward not supported for maxpool2d",
        |t| pool::max_pool2d(&t[0], &OVERLAPPING),
    );
    claim(
        "average pooling, overlapping",
        &[&[1, 2, 4, 4]],
        |t| t[0].avg_pool2d_with_stride(2, 1),
        "backward not supported for avgpool2d",
        |t| pool::avg_pool2d(&t[0], &OVERLAPPING, true),
    );
    claim(
        "average pooling of a size that the kernel does not divide",
        &[&[1, 2, 5, 5]],
        |t| t[0].avg_pool2d(2),
        "gradient of input 0",
        |t| pool::avg_pool2d(&t[0], &PAIRS, true),
    );
}

#[test]
fn max_pooling_shrinks_and_misplaces_the_gradient() {
    let falling: Vec<f64> = (0..25).map(|i| -f64::from(i)).collect();
    let (theirs, ours) = (|x: &Tensor| x.max_pool2d(2), |x: &Tensor| pool::max_pool2d(x, &PAIRS));
    let of = |n: usize, function: &dyn Fn(&Tensor) -> Result<Tensor>| {
        gradient(&falling[..n * n], &[1, 1, n, n], function).into_iter().enumerate().filter(|g| g.1 != 0.0).collect()
    };
    // The largest element of each window is its first.
    let four: Vec<(usize, f64)> = of(4, &theirs);
    assert_eq!(four, [(0, 0.25), (2, 0.25), (8, 0.25), (10, 0.25)], "times the mean of the mask: {FIXED}");
    let five: Vec<(usize, f64)> = of(5, &theirs);
    assert_eq!(five, [(0, 0.25)], "5 is not a multiple of 2: {FIXED}");
    let (four, five): (Vec<_>, Vec<_>) = (of(4, &ours), of(5, &ours));
    assert_eq!(four, [(0, 1.0), (2, 1.0), (8, 1.0), (10, 1.0)]);
    assert_eq!(five, [(0, 1.0), (2, 1.0), (10, 1.0), (12, 1.0)]);
}

#[test]
fn each_of_equal_maxima_gets_the_full_gradient() {
    let equal = [3.0; 4];
    assert_eq!(gradient(&equal, &[4], |x| x.max(0)), [1.0; 4], "max: {FIXED}");
    assert_eq!(gradient(&equal, &[4], |x| x.min(0)), [1.0; 4], "min: {FIXED}");
    assert_eq!(gradient(&equal, &[1, 1, 2, 2], |x| x.max_pool2d(2)), [1.0; 4], "max pooling: {FIXED}");
    assert_eq!(gradient(&equal, &[4], |x| x.maximum(&x.detach())), [0.5; 4], "of two tensors, it is shared");
    assert_eq!(gradient(&equal, &[1, 1, 2, 2], |x| pool::max_pool2d(x, &PAIRS)), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn gradients_of_what_scatter_writes_into_are_swapped() {
    let ids = Tensor::new(&[0u32, 0, 1], CPU).unwrap();
    let source = Tensor::new(&[5f64; 3], CPU).unwrap();
    let set = gradient(&[1.0, 2.0, 3.0], &[3], |x| x.scatter(&ids, &source, 0));
    let add = gradient(&[1.0, 2.0, 3.0], &[3], |x| x.scatter_add(&ids, &source, 0));
    assert_eq!(set, [1.0, 1.0, 1.0], "the element replaced has no influence: {FIXED}");
    assert_eq!(add, [0.0, 0.0, 1.0], "the element added to has one: {FIXED}");
}

#[test]
fn binary_cross_entropy_of_large_logits() {
    let logits = Tensor::new(&[1000f64, -1000.0], CPU).unwrap();
    let targets = Tensor::new(&[1f64, 0.0], CPU).unwrap();
    let theirs = candle_nn::loss::binary_cross_entropy_with_logit(&logits, &targets).unwrap().to_f64().unwrap();
    assert!(theirs.is_nan(), "huggingface/candle 2561: {FIXED}");
    let ours = loss::bce_with_logits(&logits, &targets, None, loss::Reduction::None).unwrap();
    assert_eq!(ours.to_f64_vec().unwrap(), [0.0, 0.0]);
}

#[test]
fn batch_normalisation_of_one_value_a_channel() {
    let norm_of = |x: &Tensor| {
        let vars = candle_nn::VarMap::new();
        let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F64, CPU);
        let norm = candle_nn::batch_norm(3, EPS, vb).unwrap();
        (norm.forward_t(x, true).unwrap().to_f64_vec().unwrap(), norm.running_var().to_f64_vec().unwrap())
    };
    let (many, one) = (values((4, 3), 1).unwrap(), values((1, 3), 1).unwrap());
    let (theirs, _) = norm_of(&many);
    let ours = norm::batch_norm_train(&many, None, None, EPS).unwrap().0.to_f64_vec().unwrap();
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert!((theirs - ours).abs() < 1e-12, "both divide by N, up to rounding in f64: {theirs}, {ours}");
    }
    assert!(norm_of(&one).1.iter().all(|v| v.is_nan()), "the running variance of one value: {FIXED}");
    assert!(norm::batch_norm_train(&one, None, None, EPS).is_err());
}
