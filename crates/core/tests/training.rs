//! The trainer: the same seed gives the same bits, stopped or not, whatever the number of loader threads.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use glassbox_core::dataset::{DataLoader, DatasetExt, TensorDataset};
use glassbox_core::loss::CrossEntropy;
use glassbox_core::metric::Accuracy;
use glassbox_core::optim::{Accumulate, AdamW, ClipNorm, OneCycle};
use glassbox_core::train::callbacks::{Checkpoints, EarlyStopping, MetricLog, RestoreBest};
use glassbox_core::train::{Ended, Fitted, Run, StepReport};
use glassbox_core::{
    Activation, Batch, Callback, Dropout, Error, Linear, ParamStore, Result, RunDir, Seed, Sequential, SupervisedStep,
    Trainer,
};

type Step = SupervisedStep<Sequential, CrossEntropy>;

/// 50 points of the plane, labelled by the side of a line that they lie on.
fn dataset() -> TensorDataset {
    let points = Seed(5).rng().normal_tensor((50, 2), 0.0, 1.0, DType::F32, &Device::Cpu).unwrap();
    let labels: Vec<u32> =
        points.to_vec2::<f32>().unwrap().iter().map(|p| u32::from(p[0] + 0.5 * p[1] > 0.1)).collect();
    TensorDataset::new(points, Tensor::new(labels, &Device::Cpu).unwrap()).unwrap()
}

fn step(learning_rate: f64) -> Step {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = Sequential::new(params.root())
        .add(|vb| Linear::new(2, 8, vb))
        .and_then(|s| s.add(|_| Ok(Activation::Relu)))
        .and_then(|s| s.add(|_| Dropout::new(0.2)))
        .and_then(|s| s.add(|vb| Linear::new(8, 2, vb)))
        .unwrap();
    SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, learning_rate).unwrap())
        .schedule(OneCycle::new(learning_rate))
        .transform(Accumulate::new(2))
        .transform(ClipNorm::new(1.0))
        .metric(Accuracy::default())
        .average_weights(0.9)
        .unwrap()
}

fn train_loader(workers: usize) -> DataLoader<Batch> {
    DataLoader::new(dataset(), 8).shuffle(Seed(3)).workers(workers)
}

fn trainer(folder: &Path) -> Trainer {
    Trainer::new(RunDir::new(folder).unwrap())
        .epochs(4)
        .validate_every_steps(5)
        .seed(Seed(9))
        .with(MetricLog::default())
        .with(RestoreBest::on("validation_loss"))
        .with(Checkpoints::every_steps(1))
}

fn fit(trainer: Trainer, workers: usize) -> Result<Fitted<Step>> {
    trainer.fit(step(0.05), train_loader(workers), DataLoader::new(dataset(), 16))
}

fn model_bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

/// The log without its times.
fn log(folder: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let parse = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds");
        value
    };
    text.lines().map(parse).collect()
}

/// Sets the flag after so many steps, as Ctrl-C would.
struct InterruptAfter(u64, Arc<AtomicBool>);

impl Callback for InterruptAfter {
    fn name(&self) -> &'static str {
        "interrupt_after"
    }

    fn batch_end(&mut self, run: &mut Run, _: &StepReport) -> Result<()> {
        self.1.store(run.progress.step >= self.0, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_whatever_the_number_of_workers() {
    let folders: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    for (folder, workers) in folders.iter().zip([0, 1, 4]) {
        let fitted = fit(trainer(folder.path()), workers).unwrap();
        assert_eq!((fitted.steps, fitted.epochs, &fitted.ended), (28, 4, &Ended::Finished));
    }
    assert_eq!(model_bytes(folders[0].path()), model_bytes(folders[1].path()));
    assert_eq!(model_bytes(folders[0].path()), model_bytes(folders[2].path()));
    assert_eq!(log(folders[0].path()), log(folders[2].path()));
}

#[test]
fn stopped_at_any_step_and_resumed_it_ends_with_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    let reference = fit(trainer(whole.path()), 0).unwrap();
    for stop_at in 1..28 {
        let folder = tempfile::tempdir().unwrap();
        let flag = Arc::new(AtomicBool::new(false));
        let first = trainer(folder.path()).with(InterruptAfter(stop_at, Arc::clone(&flag))).stop_when(flag);
        let first = fit(first, 0).unwrap();
        assert_eq!((first.steps, &first.ended), (stop_at, &Ended::Interrupted));
        let resumed = fit(trainer(folder.path()).resume(true), 0).unwrap();
        assert_eq!(model_bytes(folder.path()), model_bytes(whole.path()), "stopped at step {stop_at}");
        assert_eq!(resumed.best(), reference.best());
        assert_eq!(resumed.scores, reference.scores);
        assert_eq!(log(folder.path()), log(whole.path()), "stopped at step {stop_at}");
    }
}

#[test]
fn a_finished_run_resumed_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    fit(trainer(folder.path()), 0).unwrap();
    let (bytes, lines) = (model_bytes(folder.path()), log(folder.path()));
    assert_eq!(fit(trainer(folder.path()).resume(true), 0).unwrap().steps, 28);
    assert_eq!((model_bytes(folder.path()), log(folder.path())), (bytes, lines));
}

#[test]
fn a_corrupt_newest_checkpoint_falls_back_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    fit(trainer(folder.path()), 0).unwrap();
    let bytes = model_bytes(folder.path());
    let newest = folder.path().join("checkpoints/step-000000028.safetensors");
    let mut broken = std::fs::read(&newest).unwrap();
    let last = broken.len() - 3;
    broken[last] ^= 0x10;
    std::fs::write(&newest, &broken).unwrap();
    assert_eq!(fit(trainer(folder.path()).resume(true), 0).unwrap().steps, 28);
    assert_eq!(model_bytes(folder.path()), bytes);
    for entry in std::fs::read_dir(folder.path().join("checkpoints")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"nothing").unwrap();
    }
    let error = fit(trainer(folder.path()).resume(true), 0).map(|f| f.steps).unwrap_err().to_string();
    assert!(error.contains("none of the 3 checkpoints is whole"), "{error}");
}

#[test]
fn only_the_newest_checkpoints_and_the_best_stay() {
    let folder = tempfile::tempdir().unwrap();
    fit(trainer(folder.path()), 0).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path().join("checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let steps = ["step-000000026.safetensors", "step-000000027.safetensors", "step-000000028.safetensors"];
    assert_eq!(names, [&["best.safetensors"][..], &steps[..]].concat());
}

#[test]
fn the_checkpoint_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fit(trainer(folder.path()).steps(3), 0).unwrap();
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = Sequential::new(params.root()).add(|vb| Linear::new(2, 2, vb)).unwrap();
    let other = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 0.1).unwrap());
    let result = trainer(folder.path()).resume(true).fit(other, train_loader(0), None);
    let error = result.map(|f| f.steps).unwrap_err().to_string();
    assert!(error.contains("keys of") && error.contains("unexpected 3.bias"), "{error}");
}

#[test]
fn early_stopping_restores_the_best_weights_and_stays_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let stopping = || EarlyStopping::on("accuracy").patience(2);
    let run = |resume| {
        let trainer = Trainer::new(RunDir::new(folder.path()).unwrap()).epochs(100).resume(resume);
        fit(trainer.with(stopping()).with(Checkpoints::every_epoch()), 0).unwrap()
    };
    let (fitted, bytes) = (run(false), model_bytes(folder.path()));
    let reason = format!("{:?}", fitted.ended);
    assert!(reason.contains("no better validation in 2 in a row; the best was accuracy"), "{reason}");
    assert!(fitted.steps < 700);
    assert_eq!(run(true).steps, fitted.steps);
    assert_eq!(model_bytes(folder.path()), bytes);
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_names_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = vec![0f32; 100];
    values[42] = f32::NAN;
    let inputs = Tensor::from_vec(values, (50, 2), &Device::Cpu).unwrap();
    let broken = TensorDataset::new(inputs, Tensor::zeros(50, DType::U32, &Device::Cpu).unwrap()).unwrap();
    // In the dataset's order, element 42 belongs to sample 21, in the third batch of eight.
    let error = trainer(folder.path()).fit(step(0.05), DataLoader::new(broken, 8), None).map(|f| f.steps).unwrap_err();
    let Error::NonFinite { what, step, last_good, .. } = &error else { panic!("{error}") };
    assert_eq!((what.as_str(), *step), ("loss", 3));
    assert!(last_good.as_ref().unwrap().ends_with("checkpoints/step-000000002.safetensors"), "{error}");
    assert!(last_good.as_ref().unwrap().exists());
}

#[test]
fn impossible_runs_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let new = || Trainer::new(RunDir::new(folder.path()).unwrap());
    let message =
        |trainer: Trainer, loader| trainer.fit(step(0.05), loader, None).map(|f| f.steps).unwrap_err().to_string();
    assert!(message(new(), train_loader(0)).contains("a limit of epochs, steps or time"));
    assert!(message(new().epochs(1), DataLoader::new(dataset(), 0)).contains("batch size: expected at least 1"));
    let empty = dataset().subset(vec![]).unwrap();
    assert!(message(new().epochs(1), DataLoader::new(empty, 4)).contains("at least one sample"));
    let no_validation = DataLoader::new(dataset().subset(vec![]).unwrap(), 4);
    let result = new().epochs(1).fit(step(0.05), train_loader(0), no_validation);
    assert!(result.map(|f| f.steps).unwrap_err().to_string().contains("at least one sample"));
    let too_few = DataLoader::new(dataset(), 51).drop_last();
    assert!(message(new().epochs(1), too_few).contains("enough samples for one batch"));
    assert!(message(new().epochs(1).validate_every_steps(0), train_loader(0)).contains("every 1 or more"));
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(RunDir::new(&file).unwrap_err().to_string().contains("file"));
}

#[test]
fn a_parameter_that_the_loss_does_not_depend_on_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    Linear::new(2, 2, params.root().pp("unused")).unwrap();
    let model = Sequential::new(params.root()).add(|vb| Linear::new(2, 2, vb)).unwrap();
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 0.1).unwrap());
    let trainer = Trainer::new(RunDir::new(folder.path()).unwrap()).epochs(1);
    let error = trainer.fit(step, train_loader(0), None).map(|f| f.steps).unwrap_err().to_string();
    assert!(error.starts_with("no gradient reached: unused.weight, unused.bias"), "{error}");
}
