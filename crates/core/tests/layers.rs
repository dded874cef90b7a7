//! Every layer keeps the contract of layers, and equals PyTorch's in outputs and gradients.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use candle_core::{DType, Device, Tensor};
use glassbox_core::testkit::{Golden, LayerCheck, check_layer};
use glassbox_core::*;

const ACTIVATIONS: [(&str, Activation); 14] = [
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("relu", Activation::Relu),
    ("leaky_relu", Activation::LeakyRelu(0.2)),
    ("elu", Activation::Elu(1.5)),
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("silu", Activation::Silu),
    ("softplus", Activation::Softplus { beta: 1.0, threshold: 20.0 }),
    ("softplus_sharp", Activation::Softplus { beta: 2.5, threshold: 5.0 }),
    ("mish", Activation::Mish),
    ("hard_swish", Activation::HardSwish),
    ("hard_sigmoid", Activation::HardSigmoid),
    ("log_sigmoid", Activation::LogSigmoid),
];

const PLAIN: NormConfig = NormConfig { eps: 0.1, weight: false, bias: false };

fn mlp(activation: Activation, dropout: f64) -> MlpConfig {
    MlpConfig { in_features: 4, hidden: vec![6, 5], out_features: 3, activation, dropout }
}

/// Runs `check` for the cases of both types. Tolerances are the fixture's: 1e-10 in f64, 1e-5 in f32.
fn golden(check: impl Fn(&Golden, &dyn Fn(&str) -> String)) {
    let golden = fixture();
    for dtype in ["f64", "f32"] {
        check(&golden, &|case| format!("{dtype}/{case}"));
    }
}

fn fixture() -> Golden {
    Golden::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/layers.safetensors")).unwrap()
}

#[test]
fn linear() {
    check_layer(|vb| Linear::new(4, 5, vb), &[3, 4]);
    check_layer(|vb| Linear::new(4, 5, vb), &[2, 3, 4]);
    check_layer(|vb| Linear::no_bias(4, 5, vb), &[3, 4]);
    golden(|golden, case| {
        golden.check_layer(&case("linear"), |vb| Linear::new(4, 5, vb));
        golden.check_layer(&case("linear_no_bias"), |vb| Linear::no_bias(4, 5, vb));
    });
}

/// The layer with its change is the layer whose weight has the change merged in, in outputs and in gradients of the input;
/// of the weights only the change's get a gradient.
#[test]
fn linear_with_a_low_rank_change() {
    let params = ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu);
    let layer = Linear::new(4, 5, params.root().pp("base")).unwrap();
    let merged = Linear::new(4, 5, params.root().pp("merged")).unwrap();
    let make = |name: &str, shape| params.root().param(name, shape, Init::Normal { mean: 0.0, std: 1.0 }).unwrap();
    let change =
        LowRank { a: make("a", (2, 4)), b: make("b", (5, 2)), scale: 0.5, dropout: Dropout::new(0.0).unwrap() };
    params.freeze("base.*");
    let pass = Pass::eval().with_gradients();
    let sum = (layer.weight().value() + change.change(&pass).unwrap()).unwrap().detach();
    merged.weight().set(&sum).unwrap();
    merged.bias().unwrap().set(&layer.bias().unwrap().value().copy().unwrap()).unwrap();
    layer.weight().set_low_rank(Some(change.clone())).unwrap();

    let xs = candle_core::Var::from_tensor(
        &Seed(2).rng().normal_tensor((3, 4), 0.0, 1.0, DType::F64, &Device::Cpu).unwrap(),
    );
    let xs = xs.unwrap();
    let run = |layer: &Linear| {
        let ys = layer.forward(xs.as_tensor(), &pass).unwrap();
        let grads = ys.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        (ys.to_f64_vec().unwrap(), grads.get(&xs).unwrap().to_f64_vec().unwrap(), grads)
    };
    let ((ys, grad, grads), (merged_ys, merged_grad, _)) = (run(&layer), run(&merged));
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close(&ys, &merged_ys) && close(&grad, &merged_grad), "{ys:?} {merged_ys:?}");
    for param in [&change.a, &change.b] {
        assert!(grads.get(param.var()).unwrap().abs().unwrap().sum_all().unwrap().to_f64().unwrap() > 0.0);
    }
    assert!(grads.get(layer.weight().var()).is_none());

    // Followed by an activation in one call, it is the activation of the sum.
    let followers = [fusion::Follower::Activation(Activation::Tanh)];
    let (fused, _) = layer.forward_fused(xs.as_tensor(), &pass, &followers).unwrap();
    let tanh: Vec<f64> = ys.iter().map(|y| y.tanh()).collect();
    assert!(close(&fused.to_f64_vec().unwrap(), &tanh));

    layer.weight().set_low_rank(None).unwrap();
    assert!(!close(&run(&layer).0, &ys));
    let message = layer.weight().set_low_rank(Some(LowRank { scale: 1.0, b: change.a.clone(), ..change.clone() }));
    let expected = "low-rank change of `base.weight`: expected A (rank, in_features) and B (out_features, rank) of [5, 4], \
                    got [2, 4] and [2, 4]";
    assert_eq!(message.unwrap_err().to_string(), expected);
    let message = layer.bias().unwrap().set_low_rank(Some(change)).unwrap_err().to_string();
    assert_eq!(message, "low-rank change: expected the weight of a linear layer, got `base.bias`");
}

#[test]
fn embedding() {
    LayerCheck::of_ids(&[3, 4], 10).run(|vb| Embedding::new(10, 5, vb));
    golden(|golden, case| {
        golden.check_layer(&case("embedding"), |vb| Embedding::new(6, 3, vb));
        golden.check_layer(&case("embedding_padding"), |vb| Embedding::with_padding_idx(6, 3, 3, vb));
    });
}

#[test]
fn the_padding_row_starts_at_zero() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let layer = Embedding::with_padding_idx(3, 2, 1, params.root()).unwrap();
    let rows = layer.weight().value().to_vec2::<f32>().unwrap();
    assert_eq!(rows[1], [0.0, 0.0]);
    assert!(rows[0][0] != 0.0 && rows[2][1] != 0.0);
}

#[test]
fn norms() {
    check_layer(|vb| LayerNorm::new(5, vb), &[2, 3, 5]);
    check_layer(|vb| LayerNorm::new((3, 4), vb), &[2, 3, 4]);
    check_layer(|vb| LayerNorm::with_config(5, PLAIN, vb), &[3, 5]);
    check_layer(|vb| RmsNorm::new(5, vb), &[2, 3, 5]);
    check_layer(|vb| GroupNorm::new(3, 6, vb), &[2, 6, 4]);
    check_layer(|vb| GroupNorm::new(2, 4, vb), &[2, 4, 3, 2]);
    check_layer(|vb| GroupNorm::with_config(4, 4, PLAIN, vb), &[2, 4, 5]);
    golden(|golden, case| {
        golden.check_layer(&case("layer_norm"), |vb| LayerNorm::new(5, vb));
        golden.check_layer(&case("layer_norm_two_dims"), |vb| LayerNorm::new((3, 4), vb));
        let no_bias = NormConfig { bias: false, ..Default::default() };
        golden.check_layer(&case("layer_norm_no_bias"), |vb| LayerNorm::with_config(5, no_bias, vb));
        golden.check_layer(&case("layer_norm_plain"), |vb| LayerNorm::with_config(5, PLAIN, vb));
        golden.check_layer(&case("rms_norm"), |vb| RmsNorm::new(5, vb));
        golden.check_layer(&case("rms_norm_eps"), |vb| RmsNorm::with_eps(5, 0.1, vb));
        golden.check_layer(&case("group_norm"), |vb| GroupNorm::new(3, 6, vb));
        golden.check_layer(&case("group_norm_image"), |vb| GroupNorm::new(2, 4, vb));
        golden.check_layer(&case("group_norm_flat"), |vb| GroupNorm::new(2, 6, vb));
        golden.check_layer(&case("group_norm_plain"), |vb| GroupNorm::with_config(4, 4, PLAIN, vb));
    });
}

#[test]
fn activations() {
    for (name, activation) in ACTIVATIONS {
        LayerCheck::new(&[3, 4]).accepts_any_shape().run(|_| Ok(activation));
        fixture().check_layer(&format!("f32/{name}"), |_| Ok(activation));
        // PyTorch's derivative of hardsigmoid holds 1/6 as an f32, in f64 too.
        let golden = if name == "hard_sigmoid" { fixture().tolerance(1e-7) } else { fixture() };
        golden.check_layer(&format!("f64/{name}"), |_| Ok(activation));
    }
}

#[test]
fn softmax() {
    check_layer(|_| Ok(Softmax::new(-1)), &[3, 5]);
    check_layer(|_| Ok(Softmax::new(1)), &[2, 3, 4]);
    check_layer(|_| Ok(LogSoftmax::new(-1)), &[3, 5]);
    golden(|golden, case| {
        golden.check_layer(&case("softmax"), |_| Ok(Softmax::new(-1)));
        golden.check_layer(&case("softmax_middle"), |_| Ok(Softmax::new(1)));
        golden.check_layer(&case("log_softmax"), |_| Ok(LogSoftmax::new(-1)));
        golden.check_layer(&case("log_softmax_middle"), |_| Ok(LogSoftmax::new(-2)));
    });
}

#[test]
fn prelu() {
    LayerCheck::new(&[3, 4]).accepts_any_shape().run(PRelu::new);
    check_layer(|vb| PRelu::per_channel(4, vb), &[2, 4, 3]);
    golden(|golden, case| {
        golden.check_layer(&case("prelu"), PRelu::new);
        golden.check_layer(&case("prelu_per_channel"), |vb| PRelu::per_channel(4, vb));
    });
}

#[test]
fn dropout() {
    LayerCheck::new(&[4, 5]).accepts_any_shape().run(|_| Dropout::new(0.4));
    LayerCheck::new(&[3, 4, 5]).run(|_| ChannelDropout::new(0.4));
}

#[test]
fn dropout_keeps_the_mean_and_follows_the_seed() {
    let ones = Tensor::ones((100, 100), DType::F32, &Device::Cpu).unwrap();
    let dropped = |seed| Dropout::new(0.3).unwrap().forward(&ones, &Pass::train(Seed(seed))).unwrap();
    let values = dropped(1).to_f64_vec().unwrap();
    // 10,000 samples of deviation √(0.3 / 0.7): the standard error is 0.0065; five of them are allowed.
    let mean = values.iter().sum::<f64>() / 1e4;
    assert!((mean - 1.0).abs() < 0.033, "{mean}");
    assert_eq!(values, dropped(1).to_f64_vec().unwrap());
    assert_ne!(values, dropped(2).to_f64_vec().unwrap());
}

#[test]
fn models() {
    check_layer(|vb| Mlp::new(mlp(Activation::Tanh, 0.3), vb), &[3, 4]);
    golden(|golden, case| golden.check_layer(&case("mlp"), |vb| Mlp::new(mlp(Activation::Tanh, 0.0), vb)));
}

#[test]
fn containers() {
    check_layer(|vb| Ok(Residual(Linear::new(4, 4, vb)?)), &[3, 4]);
    LayerCheck::new(&[2, 3, 4]).accepts_any_shape().run(|_| Ok(Flatten));
}

/// Initial values are PyTorch's: the parameters of a new layer have its deviation or its constant.
#[test]
fn initial_values() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    Embedding::new(200, 50, params.root().pp("embedding")).unwrap();
    LayerNorm::new(5, params.root().pp("layer_norm")).unwrap();
    GroupNorm::new(1, 5, params.root().pp("group_norm")).unwrap();
    RmsNorm::new(5, params.root().pp("rms_norm")).unwrap();
    PRelu::per_channel(3, params.root().pp("prelu")).unwrap();
    let values = |name: &str| params.get(name).unwrap().value().to_f64_vec().unwrap();
    for norm in ["layer_norm", "group_norm"] {
        assert_eq!(values(&format!("{norm}.weight")), [1.0; 5]);
        assert_eq!(values(&format!("{norm}.bias")), [0.0; 5]);
    }
    assert_eq!(values("rms_norm.weight"), [1.0; 5]);
    assert_eq!(values("prelu.weight"), [0.25; 3]);
    let embedding = values("embedding.weight");
    let variance = embedding.iter().map(|v| v * v).sum::<f64>() / 1e4;
    // 10,000 samples: the standard error of the variance is 0.014; five of them are allowed.
    assert!((variance - 1.0).abs() < 0.07, "{variance}");
}

#[test]
fn options_that_make_no_sense_are_refused_with_the_path() {
    let vb = || ParamStore::new(Seed(1), &Device::Cpu).root().pp("net");
    let messages = [
        (Dropout::new(1.0).map(|_| ()), "dropout probability: expected p in [0, 1), got 1"),
        (ChannelDropout::new(-0.1).map(|_| ()), "dropout probability: expected p in [0, 1), got -0.1"),
        (Dropout::new(f64::NAN).map(|_| ()), "dropout probability: expected p in [0, 1), got NaN"),
        (GroupNorm::new(4, 6, vb()).map(|_| ()), "at `net`: num_groups: expected a divisor of the 6 channels, got 4"),
        (GroupNorm::new(0, 6, vb()).map(|_| ()), "at `net`: num_groups: expected a divisor of the 6 channels, got 0"),
        (LayerNorm::new(0, vb()).map(|_| ()), "at `net`: normalized_shape: expected sizes of 1 or more, got [0]"),
        (RmsNorm::with_eps(3, 0.0, vb()).map(|_| ()), "at `net`: eps: expected a number above 0, got 0"),
        (
            LayerNorm::with_config(3, NormConfig { eps: f64::NAN, ..PLAIN }, vb()).map(|_| ()),
            "at `net`: eps: expected a number above 0, got NaN",
        ),
        (Embedding::new(0, 3, vb()).map(|_| ()), "at `net`: num_embeddings: expected 1 or more, got 0"),
        (
            Embedding::with_padding_idx(3, 3, 3, vb()).map(|_| ()),
            "at `net`: padding_idx: expected an id below 3, got 3",
        ),
        (Mlp::new(MlpConfig::default(), vb()).map(|_| ()), "at `net`: in_features: expected 1 or more, got 0"),
    ];
    for (result, expected) in messages {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}

#[test]
fn wrong_inputs_are_refused_in_words() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let message = |layer: &dyn Layer, shape| layer.forward(&zeros(shape), &Pass::eval()).unwrap_err().to_string();
    let norm = GroupNorm::new(2, 4, params.root().pp("norm")).unwrap();
    assert_eq!(
        message(&norm, &[3, 5, 2]),
        "at `norm`: input: expected (batch, 4, …), the channels second, got [3, 5, 2]"
    );
    let norm = RmsNorm::new(4, params.root().pp("rms")).unwrap();
    assert_eq!(message(&norm, &[3, 5]), "at `rms`: input: expected last dimension 4 (hidden_size), got [3, 5]");
    let layer = Embedding::new(4, 4, params.root().pp("words")).unwrap();
    assert_eq!(message(&layer, &[3]), "at `words`: input: expected ids of type u32 or i64, got F32");
    assert_eq!(message(&Softmax::new(-3), &[3, 5]), "input: expected a shape with a dimension -3, got [3, 5]");
}

#[test]
fn the_fixture_says_who_made_it() {
    assert!(fixture().torch().starts_with("2."), "{}", fixture().torch());
}

/// The test kit itself: a layer that breaks the contract does not pass.
mod broken {
    use super::*;

    struct Broken {
        weight: Param,
        how: &'static str,
    }

    impl Layer for Broken {
        fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
            xs.expect_last_dim(4, "features")?;
            let weight = self.weight.get(pass);
            Ok(match self.how {
                "cut" => (xs.detach() * 2.0)?.broadcast_mul(&weight)?,
                "wrong gradient" => (xs.broadcast_mul(&weight)? + (xs.detach() * 1e-3)?)?,
                "unused" => xs.clone(),
                "switched off" => (xs + (&weight * weight.zeros_like()?)?.broadcast_as(xs.shape())?)?,
                "infinite" => (xs.broadcast_mul(&weight)? / 0.0)?,
                _ => xs.broadcast_mul(&weight)?,
            })
        }
    }

    fn check(how: &'static str) {
        check_layer(|vb| Ok(Broken { weight: vb.param("weight", 4, Init::Ones)?, how }), &[3, 4]);
    }

    #[test]
    fn sound_one_passes() {
        check("not");
    }

    #[test]
    #[should_panic(expected = "gradient of the input")]
    fn cut_gradient() {
        check("cut");
    }

    #[test]
    #[should_panic(expected = "gradient of the input")]
    fn wrong_gradient() {
        check("wrong gradient");
    }

    #[test]
    #[should_panic(expected = "gradient of `model.layer.weight` (evaluating, transposed input: false): expected one")]
    fn unused_parameter() {
        check("unused");
    }

    #[test]
    #[should_panic(expected = "model.layer.weight: expected a gradient that is not all zero")]
    fn parameter_without_effect() {
        check("switched off");
    }

    #[test]
    #[should_panic(expected = "finite values")]
    fn infinite_output() {
        check("infinite");
    }

    #[test]
    #[should_panic(expected = "within 0.0000000001 relative")]
    fn another_value_than_the_fixture() {
        golden(|golden, case| golden.check_layer(&case("tanh"), |_| Ok(Activation::Sigmoid)));
    }
}
