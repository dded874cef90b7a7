//! Overfitting, little data, little hardware.

use glassbox::dataset::Position;
use glassbox::lens::{Figure, Section};
use glassbox::prelude::*;

use super::basics::grid;

/// Every sample of a data set as one batch.
pub fn whole<D: Dataset<Item = Sample> + 'static>(dataset: D) -> Result<Batch> {
    let count = dataset.len();
    let mut batches = DataLoader::new(dataset, count.max(1)).batches(Position::default(), &Device::Cpu)?;
    batches.next().unwrap_or_else(|| Err(Error::invalid("data", "a sample", "none")))
}

/// `count` points of a wave, with noise.
fn wave(seed: u64, count: usize, noise: f64) -> Result<Batch> {
    let mut rng = Seed(seed).rng();
    let xs: Vec<f64> = (0..count).map(|_| 4.0 * rng.uniform() - 2.0).collect();
    let ys: Vec<f32> = xs.iter().map(|x| ((2.5 * x).sin() + noise * rng.normal()) as f32).collect();
    let xs: Vec<f32> = xs.iter().map(|&x| x as f32).collect();
    let column = |values| Tensor::from_vec(values, (count, 1), &Device::Cpu);
    Ok(Batch { input: column(xs)?, target: column(ys)? })
}

fn network() -> Result<(Mlp, ParamStore)> {
    let params = ParamStore::new(Seed(4), &Device::Cpu);
    let config = MlpConfig {
        in_features: 1,
        hidden: vec![64, 64],
        out_features: 1,
        activation: Activation::Tanh,
        ..Default::default()
    };
    Ok((Mlp::new(config, params.root())?, params))
}

/// A network after `steps` steps on `train`, which tells `look` of each.
fn learn(
    train: &Batch,
    steps: u64,
    weight_decay: f64,
    mut look: impl FnMut(u64, f64, &Mlp) -> Result<()>,
) -> Result<Mlp> {
    let (model, params) = network()?;
    let mut optimizer = AdamW::new(&params, 5e-3)?.weight_decay(weight_decay);
    for step in 0..steps {
        let outputs = model.forward(&train.input, &Pass::train(Seed(step)))?;
        let loss = Mse::default().forward(&outputs, &train.target)?;
        look(step, loss.to_f64()?, &model)?;
        optimizer.step(&Gradients::of(&loss, &params)?, 1.0)?;
    }
    Ok(model)
}

const STEPS: u64 = 4000;

pub fn overfitting() -> Result<Figure> {
    let (few, many, fresh) = (wave(1, 20, 0.3)?, wave(2, 400, 0.3)?, wave(3, 500, 0.3)?);
    let run = |train: &Batch, weight_decay: f64| {
        let (mut training, mut validation) = (vec![], vec![]);
        learn(train, STEPS, weight_decay, |step, loss, model| {
            if step.is_multiple_of(40) {
                training.push((step as f64, loss));
                let outputs = model.forward(&fresh.input, &Pass::eval())?;
                validation.push((step as f64, Mse::default().forward(&outputs, &fresh.target)?.to_f64()?));
            }
            Ok(())
        })?;
        Ok::<_, Error>((training, validation))
    };
    let ((training, validation), (_, decayed), (_, more)) = (run(&few, 0.0)?, run(&few, 0.5)?, run(&many, 0.0)?);
    let curves = vec![
        ("20 points: training".to_string(), training),
        ("20 points: validation".to_string(), validation),
        ("20, decay: validation".to_string(), decayed),
        ("400 points: validation".to_string(), more),
    ];
    Ok(Figure::log_curves(Section::Run, "Learning by heart", ("step", "loss"), curves))
}

pub fn curves() -> Result<Figure> {
    let few = wave(1, 20, 0.3)?;
    let xs = grid(-2.0, 2.0, 200);
    let input = Tensor::from_vec(xs.iter().map(|&x| x as f32).collect::<Vec<f32>>(), (200, 1), &Device::Cpu)?;
    let curve = |name: &str, steps| {
        let model = learn(&few, steps, 0.0, |_, _, _| Ok(()))?;
        let ys = model.forward(&input, &Pass::eval())?.to_f64_vec()?;
        Ok::<_, Error>((name.to_string(), xs.iter().copied().zip(ys).collect()))
    };
    let truth = ("the truth".to_string(), xs.iter().map(|&x| (x, (2.5 * x).sin())).collect());
    let curves = vec![truth, curve("after 200 steps", 200)?, curve("after 4,000 steps", STEPS)?];
    Ok(Figure::curves(Section::Learned, "What 20 noisy points teach", ("x", "y"), curves))
}

/// The share of unseen digits that a network of one hidden layer reads right, and its parameters.
fn score(samples: usize, hidden: &[usize]) -> Result<(f64, usize)> {
    let (train, test) = data::digits()?.split_stratified(0.8, Seed(7))?;
    let (train, test) = (whole(train.subset((0..samples).collect())?)?, whole(test)?);
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = MlpConfig { in_features: 64, hidden: hidden.to_vec(), out_features: 10, ..Default::default() };
    let model = Mlp::new(config, params.root())?;
    let mut optimizer = AdamW::new(&params, 5e-3)?;
    for step in 0..300 {
        let logits = model.forward(&train.input.flatten_from(1)?, &Pass::train(Seed(step)))?;
        let loss = CrossEntropy::default().forward(&logits, &train.target)?;
        optimizer.step(&Gradients::of(&loss, &params)?, 1.0)?;
    }
    let mut accuracy = Accuracy::default();
    accuracy.update(&model.forward(&test.input.flatten_from(1)?, &Pass::eval())?, &test.target)?;
    Ok((accuracy.compute()?, params.num_trainable()))
}

pub fn data() -> Result<Figure> {
    let curve = |name: &str, hidden: &[usize]| {
        let counts = [20, 45, 90, 180, 360, 720, 1400];
        let point = |count: usize| Ok(((count as f64).log2(), 100.0 * score(count, hidden)?.0));
        Ok::<_, Error>((name.to_string(), counts.into_iter().map(point).collect::<Result<_>>()?))
    };
    let curves = vec![curve("one hidden layer of 64", &[64])?, curve("no hidden layer", &[])?];
    let axes = ("log2 of the number of digits to learn from", "% of new digits read right");
    Ok(Figure::curves(Section::Data, "The worth of data", axes, curves))
}

pub fn size() -> Result<Figure> {
    let sizes = [1usize, 2, 4, 8, 16, 32, 64, 128];
    let point = |size: usize| {
        let (right, params) = score(1400, &[size])?;
        Ok(((params as f64).log2(), 100.0 * right))
    };
    let points = sizes.into_iter().map(point).collect::<Result<_>>()?;
    let axes = ("log2 of the number of parameters", "% of new digits read right");
    Ok(Figure::curves(Section::Learned, "The worth of size", axes, vec![("one hidden layer".into(), points)]))
}
