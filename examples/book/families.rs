//! Convolution, recurrence, adversaries, attention.

use glassbox::dataset::Position;
use glassbox::lens::views::recurrence::state_gradients;
use glassbox::lens::views::{attention as maps, convolution};
use glassbox::lens::{Figure, Section};
use glassbox::prelude::*;

use super::generalisation::whole;

/// A convolutional network that reads digits, after a few epochs.
fn reader() -> Result<(SmallCnn, ParamStore, Batch)> {
    let (train, test) = data::digits()?.split_stratified(0.8, Seed(7))?;
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = SmallCnnConfig { channels: vec![16, 32], hidden: 64, kernel_size: 3.into(), ..Default::default() };
    let model = SmallCnn::new(config, params.root())?;
    let mut optimizer = AdamW::new(&params, 3e-3)?;
    let loader = DataLoader::new(train, 64).shuffle(Seed(2));
    for epoch in 0..12 {
        for batch in loader.batches(Position { epoch, batch: 0 }, &Device::Cpu)? {
            let batch = batch?;
            let logits = model.forward(&batch.input, &Pass::train(Seed(epoch)))?;
            let loss = CrossEntropy::default().forward(&logits, &batch.target)?;
            optimizer.step(&Gradients::of(&loss, &params)?, 1.0)?;
        }
    }
    Ok((model, params, whole(test)?))
}

pub fn filters() -> Result<Figure> {
    let (model, params, test) = reader()?;
    let weight = params.get("conv1.weight").ok_or_else(|| Error::invalid("network", "conv1.weight", "none"))?;
    let kernels = weight.value().to_f64_vec()?;
    let floats = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    // Shown at the size of the pictures: each filter above what it makes of a digit.
    let digit = test.input.narrow(0, 0, 1)?;
    let seen = Taps::on("conv1").run(|pass| model.forward(&digit, pass))?;
    let output = seen["conv1"].output().ok_or_else(|| Error::invalid("conv1", "an output", "none"))?.relu()?;
    let maps = output.to_f64_vec()?;
    let mut pictures = vec![];
    for half in 0..2 {
        let channels = half * 8..(half + 1) * 8;
        pictures.extend(channels.clone().map(|c| (String::new(), enlarged(&floats(&kernels[c * 9..][..9])))));
        pictures.extend(channels.map(|c| (String::new(), floats(&maps[c * 64..][..64]))));
    }
    Ok(Figure::pictures(Section::Learned, "Filters, and what they make of a digit", (8, 8), pictures, 8))
}

/// A filter of 3 × 3 on 8 × 8 pixels.
fn enlarged(filter: &[f32]) -> Vec<f32> {
    (0..64).map(|i| filter[(i / 8 * 3 / 8) * 3 + i % 8 * 3 / 8]).collect()
}

pub fn explanation() -> Result<Figure> {
    let (model, params, test) = reader()?;
    let class = test.target.to_vec1::<u32>()?[0] as usize;
    convolution::explain(&model, &params, &test.input.narrow(0, 0, 1)?, class, "conv2")
}

/// Steps of a sequence, and how much the loss at its end depends on the state after each.
fn gradients<R: Recurrent>(name: &str, layer: &R, parts: usize) -> Result<(String, Vec<(f64, f64)>)> {
    const STEPS: usize = 60;
    let inputs = Seed(3).rng().normal_tensor((1, STEPS, 4), 0.0, 1.0, DType::F32, &Device::Cpu)?;
    let start = vec![Tensor::zeros((1, 1, 24), DType::F32, &Device::Cpu)?; parts];
    let step = |t: usize, state: &[Tensor]| {
        let state = R::State::from_parts(state[0].clone(), state.get(1).cloned())?;
        let input = inputs.narrow(1, t, 1)?.contiguous()?;
        let (_, after) = layer.forward_with(&input, Some(&state), None, &Pass::eval())?;
        let (hidden, cell) = after.parts();
        Ok(std::iter::once(hidden).chain(cell).cloned().collect())
    };
    let found = state_gradients(&start, STEPS, step, |t, state| {
        Ok((t + 1 == STEPS).then(|| state[0].sum_all()).transpose()?)
    })?;
    let points = found.norms.iter().enumerate().map(|(t, norm)| (t as f64, *norm)).collect();
    Ok((name.to_string(), points))
}

pub fn memory() -> Result<Figure> {
    let params = ParamStore::new(Seed(5), &Device::Cpu);
    let rnn = Rnn::new(4, 24, RnnConfig::default(), params.root().pp("rnn"))?;
    let lstm = Lstm::new(4, 24, LstmConfig { unit_forget_bias: true, ..Default::default() }, params.root().pp("lstm"))?;
    let mut curves = vec![gradients("plain recurrence", &rnn, 1)?, gradients("LSTM", &lstm, 2)?];
    // The same plain recurrence with larger weights from state to state.
    let weight = params.get("rnn.weight_hh_l0").ok_or_else(|| Error::invalid("rnn", "weight_hh_l0", "none"))?;
    weight.set(&(weight.value() * 4.0)?)?;
    curves.push(gradients("the same, weights × 4", &rnn, 1)?);
    Ok(Figure::log_curves(Section::Learned, "How far back a loss can see", ("step", "‖∂L/∂h‖"), curves))
}

/// What an adversarial training of one-dimensional samples leaves.
struct Duel {
    /// Step, mean answer of the discriminator to real samples, to generated ones.
    answers: Vec<(f64, f64, f64)>,
    /// Shares of generated samples by interval, over training.
    shares: Vec<Vec<f32>>,
}

const DUEL_STEPS: u64 = 3000;
const INTERVALS: usize = 40;
const REACH: f64 = 4.0;

/// Two clusters, at −2 and 2.
fn real(rng: &mut Rng, count: usize) -> Result<Tensor> {
    let value = |rng: &mut Rng| if rng.bernoulli(0.5) { 2.0 } else { -2.0 } + 0.3 * rng.normal();
    let values: Vec<f32> = (0..count).map(|_| value(rng) as f32).collect();
    Ok(Tensor::from_vec(values, (count, 1), &Device::Cpu)?)
}

fn duel() -> Result<Duel> {
    let (g_params, d_params) = (ParamStore::new(Seed(1), &Device::Cpu), ParamStore::new(Seed(2), &Device::Cpu));
    let mlp = |inputs, params: &ParamStore| {
        let config = MlpConfig {
            in_features: inputs,
            hidden: vec![32, 32],
            out_features: 1,
            activation: Activation::LeakyRelu(0.2),
            ..Default::default()
        };
        Mlp::new(config, params.root())
    };
    let (generator, discriminator) = (mlp(4, &g_params)?, mlp(1, &d_params)?);
    let mut g_optimizer = Adam::new(&g_params, 1e-3)?.betas(0.5, 0.999);
    let mut d_optimizer = Adam::new(&d_params, 1e-3)?.betas(0.5, 0.999);
    let mut rng = Seed(3).rng();
    let loss = BceWithLogits::default();
    let (mut answers, mut shares) = (vec![], vec![]);
    const BATCH: usize = 128;
    for step in 0..DUEL_STEPS {
        let pass = Pass::train(Seed(step));
        let noise = rng.normal_tensor((BATCH, 4), 0.0, 1.0, DType::F32, &Device::Cpu)?;
        let (ones, zeros) = (noise.narrow(1, 0, 1)?.ones_like()?, noise.narrow(1, 0, 1)?.zeros_like()?);
        let made = generator.forward(&noise, &pass)?;
        // The discriminator learns to tell real samples from made ones …
        let on_real = discriminator.forward(&real(&mut rng, BATCH)?, &pass)?;
        let on_made = discriminator.forward(&made.detach(), &pass)?;
        let d_loss = (loss.forward(&on_real, &ones)? + loss.forward(&on_made, &zeros)?)?;
        d_optimizer.step(&Gradients::of(&d_loss, &d_params)?, 1.0)?;
        // … and the generator to be taken for real.
        let g_loss = loss.forward(&discriminator.forward(&made, &pass)?, &ones)?;
        g_optimizer.step(&Gradients::of(&g_loss, &g_params)?, 1.0)?;
        let mean = |logits: &Tensor| Activation::Sigmoid.forward(&logits.detach(), &Pass::eval())?.mean_all()?.to_f64();
        answers.push((step as f64, mean(&on_real)?, mean(&on_made)?));
        if step.is_multiple_of(60) {
            let noise = Seed(9).rng().normal_tensor((2000, 4), 0.0, 1.0, DType::F32, &Device::Cpu)?;
            shares.push(histogram(&generator.forward(&noise, &Pass::eval())?.to_f64_vec()?));
        }
    }
    Ok(Duel { answers, shares })
}

fn histogram(values: &[f64]) -> Vec<f32> {
    let mut shares = vec![0f32; INTERVALS];
    for value in values {
        let place = ((value + REACH) / (2.0 * REACH) * INTERVALS as f64).clamp(0.0, (INTERVALS - 1) as f64);
        shares[place as usize] += 1.0 / values.len() as f32;
    }
    shares
}

pub fn generator() -> Result<Figure> {
    let shares = duel()?.shares;
    let name = |i: usize| {
        let value = -REACH + 2.0 * REACH * (i as f64 + 0.5) / INTERVALS as f64;
        if i % 5 == 2 { format!("{value:.1}") } else { String::new() }
    };
    // The root, so that few samples are seen; the highest value at the top.
    let values = (0..INTERVALS).rev().flat_map(|i| shares.iter().map(move |s| s[i].sqrt())).collect();
    let rows = (0..INTERVALS).rev().map(name).collect();
    let axis = (0.0, DUEL_STEPS as f64, "step");
    Ok(Figure::matrix(Section::Learned, "What the generator makes", rows, values, axis, "√share"))
}

pub fn discriminator() -> Result<Figure> {
    let answers = duel()?.answers;
    let curve = |name: &str, of: fn(&(f64, f64, f64)) -> f64| {
        (name.to_string(), answers.iter().map(|answer| (answer.0, of(answer))).collect())
    };
    let curves = vec![curve("of real samples", |a| a.1), curve("of made ones", |a| a.2)];
    Ok(Figure::curves(Section::Run, "What the discriminator believes", ("step", "probability of being real"), curves))
}

pub fn attention() -> Result<Figure> {
    let words = ["the", "cat", "saw", "the", "dog", "and", "the", "cat", "ran"];
    let mut content = vec![];
    let (mut queries, mut keys) = (vec![], vec![]);
    for (place, word) in words.iter().enumerate() {
        content.extend((0..16).map(|_| 0.0f32));
        let own = Seed(1).child(word).rng().normal_tensor(16, 0.0, 1.5, DType::F32, &Device::Cpu)?.to_vec1::<f32>()?;
        content[place * 16..].copy_from_slice(&own);
        // Waves of the place: a query looks for the place before its own.
        let wave = |place: f64| {
            (0..8).flat_map(move |i| {
                let angle = place / 1.8f64.powi(i);
                [4.0 * angle.sin() as f32, 4.0 * angle.cos() as f32]
            })
        };
        queries.extend(wave(place as f64 - 1.0));
        keys.extend(wave(place as f64));
    }
    let heads = |first: Vec<f32>, second: Vec<f32>| -> Result<Tensor> {
        Ok(Tensor::from_vec([first, second].concat(), (2, words.len(), 16), &Device::Cpu)?)
    };
    let weights = maps::weights(&heads(content.clone(), queries)?, &heads(content, keys)?, true)?;
    maps::maps("two heads", &weights)
}
