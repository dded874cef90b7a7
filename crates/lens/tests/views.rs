//! The views against independent computations.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use candle_core::{DType, Device, Tensor, Var};
use glassbox_cnn::{SmallCnn, SmallCnnConfig};
use glassbox_core::dataset::{DataLoader, DatasetExt, Position};
use glassbox_core::loss::CrossEntropy;
use glassbox_core::optim::AdamW;
use glassbox_core::{
    Batch, Dataset, Flatten, Gradients, Layer, Linear, Loss, Mlp, MlpConfig, Optimizer, ParamStore, Pass, Result, Seed,
    Sequential, TensorExt,
};
use glassbox_lens::views::{attention, convolution, data, descent, labels, recurrence};
use glassbox_lens::{Taps, preflight};

fn normal(seed: u64, shape: &[usize], dtype: DType) -> Tensor {
    Seed(seed).rng().normal_tensor(shape, 0.0, 1.0, dtype, &Device::Cpu).unwrap()
}

fn digits_cnn(seed: u64) -> (SmallCnn, ParamStore) {
    let params = ParamStore::with_dtype(Seed(seed), DType::F64, &Device::Cpu);
    let config = SmallCnnConfig { image_size: 8.into(), channels: vec![4, 8], hidden: 16, ..Default::default() };
    (SmallCnn::new(config, params.root()).unwrap(), params)
}

/// A linear network, whose explanations have a closed form: w, and w · (x − x₀).
fn linear_model() -> (Sequential, Vec<f64>) {
    let params = ParamStore::with_dtype(Seed(3), DType::F64, &Device::Cpu);
    let model =
        Sequential::new(params.root()).add(|_| Ok(Flatten)).and_then(|s| s.add(|vb| Linear::new(16, 3, vb))).unwrap();
    let weight = params.get("1.weight").unwrap().value().get(1).unwrap().to_f64_vec().unwrap();
    (model, weight)
}

#[test]
fn explanations_of_a_linear_network_are_its_weights() {
    let (model, weight) = linear_model();
    let input = normal(5, &[1, 1, 4, 4], DType::F64);
    let values = input.to_f64_vec().unwrap();
    let saliency = convolution::saliency(&model, &input, 1).unwrap().to_f64_vec().unwrap();
    saliency.iter().zip(&weight).for_each(|(got, w)| assert!((got - w.abs()).abs() < 1e-12));
    let found = convolution::integrated_gradients(&model, &input, &input.zeros_like().unwrap(), 1).unwrap();
    let attributions = found.values.to_f64_vec().unwrap();
    attributions.iter().zip(weight.iter().zip(&values)).for_each(|(got, (w, x))| assert!((got - w * x).abs() < 1e-12));
    assert!(found.completeness_error < 1e-9);
    // A covered square takes away its own part of the sum.
    let falls = convolution::occlusion(&model, &input, 1, 2, 2, 0.0).unwrap().to_f64_vec().unwrap();
    let part = |i: usize| weight[i] * values[i];
    // To the rounding of f32.
    assert!((falls[0] - [0, 1, 4, 5].map(part).iter().sum::<f64>()).abs() < 1e-6);
    assert!((falls[3] - [10, 11, 14, 15].map(part).iter().sum::<f64>()).abs() < 1e-6);
    assert!(
        convolution::saliency(&model, &input, 3).is_err()
            && convolution::occlusion(&model, &input, 1, 5, 1, 0.0).is_err()
    );
}

#[test]
fn integrated_gradients_of_a_convolutional_network_are_complete() {
    let (model, _) = digits_cnn(1);
    for seed in 0..3 {
        let input = normal(seed, &[1, 1, 8, 8], DType::F64).abs().unwrap();
        let found = convolution::integrated_gradients(&model, &input, &input.zeros_like().unwrap(), 2).unwrap();
        assert!(found.completeness_error <= 0.01, "{found:?}");
    }
}

/// Grad-CAM recomputed from central differences of the class's output with respect to a shift of each channel.
#[test]
fn grad_cam_weighs_channels_by_their_mean_gradient() {
    let (model, params) = digits_cnn(1);
    let input = normal(2, &[1, 1, 8, 8], DType::F64).abs().unwrap();
    let got = convolution::grad_cam(&model, &input, 3, "conv2").unwrap().to_f64_vec().unwrap();
    let output = |pass: &Pass| model.forward(&input, pass)?.narrow(1, 3, 1)?.sum_all().map_err(Into::into);
    let tapped = Taps::on("conv2").run(output).unwrap();
    let maps = tapped["conv2"].output().unwrap().squeeze(0).unwrap();
    let (channels, height, width) = maps.dims3().unwrap();
    // The bias of a channel shifts all of its places: ∂ output / ∂ bias = Σ over places of ∂ output / ∂ A.
    let bias = params.get("conv2.bias").unwrap();
    let start = bias.value().to_f64_vec().unwrap();
    let step = 1e-6;
    let shifted = |channel: usize, by: f64| {
        let mut values = start.clone();
        values[channel] += by;
        bias.set(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
        output(&Pass::eval()).unwrap().to_f64().unwrap()
    };
    let places = (height * width) as f64;
    let weights: Vec<f64> =
        (0..channels).map(|c| (shifted(c, step) - shifted(c, -step)) / (2.0 * step) / places).collect();
    bias.set(&Tensor::new(start.clone(), &Device::Cpu).unwrap()).unwrap();
    let maps = maps.to_f64_vec().unwrap();
    for (place, got) in got.iter().enumerate() {
        let sum: f64 = (0..channels).map(|c| weights[c] * maps[c * height * width + place]).sum();
        assert!((got - sum.max(0.0)).abs() < 1e-7, "{got} {sum}");
    }
    assert!(convolution::grad_cam(&model, &input, 3, "nowhere").is_err());
}

#[test]
fn the_randomisation_check_tells_the_network_from_the_picture_and_restores_it() {
    let (model, params) = digits_cnn(1);
    let input = normal(2, &[1, 1, 8, 8], DType::F64).abs().unwrap();
    let before = params.tensors().into_iter().map(|(n, t)| (n, t.to_f64_vec().unwrap())).collect::<Vec<_>>();
    let network =
        convolution::randomisation_check(&params, Seed(1), || convolution::saliency(&model, &input, 1)).unwrap();
    let picture = convolution::randomisation_check(&params, Seed(1), || Ok(input.clone())).unwrap();
    assert!((picture - 1.0).abs() < 1e-12 && network.abs() < 0.6, "{picture} {network}");
    let after = params.tensors().into_iter().map(|(n, t)| (n, t.to_f64_vec().unwrap())).collect::<Vec<_>>();
    assert_eq!(before, after);
    let figure = convolution::explain(&model, &params, &input, 1, "conv2").unwrap();
    assert_eq!(figure.body().matches("<image").count(), 5);
}

/// scipy.stats.spearmanr([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) = 0.8207826816681233.
#[test]
fn rank_correlation_is_spearmans() {
    let got = convolution::rank_correlation(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]);
    assert!((got - 0.820_782_681_668_123_3).abs() < 1e-12, "{got}");
}

/// h ← W h with W of spectral radius ρ, a rotation times ρ: ln ‖∂L/∂h_t‖ has the slope ln ρ.
#[test]
fn the_gradient_of_a_linear_recurrence_has_the_slope_of_its_radius() {
    for radius in [0.7f64, 0.95, 1.1] {
        // Rotations of planes by different angles: orthogonal.
        let mut values = vec![0.0; 64];
        for plane in 0..4 {
            let (sin, cos) = (0.3 + plane as f64).sin_cos();
            let at = |row: usize, column: usize| (2 * plane + row) * 8 + 2 * plane + column;
            (values[at(0, 0)], values[at(0, 1)]) = (radius * cos, -radius * sin);
            (values[at(1, 0)], values[at(1, 1)]) = (radius * sin, radius * cos);
        }
        let weight = Tensor::from_vec(values, (8, 8), &Device::Cpu).unwrap();
        let found = recurrence::state_gradients(
            &[normal(1, &[2, 8], DType::F64)],
            40,
            |_, state| Ok(vec![state[0].matmul(&weight)?]),
            |t, state| Ok((t == 39).then(|| state[0].narrow(1, 0, 3)?.sum_all()).transpose()?),
        )
        .unwrap();
        assert!((found.slope() / radius.ln() - 1.0).abs() < 0.05, "{} {}", found.slope(), radius.ln());
        assert_eq!(found.norms.len(), 41);
    }
}

/// A tanh recurrence with a loss at two steps: the gradient of the first state from one backward through all steps.
#[test]
fn the_gradient_of_the_first_state_is_that_of_the_whole_graph() {
    let (weight, start) = (normal(1, &[5, 5], DType::F64), normal(2, &[3, 5], DType::F64));
    let step = |state: &Tensor| -> Result<Tensor> { Ok(state.matmul(&weight)?.tanh()?) };
    let found = recurrence::state_gradients(
        std::slice::from_ref(&start),
        6,
        |_, state| Ok(vec![step(&state[0])?]),
        |t, state| Ok(if t == 2 || t == 5 { Some(state[0].sqr()?.sum_all()?) } else { None }),
    )
    .unwrap();
    let var = Var::from_tensor(&start).unwrap();
    let mut state = var.as_tensor().clone();
    let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
    for t in 0..6 {
        state = step(&state).unwrap();
        if t == 2 || t == 5 {
            loss = (loss + state.sqr().unwrap().sum_all().unwrap()).unwrap();
        }
    }
    let whole = loss.backward().unwrap().get(var.as_tensor()).unwrap().to_f64_vec().unwrap();
    let norm = whole.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!((found.norms[0] - norm).abs() < 1e-12 * norm, "{} {norm}", found.norms[0]);
}

#[test]
fn attention_is_that_of_the_formulas() {
    let (queries, keys) = (normal(1, &[2, 4, 3], DType::F64), normal(2, &[2, 4, 3], DType::F64));
    let weights = attention::weights(&queries, &keys, true).unwrap();
    let (q, k) = (queries.to_vec3::<f64>().unwrap(), keys.to_vec3::<f64>().unwrap());
    let values = weights.to_vec3::<f64>().unwrap();
    let mut entropies = [0.0; 2];
    for head in 0..2 {
        for row in 0..4 {
            let score = |c: usize| (0..3).map(|i| q[head][row][i] * k[head][c][i]).sum::<f64>() / 3f64.sqrt();
            let total: f64 = (0..=row).map(|c| score(c).exp()).sum();
            for (column, got) in values[head][row].iter().enumerate() {
                let want = if column <= row { score(column).exp() / total } else { 0.0 };
                assert!((got - want).abs() < 1e-12);
                entropies[head] -= if want > 0.0 { want * want.ln() / 4.0 } else { 0.0 };
            }
        }
    }
    let found = attention::entropy(&weights).unwrap();
    found.iter().zip(entropies).for_each(|(got, want)| assert!((got - want).abs() < 1e-12));
    // Rollout of one layer: (mean over heads + I) / 2.
    let rollout = attention::rollout(std::slice::from_ref(&weights)).unwrap().to_vec2::<f64>().unwrap();
    for (row, own) in rollout.iter().enumerate() {
        for (column, got) in own.iter().enumerate() {
            let mean = (values[0][row][column] + values[1][row][column]) / 2.0;
            assert!((got - (mean + f64::from(u8::from(row == column))) / 2.0).abs() < 1e-12);
        }
    }
    let two = attention::rollout(&[weights.clone(), weights.clone()]).unwrap().to_vec2::<f64>().unwrap();
    for row in 0..4 {
        assert!((two[row].iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let want: f64 = (0..4).map(|k| rollout[row][k] * rollout[k][0]).sum();
        assert!((two[row][0] - want).abs() < 1e-12);
    }
    assert!(attention::rollout(&[]).is_err() && attention::maps("l", &weights).is_ok());
    assert!(attention::collapse("l", 1, &weights).unwrap().is_none());
}

#[test]
fn the_logit_lens_ends_with_the_logits_and_token_losses_are_cross_entropies() {
    let params = ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu);
    let head = Linear::new(6, 9, params.root()).unwrap();
    let hidden: Vec<Tensor> = (0..3).map(|seed| normal(seed, &[5, 6], DType::F64)).collect();
    let lens = attention::logit_lens(&hidden, |h| head.forward(h, &Pass::eval())).unwrap();
    let logits = head.forward(&hidden[2], &Pass::eval()).unwrap();
    assert_eq!(lens[2].to_f64_vec().unwrap(), logits.to_f64_vec().unwrap());
    let targets = [1usize, 8, 0, 3, 3];
    let losses = attention::token_losses(&logits, &targets).unwrap();
    let ids = Tensor::new(targets.map(|t| t as u32).as_slice(), &Device::Cpu).unwrap();
    let mean = CrossEntropy::default().forward(&logits, &ids).unwrap().to_f64().unwrap();
    assert!((losses.iter().sum::<f64>() / 5.0 - mean).abs() < 1e-12);
    assert!(attention::token_losses(&logits, &[9, 0, 0, 0, 0]).is_err());
    assert!(attention::logit_lens_figure(&lens, |id| format!("<{id}>")).unwrap().body().contains("&lt;"));
}

#[test]
fn taps_see_what_passes() {
    let params = ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu);
    let config = MlpConfig { in_features: 3, hidden: vec![4], out_features: 2, ..Default::default() };
    let model = Mlp::new(config, params.root()).unwrap();
    let inputs = normal(1, &[5, 3], DType::F64);
    let tapped = Taps::on("fc*").run(|pass| Ok(model.forward(&inputs, pass)?.sqr()?.sum_all()?)).unwrap();
    let outputs = tapped["fc2"].output().unwrap();
    // d (Σ y²) / dy = 2 y.
    let want: Vec<f64> = outputs.to_f64_vec().unwrap().iter().map(|y| 2.0 * y).collect();
    assert_eq!(tapped["fc2"].gradient().unwrap().to_f64_vec().unwrap(), want);
    assert_eq!(tapped.keys().collect::<Vec<_>>(), ["fc1", "fc2"]);
}

#[test]
fn preflight_gives_the_model_back_as_it_was() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = SmallCnnConfig {
        image_size: 8.into(),
        channels: vec![4, 8],
        hidden: 16,
        batch_norm: true,
        ..Default::default()
    };
    let model = SmallCnn::new(config, params.root()).unwrap();
    let digits = glassbox_data::digits().unwrap();
    let loader = DataLoader::new(digits, 24).shuffle(Seed(1));
    let batch: Batch = loader.batches(Position::default(), &Device::Cpu).unwrap().next().unwrap().unwrap();
    let bytes = |params: &ParamStore| {
        let folder = tempfile::tempdir().unwrap();
        params.save(folder.path().join("x")).unwrap();
        std::fs::read(folder.path().join("x")).unwrap()
    };
    let before = bytes(&params);
    let found = preflight(&model, &CrossEntropy::default(), &params, &batch, Default::default()).unwrap();
    assert!(bytes(&params) == before, "parameters or buffers changed");
    assert_eq!(found.findings, [], "{found}");
    assert!((found.expected_loss.unwrap() - 10f64.ln()).abs() < 1e-12);
    assert!(found.overfitted_loss < 0.5 && found.baseline_loss > 1.0, "{found}");
    let rate = found.range.as_ref().unwrap().suggestion.unwrap();
    assert!((1e-5..1.0).contains(&rate), "{rate}");
    assert!(found.figures().len() >= 3);
    // An error leaves it as it was, too.
    let wrong = Batch { input: batch.input.clone(), target: batch.target.narrow(0, 0, 3).unwrap() };
    assert!(preflight(&model, &CrossEntropy::default(), &params, &wrong, Default::default()).is_err());
    assert!(bytes(&params) == before);
}

/// Train on one half, predict the other, and turn: out-of-sample probabilities of every digit.
#[test]
fn flipped_labels_are_suspected() {
    let digits = glassbox_data::digits().unwrap();
    let mut rng = Seed(5).rng();
    let count = 1200;
    let mut inputs = vec![];
    let (mut given, mut flipped) = (vec![], vec![]);
    for i in 0..count {
        let sample = digits.get(i, &mut rng.clone()).unwrap();
        inputs.push(sample.input.flatten_all().unwrap());
        let label = sample.target.to_f64().unwrap() as usize;
        let flip = rng.bernoulli(0.1);
        given.push(if flip { (label + 1 + rng.below(9)) % 10 } else { label });
        flipped.push(flip);
    }
    let inputs = Tensor::stack(&inputs, 0).unwrap();
    let half = count / 2;
    let mut parts = vec![];
    for (train, test) in [(half, 0), (0, half)] {
        let params = ParamStore::new(Seed(7), &Device::Cpu);
        let config = MlpConfig { in_features: 64, hidden: vec![32], out_features: 10, ..Default::default() };
        let model = Mlp::new(config, params.root()).unwrap();
        let mut optimizer = AdamW::new(&params, 1e-2).unwrap().weight_decay(0.1);
        let ids: Vec<u32> = given[train..train + half].iter().map(|&l| l as u32).collect();
        let ids = Tensor::new(ids, &Device::Cpu).unwrap();
        let xs = inputs.narrow(0, train, half).unwrap();
        for _ in 0..60 {
            let loss =
                CrossEntropy::default().forward(&model.forward(&xs, &Pass::train(Seed(1))).unwrap(), &ids).unwrap();
            optimizer.step(&Gradients::of(&loss, &params).unwrap(), 1.0).unwrap();
        }
        let logits = model.forward(&inputs.narrow(0, test, half).unwrap(), &Pass::eval()).unwrap();
        parts.push(logits.softmax(1).unwrap());
    }
    let probabilities = Tensor::cat(&parts, 0).unwrap();
    let found = labels::suspects(&probabilities, &given).unwrap();
    let scores: Vec<f64> = found.margins.iter().map(|m| -m).collect();
    let auc = labels::roc_auc(&scores, &flipped);
    assert!(auc >= 0.95, "{auc}");
    let right = found.suspects.iter().filter(|(i, _, _)| flipped[*i]).count();
    assert!(right * 10 >= 7 * flipped.iter().filter(|f| **f).count(), "{right}");
}

#[test]
fn duplicates_are_found_where_they_are() {
    let digits = glassbox_data::digits().unwrap();
    let (train, test) = digits.clone().split(0.9, Seed(1)).unwrap();
    let found = data::look(&train, &test).unwrap();
    assert!(found.leaked.is_empty() && found.findings.is_empty(), "{:?}", found.findings);
    assert_eq!(found.samples.0 + found.samples.1, 1797);
    let same = data::look(&test, &test).unwrap();
    assert_eq!(same.leaked.len(), test.len());
    assert!(data::expect_disjoint(&test, &test).is_err() && data::expect_disjoint(&train, &test).is_ok());
}

/// Gradients g + noise of deviation s in n dimensions: E ‖G_B‖² = ‖g‖² + n s² / B.
#[test]
fn the_noise_scale_is_trace_over_square() {
    let (signal, trace) = (4.0, 40.0);
    let square = |batch: usize| (batch, signal + trace / batch as f64);
    assert!((descent::noise_scale(square(8), square(64)).unwrap() - trace / signal).abs() < 1e-9);
    assert!(descent::noise_scale(square(8), square(8)).is_err());
}

/// A loss that is a bowl: along any direction a parabola whose lowest point is where the parameters are.
#[test]
fn slices_of_a_bowl_are_parabolas_and_the_parameters_come_back() {
    let params = ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu);
    Linear::new(4, 3, params.root()).unwrap();
    let start = params.get("weight").unwrap().value().copy().unwrap();
    let norm = start.to_f64_vec().unwrap().iter().map(|x| x * x).sum::<f64>();
    let loss = || {
        let now = params.get("weight").unwrap().value();
        (now - &start)?.sqr()?.sum_all()?.to_f64()
    };
    let direction = descent::filter_normalised(&params, Seed(2)).unwrap();
    let line = descent::along(&params, &direction, (-1.0, 1.0), 5, loss).unwrap();
    // Each row of the direction is as long as the weight's, so that the whole is too.
    line.iter().for_each(|(alpha, loss)| assert!((loss - alpha * alpha * norm).abs() < 1e-12, "{alpha} {loss}"));
    let rows = descent::slice(&params, Seed(2), 5, loss).unwrap();
    assert!(rows[2][2].abs() < 1e-24 && rows.iter().flatten().all(|loss| *loss >= rows[2][2]));
    assert_eq!(loss().unwrap(), 0.0);
    assert!(descent::slice_figure(&rows).body().contains("<svg"));
    let mut path = descent::Path::default();
    for value in [0.0, 1.0, 2.0, 1.0] {
        params.get("bias").unwrap().set(&Tensor::full(value, 3, &Device::Cpu).unwrap()).unwrap();
        path.push(&params).unwrap();
    }
    assert!((path.lengths[0] - 3f64.sqrt()).abs() < 1e-12);
    assert!((path.cosines[0] - 1.0).abs() < 1e-12 && (path.cosines[1] + 1.0).abs() < 1e-12);
}
