//! Clipping, accumulation and weight averages.

use candle_core::{DType, Tensor};
use glassbox_core::optim::{Accumulate, ClipNorm, ClipValue, WeightAverage};
use glassbox_core::{GradTransform, Gradients, Init, Layer, Linear, ParamStore, Pass, Rng, Seed};

use crate::{Fixtures, assert_close, assert_message, flat, split, through_files, values};

/// The gradients in the store's order.
fn all(gradients: &Gradients, params: &ParamStore) -> Vec<f64> {
    params.all().iter().flat_map(|p| flat(gradients.get(p.name()).unwrap())).collect()
}

/// In f64: the order of summation differs from PyTorch's.
#[test]
fn clipping_is_pytorchs() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F64);
    let mut clip = ClipNorm::new(2.0);
    assert!(clip.report().is_none());
    let clipped = clip.apply(fixtures.gradients(&params, 0), false).unwrap().unwrap();
    assert_close(&all(&clipped, &params), &fixtures.values("clip/norm"), 1e-12, "by norm");
    let (name, norm) = clip.report().unwrap();
    assert_eq!(name, "gradient_norm");
    assert_close(&[norm], &fixtures.values("clip/of_norm"), 1e-12, "norm");

    let clipped = ClipValue::new(0.7).apply(fixtures.gradients(&params, 0), false).unwrap().unwrap();
    assert_eq!(all(&clipped, &params), fixtures.values("clip/value"));

    let untouched = ClipNorm::new(1e3).apply(fixtures.gradients(&params, 0), false).unwrap().unwrap();
    assert_eq!(all(&untouched, &params), flat(&fixtures.get("gradients").get(0).unwrap()));
}

#[test]
fn a_norm_that_is_not_finite_names_the_parameter() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F32);
    for value in [f64::NAN, f64::INFINITY] {
        let broken =
            |p: &glassbox_core::Param, g: &Tensor| Ok(if p.name() == "head.bias" { (g * value)? } else { g.clone() });
        let gradients = fixtures.gradients(&params, 0).map(broken).unwrap();
        assert_message(ClipNorm::new(1.0).apply(gradients, false), "gradient of `head.bias`");
    }
}

#[test]
fn wrong_settings_are_errors() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F32);
    let gradients = || fixtures.gradients(&params, 0);
    assert_message(ClipNorm::new(0.0).apply(gradients(), false), "ClipNorm max_norm: expected a finite number > 0");
    assert_message(ClipValue::new(f64::NAN).apply(gradients(), false), "ClipValue limit");
    assert_message(Accumulate::new(0).apply(gradients(), false), "Accumulate batches: expected 1 or more");
    assert_message(WeightAverage::new(&params, 1.0), "WeightAverage decay");
}

#[test]
fn groups_are_averaged_and_the_last_one_over_its_own_count() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F64);
    let rows: Vec<Vec<f64>> = (0..5).map(|i| flat(&fixtures.get("gradients").get(i).unwrap())).collect();
    let mean = |rows: &[Vec<f64>]| -> Vec<f64> {
        (0..24).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / rows.len() as f64).collect()
    };
    let mut accumulate = Accumulate::new(3);
    let mut passed = Vec::new();
    for step in 0..5 {
        let result = accumulate.apply(fixtures.gradients(&params, step), step == 4).unwrap();
        passed.push(result.map(|g| all(&g, &params)));
    }
    assert!(passed[0].is_none() && passed[1].is_none() && passed[3].is_none());
    // A sum times 1/3 instead of divided by 3: one rounding.
    assert_close(passed[2].as_ref().unwrap(), &mean(&rows[..3]), 1e-15, "whole group");
    assert_close(passed[4].as_ref().unwrap(), &mean(&rows[3..]), 1e-15, "partial group");
}

#[test]
fn a_group_goes_on_after_a_resume() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F32);
    let mut whole = Accumulate::new(3);
    whole.apply(fixtures.gradients(&params, 0), false).unwrap();
    // A parameter that the second batch alone uses, and one that only the first did.
    let without = |step, name: &str| {
        let all = fixtures.gradients(&params, step);
        let kept = all.iter().filter(|(p, _)| p.name() != name).map(|(p, g)| (p.clone(), g.clone()));
        Gradients::from_pairs(kept.collect())
    };
    let mut resumed = Accumulate::new(3);
    resumed.load_state(&through_files(&whole.state().unwrap()), &params).unwrap();
    let finish = |accumulate: &mut Accumulate| {
        assert!(accumulate.apply(without(1, "scale"), false).unwrap().is_none());
        let passed = accumulate.apply(without(2, "scale"), false).unwrap().unwrap();
        passed.iter().map(|(p, g)| (p.name().to_string(), flat(g))).collect::<Vec<_>>()
    };
    let finished = finish(&mut whole);
    assert_eq!(finished, finish(&mut resumed));
    assert_eq!(finished.len(), 5);

    let other = ParamStore::new(Seed(1), params.device());
    let state = {
        whole.apply(fixtures.gradients(&params, 0), false).unwrap();
        whole.state().unwrap()
    };
    assert_message(resumed.load_state(&state, &other), "this model's parameters");
    other.root().param("scale", 2, Init::Constant(0.0)).unwrap();
    let mut scale = state.clone();
    scale.tensors.retain(|name, _| name == "sum.scale");
    assert_message(resumed.load_state(&scale, &other), "saved gradient of `scale`: expected shape [2], got [1]");
}

/// In f64: the sums over the batch are taken in another order.
#[test]
fn parts_of_a_batch_give_the_batchs_gradient() {
    let params = ParamStore::with_dtype(Seed(3), DType::F64, &candle_core::Device::Cpu);
    let layer = Linear::new(4, 2, params.root()).unwrap();
    let mut rng: Rng = Seed(4).rng();
    let xs = rng.normal_tensor((6, 4), 0.0, 1.0, DType::F64, params.device()).unwrap();
    let gradients = |start: usize, count: usize| {
        let ys = layer.forward(&xs.narrow(0, start, count).unwrap(), &Pass::train(Seed(0))).unwrap();
        Gradients::of(&ys.sqr().unwrap().mean_all().unwrap(), &params).unwrap()
    };
    let mut accumulate = Accumulate::new(3);
    let parts = (0..3).filter_map(|i| accumulate.apply(gradients(2 * i, 2), false).unwrap()).next().unwrap();
    assert_close(&all(&parts, &params), &all(&gradients(0, 6), &params), 1e-14, "parts");
}

/// `params` with the weights that the fixtures' averages are of.
fn set_weights(fixtures: &Fixtures, params: &ParamStore, step: usize) {
    let weights = (fixtures.get("initial") + fixtures.get("gradients").get(step).unwrap()).unwrap();
    for (name, part) in split(&weights) {
        params.get(name).unwrap().set(&part).unwrap();
    }
}

/// In f64: one rounding at each of ten updates may differ.
#[test]
fn averages_are_pytorchs() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F64);
    let mut average = WeightAverage::new(&params, 0.9).unwrap();
    for step in 0..10 {
        set_weights(&fixtures, &params, step);
        let trained = values(&params);
        average.update().unwrap();
        average.swap().unwrap();
        assert!(average.is_swapped());
        let want = flat(&fixtures.get("average").get(step).unwrap());
        assert_close(&values(&params), &want, 1e-14, &format!("average {step}"));
        assert_message(average.update(), "call `swap` again");
        assert_message(average.state(), "call `swap` again");
        average.swap().unwrap();
        assert_eq!(values(&params), trained);
    }
}

#[test]
fn a_young_average_is_short() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F64);
    let mut average = WeightAverage::new(&params, 0.999).unwrap().warmup();
    set_weights(&fixtures, &params, 0);
    average.update().unwrap();
    let first = values(&params);
    set_weights(&fixtures, &params, 1);
    average.update().unwrap();
    let second = values(&params);
    average.swap().unwrap();
    // One update so far: the decay is 2/11.
    let want: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a * 2.0 / 11.0 + b * 9.0 / 11.0).collect();
    assert_close(&values(&params), &want, 1e-14, "warm-up");
}

#[test]
fn buffers_and_frozen_parameters_are_copied() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F64);
    let count = params.root().buffer_of("count", 1, Init::Constant(0.0), DType::U32).unwrap();
    let mean = params.root().buffer("mean", 1, Init::Constant(0.0)).unwrap();
    params.freeze("scale");
    let mut average = WeightAverage::new(&params, 0.5).unwrap();
    average.swap().unwrap();
    average.swap().unwrap();
    for value in [1.0, 5.0] {
        let tensor = Tensor::new(&[value], params.device()).unwrap();
        for param in [&count, &mean, &params.get("scale").unwrap(), &params.get("head.bias").unwrap()] {
            param.set(&tensor.broadcast_as(param.shape()).unwrap()).unwrap();
        }
        average.update().unwrap();
    }
    average.swap().unwrap();
    let value = |name: &str| flat(&params.get(name).unwrap().value())[0];
    assert_eq!(["count", "mean", "scale", "head.bias"].map(value), [5.0, 5.0, 5.0, 3.0]);
}

#[test]
fn an_average_goes_on_after_a_resume() {
    let fixtures = Fixtures::load();
    let params = fixtures.model(DType::F32);
    let mut whole = WeightAverage::new(&params, 0.9).unwrap().warmup();
    whole.load_state(&whole.state().unwrap()).unwrap();
    set_weights(&fixtures, &params, 0);
    whole.update().unwrap();
    let mut resumed = WeightAverage::new(&params, 0.9).unwrap().warmup();
    let state = through_files(&whole.state().unwrap());
    resumed.load_state(&state).unwrap();
    let mut averages = [whole, resumed].map(|mut average| {
        set_weights(&fixtures, &params, 1);
        average.update().unwrap();
        average.swap().unwrap();
        let values = values(&params);
        average.swap().unwrap();
        (values, average)
    });
    assert_eq!(averages[0].0, averages[1].0);

    let resumed = &mut averages[1].1;
    let mut cut = state.clone();
    cut.tensors.remove("average.scale");
    assert_message(resumed.load_state(&cut), "one of `scale`");
    let mut wider = state.clone();
    wider.tensors.insert("average.scale".into(), state.tensors["average.head.bias"].clone());
    assert_message(resumed.load_state(&wider), "got [2] F32");
    let mut more = state.clone();
    more.tensors.insert("average.other".into(), state.tensors["average.scale"].clone());
    assert_message(resumed.load_state(&more), "`other`");
}
