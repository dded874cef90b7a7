//! Every loss keeps the contract of losses, and equals PyTorch's in values and gradients.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use candle_core::{DType, Device, Tensor};
use glassbox_core::loss::*;
use glassbox_core::testkit::{Golden, check_gradients, check_loss, values};

const REDUCTIONS: [(&str, Reduction); 3] =
    [("mean", Reduction::Mean), ("sum", Reduction::Sum), ("none", Reduction::None)];

/// Runs `check` for the cases of both types. Tolerances are the fixture's: 1e-10 in f64, 1e-5 in f32.
fn golden(check: impl Fn(&Golden, &dyn Fn(&str) -> String)) {
    let golden = fixture();
    for dtype in ["f64", "f32"] {
        check(&golden, &|case| format!("{dtype}/{case}"));
    }
}

/// The same for each reduction: all three in f64, the mean in f32.
fn golden_reduced(check: impl Fn(&Golden, &dyn Fn(&str) -> String, Reduction)) {
    let golden = fixture();
    for (name, reduction) in REDUCTIONS {
        check(&golden, &|case| format!("f64/{case}_{name}"), reduction);
    }
    check(&golden, &|case| format!("f32/{case}_mean"), Reduction::Mean);
}

fn fixture() -> Golden {
    Golden::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/losses.safetensors")).unwrap()
}

/// The contract under each reduction.
fn check_reduced<L: Loss>(make: impl Fn(Reduction) -> L, outputs: &Tensor, targets: &Tensor) {
    for (_, reduction) in REDUCTIONS {
        check_loss(&make(reduction), outputs, targets);
    }
}

fn outputs(shape: impl Into<candle_core::Shape>) -> Tensor {
    (values(shape, 1).unwrap() * 3.0).unwrap()
}

fn tensor<A: candle_core::NdArray>(array: A) -> Tensor {
    Tensor::new(array, &Device::Cpu).unwrap()
}

fn signs() -> Tensor {
    tensor(&[[1i64, -1, 1, -1], [-1, -1, 1, 1], [1, 1, -1, -1]])
}

fn zeros_and_ones() -> Tensor {
    tensor(&[[1u32, 0, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
}

fn class_weights(golden: &Golden, case: &str) -> Tensor {
    let dtype = golden.tensor(case, "input").unwrap().dtype();
    tensor(&[0.5, 2.0, 1.0, 1.5]).to_dtype(dtype).unwrap()
}

#[test]
fn cross_entropy_contract() {
    let weight = tensor(&[0.5, 2.0, 1.0, 1.5]);
    let all = CrossEntropy::default().weight(weight).label_smoothing(0.2).ignore_index(2);
    check_loss(&CrossEntropy::default(), &outputs((5, 4)), &tensor(&[0u32, 3, 2, 1, 3]));
    check_reduced(|r| all.clone().reduction(r), &outputs((2, 3, 4)), &tensor(&[[0i64, 3, 2], [1, 2, 2]]));
    check_loss(&all.class_dim(1), &outputs((2, 4, 3)), &tensor(&[[0i64, 3, 2], [1, 2, 2]]));
}

#[test]
fn cross_entropy_golden() {
    golden(|golden, case| {
        let weight = class_weights(golden, &case("cross_entropy"));
        golden.check_loss(&case("cross_entropy"), &CrossEntropy::default());
        golden.check_loss(&case("cross_entropy_weight"), &CrossEntropy::default().weight(weight));
        golden.check_loss(&case("cross_entropy_smoothing"), &CrossEntropy::default().label_smoothing(0.2));
        golden.check_loss(&case("cross_entropy_ignore"), &CrossEntropy::default().ignore_index(-100));
        golden.check_loss(&case("cross_entropy_far"), &CrossEntropy::default());
    });
    golden_reduced(|golden, case, reduction| {
        let weight = class_weights(golden, &case("cross_entropy_all"));
        let all = CrossEntropy::default().weight(weight).label_smoothing(0.2).ignore_index(-100).reduction(reduction);
        golden.check_loss(&case("cross_entropy_all"), &all);
        golden.check_loss(&case("cross_entropy_sequence"), &all);
        golden.check_loss(&case("cross_entropy_image"), &all.class_dim(1));
    });
}

#[test]
fn a_mean_over_nothing_is_zero() {
    let logits = candle_core::Var::from_tensor(&outputs((2, 3))).unwrap();
    let loss = CrossEntropy::default().ignore_index(1).forward(&logits, &tensor(&[1u32, 1])).unwrap();
    let gradient = loss.backward().unwrap().get(&logits).unwrap().sum_all().unwrap();
    assert_eq!((loss.to_scalar::<f64>().unwrap(), gradient.to_scalar::<f64>().unwrap()), (0.0, 0.0));
}

#[test]
fn regression() {
    let (xs, ys) = (outputs((3, 4)), values((3, 4), 2).unwrap());
    check_reduced(|r| Mse::default().reduction(r), &xs, &ys);
    check_reduced(|r| L1::default().reduction(r), &xs, &ys);
    check_reduced(|r| Huber::default().delta(0.7).reduction(r), &xs, &ys);
    check_reduced(|r| SmoothL1::default().beta(0.7).reduction(r), &xs, &ys);
    golden_reduced(|golden, case, reduction| {
        golden.check_loss(&case("mse"), &Mse::default().reduction(reduction));
        golden.check_loss(&case("l1"), &L1::default().reduction(reduction));
        golden.check_loss(&case("huber"), &Huber::default().delta(0.7).reduction(reduction));
        golden.check_loss(&case("smooth_l1"), &SmoothL1::default().beta(0.7).reduction(reduction));
    });
    golden(|golden, case| {
        golden.check_loss(&case("huber"), &Huber::default());
        golden.check_loss(&case("smooth_l1"), &SmoothL1::default());
    });
}

#[test]
fn bce() {
    let weight = || tensor(&[0.5, 2.0, 1.0, 3.0]);
    check_reduced(|r| BceWithLogits::default().reduction(r), &outputs((3, 4)), &zeros_and_ones());
    check_loss(&BceWithLogits::default().pos_weight(weight()), &outputs((3, 4)), &zeros_and_ones());
    golden_reduced(|golden, case, reduction| {
        golden.check_loss(&case("bce"), &BceWithLogits::default().reduction(reduction));
    });
    golden(|golden, case| {
        golden.check_loss(&case("bce_far"), &BceWithLogits::default());
        golden.check_loss(&case("bce_pos_weight"), &BceWithLogits::default().pos_weight(weight()));
    });
}

#[test]
fn kl() {
    use glassbox_core::TensorExt;
    let xs = outputs((3, 4)).log_softmax(1).unwrap();
    let ps = values((3, 4), 2).unwrap().softmax(1).unwrap();
    check_reduced(|r| KlDiv::default().reduction(r), &xs, &ps);
    check_reduced(|r| KlDiv::default().log_target().reduction(r), &xs, &ps.log().unwrap());
    golden_reduced(|golden, case, reduction| {
        golden.check_loss(&case("kl_div"), &KlDiv::default().reduction(reduction));
        golden.check_loss(&case("kl_div_log"), &KlDiv::default().log_target().reduction(reduction));
    });
}

#[test]
fn hinges() {
    check_reduced(|r| Hinge::default().reduction(r), &outputs((3, 4)), &signs());
    check_reduced(|r| HingeEmbedding::default().margin(1.5).reduction(r), &outputs((3, 4)), &signs());
    golden_reduced(|golden, case, reduction| {
        golden.check_loss(&case("hinge"), &Hinge::default().reduction(reduction));
        golden.check_loss(&case("hinge_embedding"), &HingeEmbedding::default().margin(1.5).reduction(reduction));
    });
}

#[test]
fn focals() {
    let alpha = || tensor(&[0.5, 2.0, 1.0, 1.5]);
    let classes = tensor(&[[0u32, 3], [2, 1], [3, 3]]);
    check_reduced(|r| Focal::default().alpha(alpha()).reduction(r), &outputs((3, 2, 4)), &classes);
    check_reduced(|r| BinaryFocal::default().reduction(r), &outputs((3, 4)), &zeros_and_ones());
    golden_reduced(|golden, case, reduction| {
        golden.check_loss(&case("focal"), &Focal::default().alpha(alpha()).reduction(reduction));
        golden.check_loss(&case("binary_focal"), &BinaryFocal::default().reduction(reduction));
    });
    golden(|golden, case| {
        for gamma in ["0.0", "0.5", "3.0"] {
            let loss = Focal::default().gamma(gamma.parse().unwrap());
            golden.check_loss(&case(&format!("focal_gamma_{gamma}")), &loss);
        }
        golden.check_loss(&case("binary_focal_options"), &BinaryFocal::default().gamma(0.5).no_alpha());
    });
}

#[test]
fn focal_losses_are_finite_far_out() {
    let far = candle_core::Var::new(&[[1e4f32, -1e4], [-1e4, 1e4]], &Device::Cpu).unwrap();
    for gamma in [0.0, 0.5, 2.0] {
        let multi = Focal::default().gamma(gamma).forward(&far, &tensor(&[0u32, 0])).unwrap();
        let binary = BinaryFocal::default().gamma(gamma).forward(&far, &tensor(&[[0u32, 0], [1, 1]])).unwrap();
        for loss in [multi, binary] {
            let gradient = loss.backward().unwrap().get(&far).unwrap().clone();
            assert!(loss.to_scalar::<f32>().unwrap().is_finite(), "gamma {gamma}: {loss}");
            let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(gradient.iter().all(|g| g.is_finite()), "gamma {gamma}: {gradient:?}");
        }
    }
}

#[test]
fn triplet() {
    let three = [1, 2, 3].map(|seed| values((4, 3), seed).unwrap());
    for (_, reduction) in REDUCTIONS {
        let loss = TripletMargin::default().reduction(reduction);
        check_gradients(&three, |t| Ok(loss.forward(&t[0], &t[1], &t[2])?)).unwrap();
    }
    golden_reduced(|golden, case, reduction| {
        let loss = TripletMargin::default().margin(0.8).reduction(reduction);
        let names = ["anchor", "positive", "negative"];
        golden.check_function(&case("triplet"), &names, |t| loss.forward(&t[0], &t[1], &t[2]));
    });
    let same = TripletMargin::default().forward(&three[0], &three[0], &three[0]).unwrap();
    assert!((same.to_scalar::<f64>().unwrap() - 1.0).abs() < 1e-12);
}

#[test]
fn cosine_embedding() {
    let pair = [1, 2].map(|seed| values((4, 3), seed).unwrap());
    let targets = tensor(&[1i64, -1, -1, 1]);
    for (_, reduction) in REDUCTIONS {
        let loss = CosineEmbedding::default().margin(-0.5).reduction(reduction);
        check_gradients(&pair, |t| Ok(loss.forward(&t[0], &t[1], &targets)?)).unwrap();
    }
    golden_reduced(|golden, case, reduction| {
        let loss = CosineEmbedding::default().margin(0.1).reduction(reduction);
        let case = case("cosine_embedding");
        let targets = golden.tensor(&case, "target").unwrap();
        golden.check_function(&case, &["x1", "x2"], |t| loss.forward(&t[0], &t[1], targets));
    });
}

#[test]
fn wrong_targets_are_refused_in_words() {
    let xs = outputs((3, 4));
    let message = |loss: &dyn Loss, targets: &Tensor| loss.forward(&xs, targets).unwrap_err().to_string();
    let classes = tensor(&[0u32, 4, 1]);
    assert!(message(&CrossEntropy::default(), &classes).contains("target 4 at row 1: expected one of 4 classes"));
    assert!(message(&Focal::default(), &classes).contains("target 4 at row 1"));
    assert!(message(&CrossEntropy::default(), &tensor(&[0i64, -100, 1])).contains("target -100 at row 1"));
    let cases: [(&dyn Loss, Tensor, &str); 9] = [
        (&CrossEntropy::default(), tensor(&[0u32, 1]), "targets: expected shape [3], got [2]"),
        (&CrossEntropy::default(), tensor(&[0.0, 1.0, 2.0]), "targets: expected classes of type u32 or i64, got F64"),
        (
            &CrossEntropy::default().class_dim(2),
            classes,
            "outputs: expected a shape with the classes in dimension 2, got [3, 4]",
        ),
        (&Mse::default(), tensor(&[0.0, 1.0]), "targets: expected shape [3, 4], got [2]"),
        (&Mse::default(), xs.to_dtype(DType::F32).unwrap(), "targets: expected type F64, got F32"),
        (&BceWithLogits::default(), signs(), "targets: expected values in [0, 1], got -1"),
        (&Hinge::default(), zeros_and_ones(), "targets: expected labels -1 or 1, got 0"),
        (&BinaryFocal::default(), signs(), "targets: expected labels 0 or 1, got -1"),
        (&KlDiv::default(), signs(), "targets: expected probabilities, 0 or more, got -1"),
    ];
    for (loss, targets, expected) in cases {
        assert_eq!(message(loss, &targets), expected);
    }
    assert_eq!(message(&Huber::default().delta(0.0), &xs), "delta: expected a number above 0, got 0");
    assert_eq!(message(&BinaryFocal::default().gamma(-1.0), &xs), "gamma: expected 0 or more, got -1");
    let smoothing = CrossEntropy::default().label_smoothing(1.5);
    assert!(message(&smoothing, &tensor(&[0u32, 1, 2])).contains("label smoothing in [0, 1], got 1.5"));
}

#[test]
fn quantile_contract_and_formula() {
    let (levels, outputs, targets) = ([0.1, 0.5, 0.8], outputs((4, 2, 3)), outputs((4, 2)));
    check_reduced(|r| Quantile::new(&levels).unwrap().reduction(r), &outputs, &targets);

    let losses = Quantile::new(&levels).unwrap().reduction(Reduction::None).forward(&outputs, &targets).unwrap();
    let read = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (ys, ts) = (read(&outputs), read(&targets));
    for (i, loss) in read(&losses).into_iter().enumerate() {
        let (q, d) = (levels[i % 3], ts[i / 3] - ys[i]);
        // One rounding or two of numbers below 10.
        assert!((loss - (q * d).max((q - 1.0) * d)).abs() < 1e-14, "{i}");
    }
}

#[test]
fn quantile_loss_is_least_at_the_quantile() {
    // Of 1, …, 10 the 0.25-quantile is 3: the gradient of the sum is below 0 at 2.5 and above it at 3.5.
    let targets = Tensor::arange(1f64, 11.0, &Device::Cpu).unwrap();
    let slope = |at: f64| {
        let outputs = candle_core::Var::from_tensor(&Tensor::full(at, (10, 1), &Device::Cpu).unwrap()).unwrap();
        let loss = Quantile::new(&[0.25]).unwrap().reduction(Reduction::Sum).forward(&outputs, &targets).unwrap();
        loss.backward().unwrap().get(&outputs).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
    };
    assert_eq!((slope(2.5), slope(3.0), slope(3.5)), (-0.5, 0.0, 0.5));
}

#[test]
fn quantile_errors() {
    for levels in [&[][..], &[0.0], &[1.0], &[f64::NAN], &[0.5, 0.5], &[0.9, 0.1]] {
        assert!(Quantile::new(levels).unwrap_err().to_string().contains("ascending"), "{levels:?}");
    }
    let loss = Quantile::new(&[0.1, 0.9]).unwrap();
    assert!(loss.forward(&outputs((4, 3)), &outputs(4)).unwrap_err().to_string().contains("(…, 2)"));
    let single = outputs(4).to_dtype(DType::F32).unwrap();
    assert!(loss.forward(&outputs((4, 2)), &single).unwrap_err().to_string().contains("F64"));
}
