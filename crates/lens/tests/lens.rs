//! The lens on whole runs: it changes nothing, its numbers are right, and it survives whatever a run does.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::path::Path;

use candle_core::{Device, Tensor};
use glassbox_cnn::{ResNet, ResNetConfig, SmallCnn, SmallCnnConfig, Stem};
use glassbox_core::dataset::{DataLoader, DatasetExt, TensorDataset};
use glassbox_core::loss::CrossEntropy;
use glassbox_core::optim::{AdamW, ClipNorm, Sgd};
use glassbox_core::train::callbacks::{Checkpoints, MetricLog};
use glassbox_core::{
    Activation, Batch, Dataset, Dropout, Error, Layer, Linear, ParamStore, Pass, Result, RunDir, Seed, Sequential,
    SupervisedStep, TensorExt, Trainer, VarBuilder,
};
use glassbox_lens::record::Record;
use glassbox_lens::{Lens, Report, compare};
use glassbox_rnn::{Gru, GruConfig};

fn digits() -> (DataLoader<Batch>, DataLoader<Batch>) {
    let (train, test) = glassbox_data::digits().unwrap().split_stratified(0.2, Seed(3)).unwrap();
    let (test, _) = test.split_stratified(0.1, Seed(3)).unwrap();
    (DataLoader::new(train, 32).shuffle(Seed(4)), DataLoader::new(test, 100))
}

fn cnn(vb: VarBuilder) -> Result<Box<dyn Layer>> {
    let channels = vec![8, 16];
    let config = SmallCnnConfig {
        image_size: 8.into(),
        channels,
        hidden: 32,
        batch_norm: true,
        dropout: 0.2,
        ..Default::default()
    };
    Ok(Box::new(SmallCnn::new(config, vb)?))
}

/// The rows of a picture one after another.
struct Rows {
    gru: Gru,
    head: Linear,
}

impl Layer for Rows {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let states = self.gru.forward(&xs.squeeze(1)?, pass)?;
        let last = states.narrow(1, states.dim(1)? - 1, 1)?.squeeze(1)?.contiguous()?;
        self.head.forward(&last, pass)
    }
}

fn rnn(vb: VarBuilder) -> Result<Box<dyn Layer>> {
    let config = GruConfig { num_layers: 2, dropout: 0.1, layer_norm: true, ..Default::default() };
    Ok(Box::new(Rows { gru: Gru::new(8, 16, config, vb.pp("gru"))?, head: Linear::new(16, 10, vb.pp("head"))? }))
}

fn residual(vb: VarBuilder) -> Result<Box<dyn Layer>> {
    let small = ResNetConfig { layers: [1, 1, 1, 1], width: 4, stem: Stem::Cifar, ..ResNetConfig::resnet18() };
    let config = ResNetConfig { num_classes: 10, in_channels: 1, ..small };
    Ok(Box::new(ResNet::new(config, vb)?))
}

type Make = fn(VarBuilder) -> Result<Box<dyn Layer>>;

fn fit(folder: &Path, make: Make, lens: Option<Lens>, resume: bool, steps: u64) -> Result<Vec<u8>> {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = make(params.root())?;
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 1e-3)?)
        .transform(ClipNorm::new(1.0))
        .average_weights(0.9)?;
    let (train, test) = digits();
    let mut trainer = Trainer::new(RunDir::new(folder)?)
        .steps(steps)
        .seed(Seed(2))
        .resume(resume)
        .with(MetricLog::default())
        .with(Checkpoints::every_steps(5));
    if let Some(lens) = lens {
        trainer = trainer.with(lens);
    }
    trainer.fit(step, train, test)?;
    std::fs::read(folder.join("model.safetensors")).map_err(|e| Error::io(folder, e))
}

#[test]
fn looking_changes_nothing() {
    for (name, make) in [("cnn", cnn as Make), ("rnn", rnn), ("residual", residual)] {
        let without = fit(tempfile::tempdir().unwrap().path(), make, None, false, 14).unwrap();
        let every = Lens::every(1).tensorboard().check_gradients();
        let with = fit(tempfile::tempdir().unwrap().path(), make, Some(every), false, 14).unwrap();
        assert!(without == with, "{name}: other weights with the lens");
    }
}

/// Norms, ratio and moments against f64, computed here from the saved weights before and after a step.
#[test]
fn vital_signs_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = Sequential::new(params.root())
        .add_named("fc1", |vb| Linear::new(64, 12, vb))
        .and_then(|s| s.add_named("act", |_| Ok(Activation::Relu)))
        .and_then(|s| s.add_named("fc2", |vb| Linear::new(12, 10, vb)))
        .unwrap();
    let (train, _) = glassbox_data::digits().unwrap().split_stratified(0.02, Seed(3)).unwrap();
    let samples: Vec<_> = (0..train.len()).map(|i| train.get(i, &mut Seed(0).rng()).unwrap()).collect();
    let inputs = Tensor::stack(&samples.iter().map(|s| s.input.flatten_all().unwrap()).collect::<Vec<_>>(), 0).unwrap();
    let targets = Tensor::stack(&samples.iter().map(|s| s.target.clone()).collect::<Vec<_>>(), 0).unwrap();
    let all = DataLoader::new(TensorDataset::new(inputs.clone(), targets.clone()).unwrap(), 1000);
    let rate = 0.1;
    let before: Vec<(String, Vec<f64>)> =
        params.all().iter().map(|p| (p.name().to_string(), p.value().to_f64_vec().unwrap())).collect();
    let hidden = {
        let weight = params.get("fc1.weight").unwrap().value().copy().unwrap();
        let bias = params.get("fc1.bias").unwrap().value().copy().unwrap();
        inputs.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap().relu().unwrap().to_f64_vec().unwrap()
    };
    let step = SupervisedStep::new(model, CrossEntropy::default(), Sgd::new(&params, rate).unwrap());
    let trainer = Trainer::new(RunDir::new(folder.path()).unwrap()).steps(1).with(Lens::default());
    trainer.fit(step, all, None).unwrap();
    let record = Record::read(folder.path()).unwrap();
    let vitals = &record.vitals[0];
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    // The record has five digits; f32 has seven.
    let close = |got: f64, want: f64| assert!((got - want).abs() <= 2e-4 * want.abs() + 1e-9, "{got} {want}");
    for (name, old) in &before {
        let new = params.get(name).unwrap().value().to_f64_vec().unwrap();
        let step: Vec<f64> = new.iter().zip(old).map(|(a, b)| a - b).collect();
        let (_, found) = record.param(name).next().unwrap();
        close(found.weight_norm, norm(old));
        close(found.update_ratio.unwrap(), norm(&step) / norm(old));
        // Plain gradient descent: Δw = −rate · g.
        close(found.gradient_norm, norm(&step) / rate);
    }
    let act = vitals.layers.iter().find(|layer| layer.path == "act").unwrap();
    let mean = hidden.iter().sum::<f64>() / hidden.len() as f64;
    close(act.mean, mean);
    close(act.std, (hidden.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / hidden.len() as f64).sqrt());
    let dead = (0..12).filter(|unit| hidden.iter().skip(*unit).step_by(12).all(|&x| x <= 0.0)).count();
    close(act.dead.unwrap(), dead as f64 / 12.0);
    assert_eq!(record.network.num_classes, Some(10));
    assert!((record.network.initial_cross_entropy.unwrap() - vitals.loss).abs() < 1e-3);
}

#[test]
fn ten_thousand_steps_stay_below_five_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let mut model = Sequential::new(params.root());
    for i in 0..12 {
        model = model.add_named(&format!("a_rather_long_name_{i}"), |vb| Linear::new(2, 2, vb)).unwrap();
    }
    let points = Seed(1).rng().normal_tensor((8, 2), 0.0, 1.0, candle_core::DType::F32, &Device::Cpu).unwrap();
    let data = TensorDataset::new(points, Tensor::zeros(8, candle_core::DType::U32, &Device::Cpu).unwrap()).unwrap();
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 1e-4).unwrap());
    let trainer = Trainer::new(RunDir::new(folder.path()).unwrap()).steps(10_000).with(Lens::every(1));
    trainer.fit(step, DataLoader::new(data, 8), None).unwrap();
    for file in ["lens.jsonl", "report.html"] {
        let bytes = std::fs::metadata(folder.path().join(file)).unwrap().len();
        assert!(bytes < 5_000_000, "{file}: {bytes}");
    }
    let record = Record::read(folder.path()).unwrap();
    assert!(record.vitals.len() > 200, "{}", record.vitals.len());
    assert_eq!(record.vitals[0].step, 1);
    assert!(record.vitals.windows(2).all(|pair| pair[0].step < pair[1].step));
}

#[test]
fn a_resumed_run_goes_on_with_its_record() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = fit(whole.path(), cnn, Some(Lens::every(4)), false, 14).unwrap();
    fit(parts.path(), cnn, Some(Lens::every(4)), false, 9).unwrap();
    assert_eq!(fit(parts.path(), cnn, Some(Lens::every(4)), true, 14).unwrap(), bytes);
    let steps = |folder: &Path| Record::read(folder).unwrap().vitals.iter().map(|v| v.step).collect::<Vec<_>>();
    assert_eq!(steps(parts.path()), steps(whole.path()));
    assert_eq!(steps(whole.path()), [1, 4, 8, 12]);
}

/// Gives NaN from the third step on.
struct Breaks;

impl Layer for Breaks {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(xs.log()?)
    }
}

#[test]
fn the_layer_in_which_nan_began_is_named_and_its_inputs_kept() {
    let folder = tempfile::tempdir().unwrap();
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = Sequential::new(params.root())
        .add_named("flatten", |_| Ok(glassbox_core::Flatten))
        .and_then(|s| s.add_named("fc1", |vb| Linear::new(64, 8, vb)))
        .and_then(|s| s.add_named("drop", |_| Dropout::new(0.1)))
        .and_then(|s| s.add_named("log", |_| Ok(Breaks)))
        .and_then(|s| s.add_named("fc2", |vb| Linear::new(8, 10, vb)))
        .unwrap();
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 1e-3).unwrap());
    let trainer = Trainer::new(RunDir::new(folder.path()).unwrap()).steps(20).with(Lens::default());
    let (train, test) = digits();
    let error = trainer.fit(step, train, test).map(|f| f.steps).unwrap_err();
    assert!(error.to_string().starts_with("first non-finite value: output of `log` is NaN at step 1"), "{error}");
    let kept =
        candle_core::safetensors::load(folder.path().join("first_non_finite.safetensors"), &Device::Cpu).unwrap();
    let again = Breaks.forward(&kept["input"], &Pass::eval()).unwrap().to_f64_vec().unwrap();
    assert!(again.iter().any(|x| x.is_nan()) && kept["input"].to_f64_vec().unwrap().iter().all(|x| x.is_finite()));
    assert!(std::fs::read_to_string(folder.path().join("report.html")).unwrap().contains("output of `log`"));
}

#[test]
fn a_gradient_that_is_not_finite_ends_the_run_before_it_spreads() {
    let folder = tempfile::tempdir().unwrap();
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    /// √0 = 0 with a gradient of ∞.
    struct Root;
    impl Layer for Root {
        fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
            Ok(xs.relu()?.sqrt()?)
        }
    }
    let model = Sequential::new(params.root())
        .add_named("flatten", |_| Ok(glassbox_core::Flatten))
        .and_then(|s| s.add_named("fc1", |vb| Linear::new(64, 8, vb)))
        .and_then(|s| s.add_named("root", |_| Ok(Root)))
        .and_then(|s| s.add_named("fc2", |vb| Linear::new(8, 10, vb)))
        .unwrap();
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 1e-3).unwrap());
    let trainer = Trainer::new(RunDir::new(folder.path()).unwrap()).steps(20).with(Lens::default().check_gradients());
    let (train, test) = digits();
    let error = trainer.fit(step, train, test).map(|f| f.steps).unwrap_err().to_string();
    assert!(error.contains("first non-finite value: gradient flowing into `fc1`"), "{error}");
    assert!(params.get("fc1.weight").unwrap().value().to_f64_vec().unwrap().iter().all(|x| x.is_finite()));
}

#[test]
fn reports_are_whole_and_ask_for_nothing() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fit(a.path(), cnn, Some(Lens::every(3)), false, 24).unwrap();
    fit(b.path(), rnn, Some(Lens::every(3)), false, 24).unwrap();
    for folder in [a.path(), b.path()] {
        let html = std::fs::read_to_string(folder.join("report.html")).unwrap();
        assert!(html.len() < 5_000_000);
        // The only addresses are those of the page itself and of data within it.
        for start in ["http://", "https://", "src=\"", "url(", "@import", "NaN"] {
            assert!(!html.contains(start), "`{start}` in the report");
        }
        for part in html.split("href=\"").skip(1) {
            assert!(part.starts_with('#') || part.starts_with("data:"), "{}", &part[..40]);
        }
        assert_eq!(html.matches("<svg").count(), html.matches("role=\"img\" aria-label=\"").count());
        assert_eq!(html.matches("<figure").count(), html.matches("<figcaption>").count());
        assert!(Report::of_run(folder).unwrap().html() == html, "made again, it is the same");
    }
    let html = std::fs::read_to_string(a.path().join("report.html")).unwrap();
    for title in
        ["Just before the first layer", "Filters of conv1.weight", "What is taken for what", "The worst answers"]
    {
        assert!(html.contains(title), "{title}");
    }
    assert!(std::fs::read_to_string(b.path().join("report.html")).unwrap().contains("Hidden states of gru"));
    let both = compare(a.path(), b.path()).unwrap().html();
    assert!(both.contains("Training loss") && both.contains("Validation: validation loss"));
    assert!(compare(a.path(), a.path().join("none")).is_err());
    assert!(Report::of_run(a.path().join("checkpoints")).is_err());
}

#[test]
fn names_from_outside_are_not_markup() {
    let folder = tempfile::tempdir().unwrap();
    let line = r#"{"event":"network","layers":[{"path":"<script>x","kind":"\"><i>","shape":[1]}],"params":[]}"#;
    std::fs::write(folder.path().join("lens.jsonl"), format!("{line}\nbroken {{\n")).unwrap();
    let step = r#"{"event":"step","step":1,"loss":2.5,"<img src=x>":1.0}"#;
    std::fs::write(folder.path().join("metrics.jsonl"), format!("{step}\n")).unwrap();
    let html = Report::of_run(folder.path()).unwrap().html();
    assert!(!html.contains("<script>x") && !html.contains("<i>") && !html.contains("<img"), "{html}");
}
