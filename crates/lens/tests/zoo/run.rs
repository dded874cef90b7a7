//! Small runs in which something can be planted.

use candle_core::{DType, Device, Tensor};
use glassbox_core::dataset::{DataLoader, TensorDataset};
use glassbox_core::loss::CrossEntropy;
use glassbox_core::optim::AdamW;
use glassbox_core::{
    Activation, Layer, Linear, Optimizer, ParamStore, Result, Rng, RunDir, Seed, Sequential, SupervisedStep, Trainer,
    VarBuilder,
};
use glassbox_lens::record::Record;
use glassbox_lens::{Finding, Lens};

pub const FEATURES: usize = 8;
pub const CLASSES: usize = 4;

/// A data set: inputs and labels.
#[derive(Clone)]
pub struct Data {
    pub inputs: Tensor,
    pub labels: Vec<u32>,
}

impl Data {
    /// Points of normal clusters, one for each class, of mean 0 and deviation about 1. The clusters are always the same.
    pub fn clusters(seed: u64, count: usize) -> Self {
        let mut fixed = Seed(77).rng();
        let centres: Vec<f64> = (0..CLASSES * FEATURES).map(|_| 1.5 * fixed.normal()).collect();
        let mut rng = Seed(seed).child("clusters").rng();
        let labels: Vec<u32> = (0..count).map(|i| (i % CLASSES) as u32).collect();
        let mut values = Vec::with_capacity(count * FEATURES);
        for &label in &labels {
            for feature in 0..FEATURES {
                values.push(((centres[label as usize * FEATURES + feature] + rng.normal()) / 1.8) as f32);
            }
        }
        Self { inputs: Tensor::from_vec(values, (count, FEATURES), &Device::Cpu).unwrap(), labels }
    }

    pub fn scaled(self, factor: f64) -> Self {
        Self { inputs: (self.inputs * factor).unwrap(), ..self }
    }

    pub fn labelled(self, label: impl FnMut(u32) -> u32) -> Self {
        Self { labels: self.labels.into_iter().map(label).collect(), ..self }
    }

    pub fn shuffled_labels(mut self, rng: &mut Rng) -> Self {
        rng.shuffle(&mut self.labels);
        self
    }

    pub fn dataset(&self) -> TensorDataset {
        let labels = Tensor::new(self.labels.as_slice(), &Device::Cpu).unwrap();
        TensorDataset::new(self.inputs.clone(), labels).unwrap()
    }
}

type ModelMaker = Box<dyn Fn(VarBuilder) -> Result<Sequential>>;
type Spoiler = Box<dyn Fn(&ParamStore) -> Result<()>>;
type OptimizerMaker = Box<dyn Fn(&ParamStore) -> Result<Box<dyn Optimizer>>>;

/// A run of a classifier; each field can be spoiled.
pub struct Plan {
    pub seed: u64,
    pub train: Data,
    pub test: Data,
    pub epochs: u64,
    pub model: ModelMaker,
    pub optimizer: OptimizerMaker,
    /// Done to the parameters before training.
    pub spoil: Spoiler,
}

impl Plan {
    /// A run in which nothing is wrong.
    pub fn healthy(seed: u64) -> Self {
        Self {
            seed,
            train: Data::clusters(seed, 240),
            test: Data::clusters(seed + 1000, 120),
            epochs: 6,
            model: Box::new(|vb| mlp(vb, &[32, 32], Activation::Relu)),
            optimizer: Box::new(|params| Ok(Box::new(AdamW::new(params, 3e-3)?))),
            spoil: Box::new(|_| Ok(())),
        }
    }

    /// What the lens finds.
    pub fn findings(&self) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let params = ParamStore::new(Seed(self.seed), &Device::Cpu);
        let model = (self.model)(params.root()).unwrap();
        (self.spoil)(&params).unwrap();
        let step = SupervisedStep::new(model, CrossEntropy::default(), Boxed((self.optimizer)(&params).unwrap()));
        let trainer = Trainer::new(RunDir::new(folder.path()).unwrap())
            .epochs(self.epochs)
            .seed(Seed(self.seed))
            .with(Lens::every(5).without_report());
        let train = DataLoader::new(self.train.dataset(), 24).shuffle(Seed(self.seed));
        // A run that ends in NaN is told in its record.
        let _ = trainer.fit(step, train, DataLoader::new(self.test.dataset(), 60));
        Record::read(folder.path()).unwrap().findings
    }
}

/// An optimizer behind a pointer.
struct Boxed(Box<dyn Optimizer>);

impl Optimizer for Boxed {
    fn step(&mut self, gradients: &glassbox_core::Gradients, factor: f64) -> Result<()> {
        self.0.step(gradients, factor)
    }

    fn learning_rate(&self) -> f64 {
        self.0.learning_rate()
    }

    fn params(&self) -> &ParamStore {
        self.0.params()
    }

    fn state(&self) -> Result<glassbox_core::State> {
        self.0.state()
    }

    fn load_state(&mut self, state: &glassbox_core::State) -> Result<()> {
        self.0.load_state(state)
    }
}

/// `fc1`, `act1`, `fc2`, …, `head`.
pub fn mlp(vb: VarBuilder, hidden: &[usize], activation: Activation) -> Result<Sequential> {
    let mut layers = Sequential::new(vb);
    let mut features = FEATURES;
    for (i, &size) in (1..).zip(hidden) {
        layers = layers
            .add_named(&format!("fc{i}"), |vb| Linear::new(features, size, vb))?
            .add_named(&format!("act{i}"), |_| Ok(activation))?;
        features = size;
    }
    layers.add_named("head", |vb| Linear::new(features, CLASSES, vb))
}

/// `mlp` with a layer behind it.
pub fn mlp_and<L: Layer + 'static>(vb: VarBuilder, name: &str, layer: L) -> Result<Sequential> {
    mlp(vb, &[32, 32], Activation::Relu)?.add_named(name, |_| Ok(layer))
}

/// Multiplies a parameter.
pub fn scale(params: &ParamStore, name: &str, factor: f64) -> Result<()> {
    let param = params.get(name).unwrap();
    param.set(&(param.value() * factor)?)
}

/// Sets every element of a parameter.
pub fn fill(params: &ParamStore, name: &str, value: f64) -> Result<()> {
    let param = params.get(name).unwrap();
    param.set(&Tensor::full(value as f32, param.shape().clone(), &Device::Cpu)?)
}

/// Normal numbers.
pub fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Seed(seed).rng().normal_tensor(shape, 0.0, 1.0, DType::F32, &Device::Cpu).unwrap()
}
