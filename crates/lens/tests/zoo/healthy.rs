//! Runs in which nothing is wrong.

use candle_core::{Device, Tensor};
use glassbox_cnn::{SmallCnn, SmallCnnConfig};
use glassbox_core::dataset::{DataLoader, DatasetExt, TensorDataset};
use glassbox_core::loss::{CrossEntropy, Mse};
use glassbox_core::optim::{AdamW, ClipNorm, OneCycle};
use glassbox_core::{
    Activation, Layer, Linear, Mlp, MlpConfig, ParamStore, Pass, Result, RunDir, Seed, Sequential, SupervisedStep,
    TensorExt, TrainStep, Trainer,
};
use glassbox_lens::record::Record;
use glassbox_lens::{Finding, Lens};
use glassbox_rnn::{Lstm, LstmConfig};

use super::run::{Plan, mlp, normal};

/// What the lens finds in a run of this seed.
type Findings = fn(u64) -> Vec<Finding>;

pub const RUNS: &[(&str, Findings)] = &[
    ("clusters, ReLU", |seed| Plan::healthy(seed).findings()),
    ("clusters, tanh", tanh),
    ("digits, MLP", digits_mlp),
    ("digits, CNN", digits_cnn),
    ("tumours", tumours),
    ("sequences, LSTM", sequences),
    ("regression", regression),
];

fn fit<S: TrainStep>(
    step: S,
    epochs: u64,
    train: DataLoader<S::Batch>,
    validation: DataLoader<S::Batch>,
) -> Vec<Finding> {
    let folder = tempfile::tempdir().unwrap();
    let trainer =
        Trainer::new(RunDir::new(folder.path()).unwrap()).epochs(epochs).with(Lens::every(5).without_report());
    trainer.fit(step, train, validation).unwrap();
    Record::read(folder.path()).unwrap().findings
}

fn tanh(seed: u64) -> Vec<Finding> {
    Plan { model: Box::new(|vb| mlp(vb, &[32, 32], Activation::Tanh)), ..Plan::healthy(seed) }.findings()
}

fn digits_mlp(seed: u64) -> Vec<Finding> {
    let (train, test) = glassbox_data::digits().unwrap().split_stratified(0.8, Seed(seed)).unwrap();
    let params = ParamStore::new(Seed(seed), &Device::Cpu);
    let config = MlpConfig { in_features: 64, hidden: vec![64], out_features: 10, ..Default::default() };
    let model = Sequential::new(params.root())
        .add_named("flatten", |_| Ok(glassbox_core::Flatten))
        .and_then(|s| s.add_named("mlp", |vb| Mlp::new(config, vb)))
        .unwrap();
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 3e-3).unwrap());
    fit(step, 20, DataLoader::new(train, 64).shuffle(Seed(seed)), DataLoader::new(test, 256))
}

fn digits_cnn(seed: u64) -> Vec<Finding> {
    let (train, test) = glassbox_data::digits().unwrap().split_stratified(0.5, Seed(seed)).unwrap();
    let params = ParamStore::new(Seed(seed), &Device::Cpu);
    let config = SmallCnnConfig { image_size: 8.into(), channels: vec![8, 16], hidden: 32, ..Default::default() };
    let model = SmallCnn::new(config, params.root()).unwrap();
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 4e-3).unwrap())
        .schedule(OneCycle::new(4e-3));
    fit(step, 12, DataLoader::new(train, 64).shuffle(Seed(seed)), DataLoader::new(test, 256))
}

fn tumours(seed: u64) -> Vec<Finding> {
    let table = glassbox_data::breast_cancer().unwrap();
    let samples: Vec<_> =
        (0..table.num_rows()).map(|i| glassbox_core::Dataset::get(&table, i, &mut Seed(0).rng()).unwrap()).collect();
    let inputs = Tensor::stack(&samples.iter().map(|s| s.input.clone()).collect::<Vec<_>>(), 0).unwrap();
    let targets = Tensor::stack(&samples.iter().map(|s| s.target.clone()).collect::<Vec<_>>(), 0).unwrap();
    let mean = inputs.mean_keepdim(0).unwrap();
    let centred = inputs.broadcast_sub(&mean).unwrap();
    let std = centred.sqr().unwrap().mean_keepdim(0).unwrap().sqrt().unwrap();
    let data = TensorDataset::new(centred.broadcast_div(&std).unwrap(), targets).unwrap();
    let (train, test) = data.split(0.8, Seed(seed)).unwrap();
    let params = ParamStore::new(Seed(seed), &Device::Cpu);
    let config = MlpConfig { in_features: 30, hidden: vec![32], out_features: 2, dropout: 0.2, ..Default::default() };
    let model = Mlp::new(config, params.root()).unwrap();
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 1e-3).unwrap());
    fit(step, 10, DataLoader::new(train, 32).shuffle(Seed(seed)), DataLoader::new(test, 256))
}

/// Whether the first or the last value of a sequence is the larger.
struct Reader {
    lstm: Lstm,
    head: Linear,
}

impl Layer for Reader {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let states = self.lstm.forward(xs, pass)?;
        let last = states.narrow(1, states.dim(1)? - 1, 1)?.squeeze(1)?.contiguous()?;
        self.head.forward(&last, pass)
    }
}

fn sequences(seed: u64) -> Vec<Finding> {
    let inputs = normal(seed, &[320, 8, 1]);
    let values = inputs.to_f64_vec().unwrap();
    let labels: Vec<u32> = values.chunks(8).map(|s| u32::from(s[0] > s[7])).collect();
    let data = TensorDataset::new(inputs, Tensor::new(labels, &Device::Cpu).unwrap()).unwrap();
    let (train, test) = data.split(0.75, Seed(seed)).unwrap();
    let params = ParamStore::new(Seed(seed), &Device::Cpu);
    let vb = params.root();
    let lstm = Lstm::new(1, 24, LstmConfig::default(), vb.pp("lstm")).unwrap();
    let model = Reader { lstm, head: Linear::new(24, 2, vb.pp("head")).unwrap() };
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 1e-2).unwrap())
        .transform(ClipNorm::new(1.0));
    fit(step, 10, DataLoader::new(train, 24).shuffle(Seed(seed)), DataLoader::new(test, 256))
}

fn regression(seed: u64) -> Vec<Finding> {
    let inputs = normal(seed, &[300, 4]);
    let targets = inputs.narrow(1, 0, 1).unwrap().sin().unwrap();
    let noise = (normal(seed + 1, &[300, 1]) * 0.1).unwrap();
    let data = TensorDataset::new(inputs, (targets + noise).unwrap()).unwrap();
    let (train, test) = data.split(0.8, Seed(seed)).unwrap();
    let params = ParamStore::new(Seed(seed), &Device::Cpu);
    let config = MlpConfig { in_features: 4, hidden: vec![32, 32], out_features: 1, ..Default::default() };
    let model = Mlp::new(config, params.root()).unwrap();
    let step = SupervisedStep::new(model, Mse::default(), AdamW::new(&params, 3e-3).unwrap());
    fit(step, 10, DataLoader::new(train, 24).shuffle(Seed(seed)), DataLoader::new(test, 256))
}
