//! Saved and loaded, everything goes on with the same bits.

use candle_core::DType;
use glassbox_core::optim::{Adam, AdamW, Muon, Sgd};
use glassbox_core::{Init, Optimizer};

use crate::cases::CASES;
use crate::{Fixtures, assert_message, through_files, values};

#[test]
fn five_steps_and_five_more_are_ten() {
    let fixtures = Fixtures::load();
    for case in CASES {
        let whole = fixtures.model(DType::F32);
        let mut optimizer = (case.make)(&whole).unwrap();
        fixtures.run(optimizer.as_mut(), 0..5);
        let (weights, state) = (whole.tensors(), optimizer.state().unwrap());
        let resumed = fixtures.model(DType::F32);
        resumed.load_tensors("the weights after five steps", &weights).unwrap();
        // The saved state must not follow the optimizer that it was taken from.
        fixtures.run(optimizer.as_mut(), 5..10);

        let mut optimizer = (case.make)(&resumed).unwrap();
        optimizer.load_state(&through_files(&state)).unwrap();
        fixtures.run(optimizer.as_mut(), 5..10);
        assert_eq!(values(&resumed), values(&whole), "{}", case.name);
    }
}

#[test]
fn a_state_of_something_else_is_an_error() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F32);
    let mut adamw = AdamW::new(&params, 0.01).unwrap();
    fixtures.run(&mut adamw, 0..2);
    let state = adamw.state().unwrap();

    let mut adam = Adam::new(&params, 0.01).unwrap();
    assert_message(adam.load_state(&state), "expected one of Adam, got one of AdamW");
    let mut amsgrad = AdamW::new(&params, 0.01).unwrap().amsgrad();
    assert_message(amsgrad.load_state(&state), "expected tensor `max_v.");
    assert_message(adamw.load_state(&glassbox_core::State::default()), "`optimizer`");

    let mut cut = state.clone();
    cut.tensors.remove("v.head.bias");
    assert_message(adamw.load_state(&cut), "expected tensor `v.head.bias`");
    let mut wider = state.clone();
    wider.tensors.insert("m.head.bias".into(), state.tensors["m.hidden.bias"].clone());
    assert_message(adamw.load_state(&wider), "saved `m.head.bias`: expected [2] F32, got [3] F32");
    let f64s = fixtures.model(DType::F64);
    assert_message(AdamW::new(&f64s, 0.01).unwrap().load_state(&state), "got [3, 4] F32");
    let mut more = state.clone();
    more.tensors.insert("max_v.head.bias".into(), state.tensors["m.head.bias"].clone());
    assert_message(adamw.load_state(&more), "expected the 10 tensors that AdamW keeps");

    let larger = fixtures.model(DType::F32);
    larger.root().param("extra", 1, Init::Constant(0.0)).unwrap();
    let mut of_larger = AdamW::new(&larger, 0.01).unwrap();
    assert_message(of_larger.load_state(&state), "`extra`");
    assert_message(adamw.load_state(&of_larger.state().unwrap()), "also `extra`");
    assert_message(Muon::new(&params, 0.01).unwrap().load_state(&state), "`optimizer`");
    adamw.load_state(&state).unwrap();
}

#[test]
fn a_setting_switched_on_late_is_an_error() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F32);
    let mut sgd = Sgd::new(&params, 0.1).unwrap();
    fixtures.run(&mut sgd, 0..1);
    let mut sgd = sgd.momentum(0.9);
    assert_message(sgd.step(&fixtures.gradients(&params, 1), 1.0), "before the first step");
}
