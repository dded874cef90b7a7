//! A batch type of one's own goes through the loader and the trainer, bucketed by length, stopped and resumed.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::path::Path;

use candle_core::Device;
use glassbox_core::dataset::{DataLoader, Padded, Sequence, VecDataset};
use glassbox_core::train::callbacks::Checkpoints;
use glassbox_core::train::{Progress, Score, Scores, StepReport};
use glassbox_core::{Init, ParamStore, Result, RunDir, Seed, State, TrainStep, Trainer};

/// Source and target.
type Pair = (Padded, Padded);

/// Learns nothing; remembers the lengths that it was given.
struct Witness {
    params: ParamStore,
    seen: Vec<(Vec<usize>, Vec<usize>)>,
    validated: usize,
}

impl Witness {
    fn new() -> Result<Self> {
        let params = ParamStore::new(Seed(1), &Device::Cpu);
        params.root().param("weight", 1, Init::Zeros)?;
        Ok(Self { params, seen: vec![], validated: 0 })
    }
}

impl TrainStep for Witness {
    type Batch = Pair;

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn train(&mut self, (source, target): &Pair, _: &Progress) -> Result<StepReport> {
        assert_eq!(source.values.dims(), [source.lengths.len(), *source.lengths.iter().max().unwrap()]);
        self.seen.push((source.lengths.clone(), target.lengths.clone()));
        Ok(StepReport { loss: 1.0, samples: source.lengths.len(), values: vec![] })
    }

    fn validate(&mut self, (source, _): &Pair) -> Result<()> {
        self.validated += source.lengths.len();
        Ok(())
    }

    fn scores(&mut self) -> Result<Scores> {
        let value = std::mem::take(&mut self.validated) as f64;
        Ok(Scores(vec![Score { name: "validation_loss".into(), value, higher_is_better: false }]))
    }

    fn params(&self) -> Vec<(&'static str, ParamStore)> {
        vec![("model", self.params.clone())]
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.put("seen", &self.seen)?;
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.seen = state.value("seen")?;
        Ok(())
    }
}

fn lengths() -> Vec<(usize, usize)> {
    let mut rng = Seed(2).rng();
    (0..45).map(|_| (1 + rng.below(20), 1 + rng.below(20))).collect()
}

fn loader() -> DataLoader<Pair> {
    let sequence = |length| Sequence::from_ids(&vec![1; length]).unwrap();
    let pairs = lengths().into_iter().map(|(source, target)| (sequence(source), sequence(target))).collect();
    DataLoader::new(VecDataset(pairs), 4).bucket_by_length(&lengths(), Seed(3)).unwrap().workers(2)
}

fn seen(folder: &Path, steps: u64, resume: bool) -> Vec<(Vec<usize>, Vec<usize>)> {
    let trainer = Trainer::new(RunDir::new(folder).unwrap()).steps(steps).with(Checkpoints::every_steps(1));
    trainer.resume(resume).fit(Witness::new().unwrap(), loader(), Some(loader())).unwrap().step.seen
}

#[test]
fn a_resumed_run_goes_on_with_the_same_buckets() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = seen(whole.path(), 30, false);
    assert_eq!(all.len(), 30);
    assert_eq!(seen(parts.path(), 17, false), all[..17]);
    assert_eq!(seen(parts.path(), 30, true), all);
    // An epoch is 12 batches: every pair once.
    let mut epoch: Vec<(usize, usize)> =
        all[..12].iter().flat_map(|(s, t)| s.iter().copied().zip(t.iter().copied())).collect();
    let mut expected = lengths();
    epoch.sort_unstable();
    expected.sort_unstable();
    assert_eq!(epoch, expected);
}
