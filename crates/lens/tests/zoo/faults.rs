//! What is planted.

use candle_core::{D, Device, Tensor};
use glassbox_core::loss::CrossEntropy;
use glassbox_core::optim::{AdamW, Group, Sgd};
use glassbox_core::{
    Activation, Batch, Layer, Linear, Optimizer, ParamStore, Pass, Result, Seed, Sequential, Site, Softmax, VarBuilder,
};
use glassbox_lens::record::{Metrics, Record, Series};
use glassbox_lens::views::{adversarial, attention, data};
use glassbox_lens::{Finding, diagnose, preflight};
use glassbox_rnn::{Rnn, RnnActivation, RnnConfig};

use super::run::{CLASSES, Data, FEATURES, Plan, fill, mlp, mlp_and, normal, scale};

/// A defect: how it is planted, what must be said, and where.
pub struct Fault {
    pub name: &'static str,
    pub rules: &'static [&'static str],
    pub layer: Option<&'static str>,
    pub run: fn(u64) -> Vec<Finding>,
}

const fn fault(
    name: &'static str,
    rules: &'static [&'static str],
    layer: Option<&'static str>,
    run: fn(u64) -> Vec<Finding>,
) -> Fault {
    Fault { name, rules, layer, run }
}

pub const FAULTS: &[Fault] = &[
    fault("dead units", &["dead_relu"], Some("act1"), |s| spoiled(s, |p| fill(p, "fc1.bias", -50.0))),
    fault("half of the units dead", &["dead_relu"], Some("act2"), half_dead),
    fault("weights of zero", &["constant_weights"], Some("fc2.weight"), |s| spoiled(s, |p| fill(p, "fc2.weight", 0.0))),
    fault("equal weights", &["constant_weights"], Some("fc1.weight"), |s| spoiled(s, |p| fill(p, "fc1.weight", 0.1))),
    fault("weights too large", &["poor_initial_values"], Some("fc2.weight"), |s| {
        spoiled(s, |p| scale(p, "fc2.weight", 30.0))
    }),
    fault("weights too small", &["poor_initial_values"], Some("fc1.weight"), |s| {
        spoiled(s, |p| scale(p, "fc1.weight", 0.01))
    }),
    fault("head too large", &["initial_loss"], None, |s| spoiled(s, |p| scale(p, "head.weight", 60.0))),
    fault(
        "rate too high",
        &["update_ratio", "loss_spikes", "oscillation", "exploding_gradient", "non_finite"],
        None,
        rate_too_high,
    ),
    fault("rate too high for Adam", &["update_ratio", "dead_relu"], None, adam_too_fast),
    fault("rate too low", &["update_ratio"], None, rate_too_low),
    fault("labels shuffled", &["no_better_than_chance", "overfitting"], None, labels_shuffled),
    fault("dropout in validation", &["dropout_in_validation"], Some("drop"), dropout_in_validation),
    fault("softmax twice", &["outputs_are_probabilities"], Some("softmax"), softmax_twice),
    fault("frozen by its group", &["weights_stand_still"], Some("fc2.weight"), frozen_by_group),
    fault("exploding recurrence", &["exploding_gradient", "non_finite", "update_ratio"], None, exploding_recurrence),
    fault("saturated tanh", &["saturation"], Some("act1"), |s| saturated(s, Activation::Tanh)),
    fault("saturated sigmoid", &["saturation"], Some("act1"), |s| saturated(s, Activation::Sigmoid)),
    fault("vanishing gradient", &["vanishing_gradient"], Some("fc1.weight"), vanishing),
    fault("leaking mask", &["looks_ahead"], None, leaking_mask),
    fault("leak across the batch", &["leak_across_batch"], None, leak_across_batch),
    fault("inputs cut off", &["input_independent"], None, inputs_cut_off),
    fault("one batch cannot be learned", &["overfit_one_batch"], None, not_learnable),
    fault("inputs too large", &["input_scale"], Some("fc1"), |s| scaled_inputs(s, 1000.0)),
    fault("inputs too small", &["input_scale"], Some("fc1"), |s| scaled_inputs(s, 1e-4)),
    fault("imbalanced classes", &["class_imbalance"], None, imbalanced),
    fault("a class mislabelled", &["class_errors"], Some("class 2"), mislabelled_class),
    fault("copies across the split", &["leakage"], None, copies_across_split),
    fault("contradicting labels", &["contradictions"], None, contradicting),
    fault("collapsed generator", &["mode_collapse"], Some("generator"), collapsed_generator),
    fault("discriminator wins", &["discriminator_wins"], Some("discriminator"), discriminator_wins),
    fault("collapsed attention", &["attention_collapse"], Some("attn"), collapsed_attention),
    fault("learned by heart", &["overfitting"], None, learned_by_heart),
    fault("logarithm of a negative number", &["non_finite"], Some("log"), logarithm),
    fault("signal lost", &["signal_lost"], Some("blank"), signal_lost),
];

fn spoiled(seed: u64, spoil: fn(&ParamStore) -> Result<()>) -> Vec<Finding> {
    Plan { spoil: Box::new(spoil), ..Plan::healthy(seed) }.findings()
}

fn half_dead(seed: u64) -> Vec<Finding> {
    let spoil = |params: &ParamStore| {
        let bias = params.get("fc2.bias").unwrap();
        let values: Vec<f32> = (0..32).map(|i| if i % 4 == 0 { 0.1 } else { -50.0 }).collect();
        bias.set(&Tensor::new(values, &Device::Cpu)?)
    };
    Plan { spoil: Box::new(spoil), ..Plan::healthy(seed) }.findings()
}

fn rate_too_high(seed: u64) -> Vec<Finding> {
    Plan { optimizer: Box::new(|p| Ok(Box::new(Sgd::new(p, 30.0)?))), ..Plan::healthy(seed) }.findings()
}

fn adam_too_fast(seed: u64) -> Vec<Finding> {
    Plan { optimizer: Box::new(|p| Ok(Box::new(AdamW::new(p, 1.0)?))), ..Plan::healthy(seed) }.findings()
}

fn rate_too_low(seed: u64) -> Vec<Finding> {
    Plan { optimizer: Box::new(|p| Ok(Box::new(AdamW::new(p, 1e-9)?))), ..Plan::healthy(seed) }.findings()
}

fn labels_shuffled(seed: u64) -> Vec<Finding> {
    let plan = Plan::healthy(seed);
    let train = plan.train.clone().shuffled_labels(&mut Seed(seed).child("shuffle").rng());
    Plan { train, ..plan }.findings()
}

/// Drops every second value, whatever the pass.
struct AlwaysDrops;

impl Layer for AlwaysDrops {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        let keep: Vec<f32> = (0..xs.dim(D::Minus1)?).map(|i| 2.0 * (i % 2) as f32).collect();
        Ok(xs.broadcast_mul(&Tensor::new(keep, xs.device())?)?)
    }

    fn kind(&self) -> &'static str {
        "Dropout"
    }
}

fn dropout_in_validation(seed: u64) -> Vec<Finding> {
    let model = |vb: VarBuilder| {
        let layers = Sequential::new(vb).add_named("fc1", |vb| Linear::new(FEATURES, 32, vb))?;
        layers.add_named("drop", |_| Ok(AlwaysDrops))?.add_named("head", |vb| Linear::new(32, CLASSES, vb))
    };
    Plan { model: Box::new(model), ..Plan::healthy(seed) }.findings()
}

fn softmax_twice(seed: u64) -> Vec<Finding> {
    Plan { model: Box::new(|vb| mlp_and(vb, "softmax", Softmax::new(-1))), ..Plan::healthy(seed) }.findings()
}

fn frozen_by_group(seed: u64) -> Vec<Finding> {
    let none = Group { learning_rate: Some(0.0), ..Group::default() };
    let optimizer =
        move |p: &ParamStore| -> Result<Box<dyn Optimizer>> { Ok(Box::new(AdamW::new(p, 3e-3)?.group("fc2.*", none))) };
    Plan { optimizer: Box::new(optimizer), ..Plan::healthy(seed) }.findings()
}

/// A classifier of sequences by the last state of a ReLU recurrence.
struct Recurrence {
    rnn: Rnn,
    head: Linear,
}

impl Layer for Recurrence {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        // The features one after another, four times.
        let sequence = Tensor::cat(&[xs, xs, xs, xs], 1)?.unsqueeze(2)?;
        let states = self.rnn.forward(&sequence, pass)?;
        let last = states.narrow(1, states.dim(1)? - 1, 1)?.squeeze(1)?;
        self.head.forward(&last.contiguous()?, pass)
    }
}

fn exploding_recurrence(seed: u64) -> Vec<Finding> {
    let model = |vb: VarBuilder| {
        Sequential::new(vb).add_named("net", |vb| {
            let config = RnnConfig { activation: RnnActivation::Relu, ..Default::default() };
            Ok(Recurrence {
                rnn: Rnn::new(1, 16, config, vb.pp("rnn"))?,
                head: Linear::new(16, CLASSES, vb.pp("head"))?,
            })
        })
    };
    let spoil = |p: &ParamStore| scale(p, "net.rnn.weight_hh_l0", 12.0);
    Plan { model: Box::new(model), spoil: Box::new(spoil), ..Plan::healthy(seed) }.findings()
}

fn saturated(seed: u64, activation: Activation) -> Vec<Finding> {
    let model = move |vb: VarBuilder| mlp(vb, &[32, 32], activation);
    let spoil = |p: &ParamStore| scale(p, "fc1.weight", 60.0);
    Plan { model: Box::new(model), spoil: Box::new(spoil), ..Plan::healthy(seed) }.findings()
}

fn vanishing(seed: u64) -> Vec<Finding> {
    let model = |vb: VarBuilder| mlp(vb, &[32; 8], Activation::Sigmoid);
    Plan { model: Box::new(model), ..Plan::healthy(seed) }.findings()
}

/// Each position sees its neighbours on both sides.
struct TwoSided;

impl Layer for TwoSided {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        let steps = xs.dim(1)?;
        let later = xs.narrow(1, 1, steps - 1)?.pad_with_zeros(1, 0, 1)?;
        Ok((xs + later)?)
    }
}

/// Preflight of a model that maps sequences to sequences.
fn leaking_mask(seed: u64) -> Vec<Finding> {
    let params = ParamStore::new(Seed(seed), &Device::Cpu);
    let model = Sequential::new(params.root())
        .add(|vb| Linear::new(3, 8, vb))
        .and_then(|s| s.add(|_| Ok(TwoSided)))
        .and_then(|s| s.add(|vb| Linear::new(8, 3, vb)))
        .unwrap();
    let input = normal(seed, &[4, 6, 3]);
    let target = (&input * 0.5).unwrap();
    let config = glassbox_lens::preflight::PreflightConfig { causal: true, ..Default::default() };
    preflight(&model, &glassbox_core::loss::Mse::default(), &params, &Batch { input, target }, config).unwrap().findings
}

/// Mixes samples: the batch and the features are read in the wrong order.
struct WrongReshape;

impl Layer for WrongReshape {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        let (batch, features) = xs.dims2()?;
        Ok(xs.t()?.contiguous()?.reshape((batch, features))?)
    }
}

/// Preflight of a classifier whose first layer is `layer`.
fn preflight_of<L: Layer + 'static>(seed: u64, layer: L, data: &Data) -> Vec<Finding> {
    let params = ParamStore::new(Seed(seed), &Device::Cpu);
    let model = Sequential::new(params.root())
        .add(|_| Ok(layer))
        .and_then(|s| s.add(|vb| Linear::new(FEATURES, 32, vb)))
        .and_then(|s| s.add(|_| Ok(Activation::Relu)))
        .and_then(|s| s.add(|vb| Linear::new(32, CLASSES, vb)))
        .unwrap();
    let target = Tensor::new(data.labels.as_slice(), &Device::Cpu).unwrap();
    let batch = Batch { input: data.inputs.clone(), target };
    preflight(&model, &CrossEntropy::default(), &params, &batch, Default::default()).unwrap().findings
}

fn leak_across_batch(seed: u64) -> Vec<Finding> {
    preflight_of(seed, WrongReshape, &Data::clusters(seed, 16))
}

/// Lets nothing of the input through.
struct CutOff;

impl Layer for CutOff {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(xs.zeros_like()?)
    }
}

fn inputs_cut_off(seed: u64) -> Vec<Finding> {
    preflight_of(seed, CutOff, &Data::clusters(seed, 16))
}

fn not_learnable(seed: u64) -> Vec<Finding> {
    // Every input is the same, the labels are not.
    let data = Data::clusters(seed, 16);
    preflight_of(seed, Activation::Relu, &Data { inputs: data.inputs.ones_like().unwrap(), ..data })
}

fn scaled_inputs(seed: u64, factor: f64) -> Vec<Finding> {
    let plan = Plan::healthy(seed);
    Plan { train: plan.train.clone().scaled(factor), test: plan.test.clone().scaled(factor), ..plan }.findings()
}

fn imbalanced(seed: u64) -> Vec<Finding> {
    let rare = |data: Data| {
        let mut kept = 0;
        data.labelled(move |label| {
            kept += u32::from(label == 3);
            if label == 3 && kept > 3 { 0 } else { label }
        })
    };
    let plan = Plan::healthy(seed);
    Plan { train: rare(plan.train.clone()), test: rare(plan.test.clone()), ..plan }.findings()
}

fn mislabelled_class(seed: u64) -> Vec<Finding> {
    let plan = Plan::healthy(seed);
    Plan { train: plan.train.clone().labelled(|label| if label == 2 { 1 } else { label }), ..plan }.findings()
}

fn copies_across_split(seed: u64) -> Vec<Finding> {
    let train = Data::clusters(seed, 100);
    let test = Data { inputs: train.inputs.narrow(0, 40, 20).unwrap(), labels: train.labels[40..60].to_vec() };
    data::look(&train.dataset(), &test.dataset()).unwrap().findings
}

fn contradicting(seed: u64) -> Vec<Finding> {
    let train = Data::clusters(seed, 100);
    let inputs = Tensor::cat(&[&train.inputs, &train.inputs.narrow(0, 0, 4).unwrap()], 0).unwrap();
    let labels = [train.labels.clone(), train.labels[..4].iter().map(|l| (l + 1) % 4).collect()].concat();
    data::look(&Data { inputs, labels }.dataset(), &Data::clusters(seed + 1, 50).dataset()).unwrap().findings
}

fn record_of(values: impl IntoIterator<Item = (&'static str, Vec<f64>)>) -> Record {
    let mut metrics = Metrics::default();
    for (name, values) in values {
        let mut series = Series::default();
        (1..).zip(values).for_each(|(step, value)| series.push(step, value));
        metrics.values.insert(name.into(), series);
    }
    Record { metrics, ..Record::default() }
}

fn collapsed_generator(seed: u64) -> Vec<Finding> {
    let real = Data::clusters(seed, 400).inputs;
    // All from one class.
    let generated = Data::clusters(seed + 9, 400);
    let rows: Vec<u32> = (0..400).filter(|i| generated.labels[*i as usize] == 0).collect();
    let generated = generated.inputs.index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0).unwrap();
    let coverage = adversarial::mode_coverage(&real, &generated, 8, &mut Seed(seed).rng()).unwrap();
    diagnose(&record_of([("collapsed_bins", vec![coverage.different_share()])]))
}

fn discriminator_wins(seed: u64) -> Vec<Finding> {
    let mut rng = Seed(seed).rng();
    let falling = (0..60).map(|i| 0.7 * (-0.15 * f64::from(i)).exp() + 0.001 * rng.uniform()).collect();
    let rising = (0..60).map(|i| 0.7 + 0.12 * f64::from(i)).collect();
    diagnose(&record_of([("discriminator_loss", falling), ("generator_loss", rising)]))
}

fn collapsed_attention(seed: u64) -> Vec<Finding> {
    let (queries, keys) = (normal(seed, &[4, 10, 16]), normal(seed + 50, &[4, 10, 16]));
    let weights = attention::weights(&(queries * 200.0).unwrap(), &keys, true).unwrap();
    attention::collapse("attn", 10, &weights).unwrap().into_iter().collect()
}

fn learned_by_heart(seed: u64) -> Vec<Finding> {
    // Few samples, a quarter of them mislabelled, and a large network that trains for long.
    let mut rng = Seed(seed).child("noise").rng();
    let noisy = |label: u32| if rng.bernoulli(0.25) { (label + 1) % CLASSES as u32 } else { label };
    let train = Data::clusters(seed, 48).labelled(noisy);
    let model = |vb: VarBuilder| mlp(vb, &[128, 128], Activation::Relu);
    Plan { train, model: Box::new(model), epochs: 80, ..Plan::healthy(seed) }.findings()
}

/// The logarithm, of whatever comes.
struct Log;

impl Layer for Log {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(xs.log()?)
    }
}

fn logarithm(seed: u64) -> Vec<Finding> {
    Plan { model: Box::new(|vb| mlp_and(vb, "log", Log)), ..Plan::healthy(seed) }.findings()
}

/// The same for every sample.
struct Blank(Site);

impl Layer for Blank {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.0.run(xs, pass, || Ok(((xs * 0.0)? + 0.5)?))
    }
}

fn signal_lost(seed: u64) -> Vec<Finding> {
    let model = |vb: VarBuilder| {
        let layers = Sequential::new(vb).add_named("fc1", |vb| Linear::new(FEATURES, 32, vb))?;
        layers
            .add_named("blank", |vb| Ok(Blank(Site::new(vb.path(), "Blank"))))?
            .add_named("head", |vb| Linear::new(32, CLASSES, vb))
    };
    Plan { model: Box::new(model), ..Plan::healthy(seed) }.findings()
}
