//! Watching a run: what probes see, when, and that it changes nothing.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::path::Path;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Tensor};
use glassbox_core::dataset::{DataLoader, TensorDataset};
use glassbox_core::loss::CrossEntropy;
use glassbox_core::optim::AdamW;
use glassbox_core::probe::Answer;
use glassbox_core::train::{Run, StepReport};
use glassbox_core::{
    Activation, Batch, Callback, Error, Gradients, Linear, ParamStore, Probe, Result, RunDir, Seed, Seen, Sequential,
    SupervisedStep, Trainer,
};

/// Writes down everything that it is shown.
#[derive(Default)]
struct Witness(Mutex<Vec<String>>);

impl Witness {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn notes(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Probe for Witness {
    fn output(&self, seen: &Seen<'_>) -> Result<()> {
        self.note(format!("output {}", seen.path));
        Ok(())
    }

    fn wants_gradient(&self, path: &str) -> bool {
        path == "2"
    }

    fn gradient(&self, path: &str, gradient: &Tensor) -> Result<()> {
        self.note(format!("gradient {path} {:?}", gradient.dims()));
        Ok(())
    }

    fn param_gradients(&self, gradients: &Gradients) -> Result<()> {
        self.note(format!("param gradients {}", gradients.len()));
        Ok(())
    }

    fn answer(&self, answer: &Answer<'_>) -> Result<()> {
        self.note(format!("answer {:?} {}", answer.outputs.dims(), answer.training));
        assert_eq!(answer.input.unwrap().dim(0).unwrap(), answer.targets.dim(0).unwrap());
        Ok(())
    }
}

/// Has the witness watch step 2 and the first validation, and every failure.
struct Watch(Arc<Witness>);

impl Callback for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn fit_start(&mut self, run: &mut Run) -> Result<()> {
        run.watch_next_validation(self.0.clone());
        run.watch_failure(Arc::new(Finder));
        Ok(())
    }

    fn batch_end(&mut self, run: &mut Run, _: &StepReport) -> Result<()> {
        if run.progress.step == 1 {
            run.watch_next_step(self.0.clone());
        }
        run.warn(format!("step {}", run.progress.step));
        Ok(())
    }

    fn fit_failed(&mut self, run: &mut Run, error: &Error) -> Result<()> {
        self.0.note(format!("failed at {}: {}", run.progress.step, error.non_finite().unwrap().0));
        Ok(())
    }
}

/// Names the first output that is not finite.
struct Finder;

impl Probe for Finder {
    fn output(&self, seen: &Seen<'_>) -> Result<()> {
        let value = seen.output.sum_all()?.to_scalar::<f32>()?;
        let what = format!("output of `{}`", seen.path);
        if value.is_finite() {
            Ok(())
        } else {
            Err(Error::NonFinite { what, value: value.into(), step: 0, last_good: None })
        }
    }
}

fn step() -> SupervisedStep<Sequential, CrossEntropy> {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = Sequential::new(params.root())
        .add(|vb| Linear::new(2, 8, vb))
        .and_then(|s| s.add(|_| Ok(Activation::Relu)))
        .and_then(|s| s.add(|vb| Linear::new(8, 2, vb)))
        .unwrap();
    SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 0.01).unwrap())
}

fn loader(broken: bool) -> DataLoader<Batch> {
    let mut inputs = Seed(5).rng().normal_tensor((24, 2), 0.0, 1.0, DType::F32, &Device::Cpu).unwrap();
    if broken {
        let nan = Tensor::full(f32::NAN, (8, 2), &Device::Cpu).unwrap();
        inputs = Tensor::cat(&[&inputs.narrow(0, 0, 16).unwrap(), &nan], 0).unwrap();
    }
    let targets = Tensor::from_vec((0..24).map(|i| i % 2).collect::<Vec<u32>>(), 24, &Device::Cpu).unwrap();
    DataLoader::new(TensorDataset::new(inputs, targets).unwrap(), 8)
}

fn fit(folder: &Path, watch: Option<Arc<Witness>>, broken: bool) -> Result<Vec<u8>> {
    let trainer = Trainer::new(RunDir::new(folder).unwrap()).epochs(2);
    let trainer = match watch {
        Some(witness) => trainer.with(Watch(witness)),
        None => trainer,
    };
    trainer.fit(step(), loader(broken), loader(false))?;
    Ok(std::fs::read(folder.join("model.safetensors")).unwrap())
}

#[test]
fn a_probe_sees_the_step_and_the_validation_that_it_asked_for_and_changes_nothing() {
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let witness = Arc::new(Witness::default());
    let bytes = fit(with.path(), Some(witness.clone()), false).unwrap();
    assert_eq!(bytes, fit(without.path(), None, false).unwrap());
    let outputs = ["output 0", "output 1", "output 2"];
    let step = ["answer [8, 2] true", "gradient 2 [8, 2]", "param gradients 4"];
    let validation: Vec<&str> = outputs.into_iter().chain(["answer [8, 2] false"]).collect();
    let want: Vec<&str> = outputs.into_iter().chain(step).chain(validation.repeat(3)).collect();
    assert_eq!(witness.notes(), want);
}

#[test]
fn a_step_that_failed_is_run_again_for_who_wants_to_see_where() {
    let folder = tempfile::tempdir().unwrap();
    let witness = Arc::new(Witness::default());
    let error = fit(folder.path(), Some(witness.clone()), true).unwrap_err().to_string();
    assert!(error.starts_with("output of `0` is NaN"), "{error}");
    assert_eq!(witness.notes().last().unwrap(), "failed at 3: output of `0`");
}
