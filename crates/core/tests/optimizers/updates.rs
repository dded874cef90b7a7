//! Ten steps of every optimizer, and which parameters it leaves alone.

use candle_core::{DType, Tensor};
use glassbox_core::optim::{AdamW, Group, Muon, Sgd};
use glassbox_core::{Gradients, Init, Optimizer};

use crate::cases::CASES;
use crate::{Fixtures, assert_close, flat, values};

/// Follows `fixture` for ten steps; the parameters after each.
fn trajectory(fixtures: &Fixtures, optimizer: &mut dyn Optimizer) -> Vec<f64> {
    let step = |step| {
        fixtures.run(optimizer, step..step + 1);
        values(optimizer.params())
    };
    (0..10).flat_map(step).collect()
}

/// In f64 only the order of a few roundings differs from PyTorch's (1e-16 each); the Newton-Schulz iteration multiplies
/// them by its slope, up to 3.4 five times. In f32 a rounding is 6e-8, and ten steps add up some of them.
#[test]
fn ten_steps_are_pytorchs() {
    let fixtures = Fixtures::load();
    for case in CASES {
        for (dtype, label, tolerance) in [(DType::F64, "f64", 1e-12), (DType::F32, "f32", 1e-6)] {
            let mut optimizer = (case.make)(&fixtures.model(dtype)).unwrap();
            let name = format!("{label}/{}", case.name);
            assert_close(&trajectory(&fixtures, optimizer.as_mut()), &fixtures.values(&name), tolerance, &name);
        }
    }
}

/// PyTorch iterates in bfloat16, with 8 bits: each of ten directions is off by about 1 %, times the rate 0.02.
#[test]
fn muon_is_near_pytorchs_in_bfloat16() {
    let fixtures = Fixtures::load();
    let mut muon = Muon::new(&fixtures.model(DType::F32), 0.02).unwrap().adamw_for("head.*");
    assert_close(&trajectory(&fixtures, &mut muon), &fixtures.values("f32/muon/bfloat16"), 2e-3, "muon");
}

#[test]
fn muon_takes_a_convolution_as_a_matrix() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F64);
    let matrix = params.root().param("matrix", (2, 6), Init::Constant(0.5)).unwrap();
    let kernel = params.root().param("kernel", (2, 3, 1, 2), Init::Constant(0.5)).unwrap();
    let gradient = fixtures.get("gradients").narrow(1, 0, 12).unwrap().get(0).unwrap();
    let pairs = [&matrix, &kernel].map(|p| (p.clone(), gradient.reshape(p.shape()).unwrap()));
    let mut muon = Muon::new(&params, 0.02).unwrap();
    muon.step(&Gradients::from_pairs(pairs.to_vec()), 1.0).unwrap();
    assert_eq!(flat(&matrix.value()), flat(&kernel.value()));
    assert_ne!(flat(&matrix.value()), [0.5; 12]);
}

#[test]
fn the_factor_multiplies_every_rate() {
    let fixtures = Fixtures::load();
    let group = |rate| Group { learning_rate: Some(rate), ..Group::default() };
    let stepped = |rate, group_rate, factor| {
        let params = fixtures.model(DType::F64);
        let mut sgd = Sgd::new(&params, rate).unwrap().group("head.*", group(group_rate));
        sgd.step(&fixtures.gradients(&params, 0), factor).unwrap();
        values(&params)
    };
    // Powers of two, so that the products are exact.
    assert_eq!(stepped(0.5, 2.0, 0.25), stepped(0.125, 0.5, 1.0));
    assert_eq!(stepped(0.5, 2.0, 0.0), fixtures.values("initial"));
}

#[test]
fn a_frozen_parameter_keeps_its_value_and_its_state() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F64);
    let mut adamw = AdamW::new(&params, 0.01).unwrap();
    fixtures.run(&mut adamw, 0..3);
    let before = (flat(&params.get("head.weight").unwrap().value()), adamw.state().unwrap());
    assert_eq!(params.freeze("head.*"), 2);
    fixtures.run(&mut adamw, 3..6);
    let after = (flat(&params.get("head.weight").unwrap().value()), adamw.state().unwrap());
    assert_eq!(before.0, after.0);
    for key in ["m.head.weight", "v.head.bias"] {
        assert_eq!(flat(before.1.tensor(key).unwrap()), flat(after.1.tensor(key).unwrap()), "{key}");
    }
    assert_eq!(after.1.values["step"]["head.weight"], 3);
    assert_eq!(after.1.values["step"]["hidden.weight"], 6);
    params.unfreeze("head.*");
    fixtures.run(&mut adamw, 6..7);
    assert_eq!(adamw.state().unwrap().values["step"]["head.weight"], 4);
}

#[test]
fn a_transposed_gradient_is_taken_by_its_elements() {
    let fixtures = Fixtures::load();
    let stepped = |transposed: bool| {
        let params = fixtures.model(DType::F64);
        let gradients = fixtures.gradients(&params, 0);
        let twice = |t: &Tensor| t.t()?.contiguous()?.t();
        let gradients =
            gradients.map(|p, g| Ok(if transposed && p.shape().rank() == 2 { twice(g)? } else { g.clone() }));
        AdamW::new(&params, 0.01).unwrap().step(&gradients.unwrap(), 1.0).unwrap();
        values(&params)
    };
    assert_eq!(stepped(true), stepped(false));
}
