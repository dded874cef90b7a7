//! Wrong settings and gradients are errors that change nothing.

use candle_core::{DType, Device, Tensor};
use glassbox_core::optim::{Adagrad, Adam, AdamW, Group, Lion, Muon, RmsProp, Sgd};
use glassbox_core::{Gradients, Optimizer, Result};

use crate::cases::CASES;
use crate::{Fixtures, assert_message, values};

#[test]
fn settings_out_of_range() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F32);
    let p = &params;
    for rate in [-1e-3, f64::NAN, f64::INFINITY] {
        assert_message(AdamW::new(p, rate), "AdamW learning_rate: expected a finite number >= 0");
    }
    fn boxed(optimizer: impl Optimizer + 'static) -> Box<dyn Optimizer> {
        Box::new(optimizer)
    }
    let wrong = || -> Result<Vec<(Box<dyn Optimizer>, &str)>> {
        Ok(vec![
            (boxed(AdamW::new(p, 0.1)?.betas(1.0, 0.9)), "AdamW beta1: expected a number in [0, 1), got 1"),
            (boxed(Adam::new(p, 0.1)?.betas(0.9, -0.1)), "Adam beta2"),
            (boxed(Adam::new(p, 0.1)?.eps(f64::NAN)), "Adam eps"),
            (boxed(AdamW::new(p, 0.1)?.weight_decay(-1.0)), "AdamW weight_decay"),
            (boxed(Sgd::new(p, 0.1)?.momentum(1.5)), "Sgd momentum"),
            (boxed(Sgd::new(p, 0.1)?.nesterov()), "Sgd with Nesterov: expected momentum above 0"),
            (boxed(RmsProp::new(p, 0.1)?.alpha(1.0)), "RmsProp alpha"),
            (boxed(Adagrad::new(p, 0.1)?.lr_decay(-1.0)), "Adagrad lr_decay"),
            (boxed(Adagrad::new(p, 0.1)?.initial_accumulator(-1.0)), "Adagrad initial_accumulator"),
            (boxed(Lion::new(p, 0.1)?.betas(0.9, f64::NAN)), "Lion beta2"),
            (boxed(Muon::new(p, 0.1)?.ns_steps(100)), "Muon ns_steps"),
            (boxed(Muon::new(p, 0.1)?.adamw_for("body.*")), "a parameter that `body.*` matches"),
            (boxed(Muon::new(p, 0.1)?.adamw(AdamW::new(p, 0.1)?.betas(2.0, 0.9))), "AdamW beta1"),
            (boxed(Sgd::new(p, 0.1)?.group("body.*", Group::default())), "a parameter that `body.*` matches"),
            (
                boxed(Sgd::new(p, 0.1)?.group("*", Group { learning_rate: Some(-1.0), weight_decay: None })),
                "Sgd group `*` learning_rate",
            ),
        ])
    };
    for (mut optimizer, message) in wrong().unwrap() {
        assert_message(optimizer.step(&fixtures.gradients(p, 0), 1.0), message);
    }
    assert_eq!(values(p), fixtures.values("initial"));
}

#[test]
fn gradients_that_do_not_fit() {
    let fixtures = Fixtures::load();
    for case in CASES {
        let params = fixtures.model(DType::F32);
        let mut optimizer = (case.make)(&params).unwrap();
        let last = params.get("scale").unwrap();
        let with = |gradient: Tensor| {
            let fitting = fixtures.gradients(&params, 0);
            let others = fitting.iter().filter(|(p, _)| p.name() != "scale").map(|(p, g)| (p.clone(), g.clone()));
            Gradients::from_pairs(others.chain([(last.clone(), gradient)]).collect())
        };
        let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let wide = optimizer.step(&with(zeros(&[2], DType::F32)), 1.0);
        assert_message(wide, "gradient of `scale`: expected [1] F32, got [2] F32");
        let long = optimizer.step(&with(zeros(&[1], DType::F64)), 1.0);
        assert_message(long, "gradient of `scale`: expected [1] F32, got [1] F64");
        let strangers = fixtures.model(DType::F32);
        assert_message(optimizer.step(&fixtures.gradients(&strangers, 0), 1.0), "one of another `");
        let factor = optimizer.step(&fixtures.gradients(&params, 0), f64::NAN);
        assert_message(factor, "learning-rate factor: expected a finite number >= 0, got NaN");
        assert_eq!(values(&params), fixtures.values("initial"), "{}", case.name);
    }
}
