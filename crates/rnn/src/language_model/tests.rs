//! What language models promise.
#![allow(clippy::unwrap_used)] // The lint's exception for tests covers functions marked as tests, not their helpers.

use crate::NetworkState;
use candle_core::{DType, Device, Tensor};
use glassbox_core::dataset::{DataLoader, Position, StreamBatch, VecDataset};
use glassbox_core::optim::{AdamW, Cosine};
use glassbox_core::testkit::LayerCheck;
use glassbox_core::{
    Gradients, Layer, Loss, ParamStore, Pass, Progress, Result, Sampling, Seed, TensorExt, TrainStep,
    loss::CrossEntropy,
};

use super::*;
use crate::{RecurrentKind, RecurrentState};

const VOCAB_SIZE: usize = 7;

fn config() -> LanguageModelConfig {
    LanguageModelConfig {
        vocab_size: VOCAB_SIZE,
        embedding_dim: 6,
        hidden_size: 6,
        num_layers: 2,
        ..Default::default()
    }
}

/// Every kind of model.
fn configs() -> Vec<LanguageModelConfig> {
    let tied = LanguageModelConfig { tie_weights: true, ..config() };
    vec![config(), tied, LanguageModelConfig { kind: RecurrentKind::Gru, ..tied }]
}

fn model(config: LanguageModelConfig) -> (LanguageModel, ParamStore) {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    (LanguageModel::new(config, params.root()).unwrap(), params)
}

fn ids(batch: usize, seq_len: usize) -> Tensor {
    let ids: Vec<u32> = (0..batch * seq_len).map(|i| (i * i * 5 + i / 3) as u32 % VOCAB_SIZE as u32).collect();
    Tensor::from_vec(ids, (batch, seq_len), &Device::Cpu).unwrap()
}

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in got.to_f64_vec().unwrap().iter().zip(want.to_f64_vec().unwrap()) {
        assert!((got - want).abs() <= tolerance, "expected {want}, got {got}");
    }
}

#[test]
fn every_kind_keeps_the_contract_of_layers() {
    for config in configs() {
        LayerCheck::of_ids(&[2, 3], VOCAB_SIZE as u32).run(|vb| LanguageModel::new(config, vb));
    }
}

#[test]
fn piece_by_piece_and_token_by_token_it_gives_what_it_gives_at_once() {
    let (ids, pass) = (ids(2, 9), Pass::eval());
    for config in configs() {
        let (model, _) = model(config);
        let whole = model.forward(&ids, &pass).unwrap();
        for piece in [1, 4] {
            let (mut state, mut logits) = (None, vec![]);
            for start in (0..9).step_by(piece) {
                let part = ids.narrow(1, start, piece.min(9 - start)).unwrap();
                let (part, next) = model.forward_with(&part, state.as_ref(), &pass).unwrap();
                logits.push(part);
                state = Some(next);
            }
            // Rounding of f32 in sums of a few products of numbers below 1.
            assert_close(&Tensor::cat(&logits, 1).unwrap(), &whole, 1e-6);
        }
    }
}

#[test]
fn a_tied_weight_gets_the_gradients_of_both_its_places() {
    let tied = LanguageModelConfig { tie_weights: true, ..config() };
    let build = |config: LanguageModelConfig| {
        let params = ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu);
        (LanguageModel::new(config, params.root()).unwrap(), params)
    };
    let ((tied, params), (apart, apart_params)) = (build(tied), build(config()));
    assert_eq!(params.num_params() + VOCAB_SIZE * 6, apart_params.num_params());
    // The same weights in both: where it is not tied, one in two places.
    for param in apart_params.all() {
        let name = if param.name() == "head.weight" { "embedding.weight" } else { param.name() };
        param.set(&params.get(name).unwrap().value()).unwrap();
    }
    let gradients = |model: &LanguageModel, params: &ParamStore| {
        let logits = model.forward(&ids(2, 5), &Pass::train(Seed(1))).unwrap();
        Gradients::of(&CrossEntropy::default().forward(&logits, &ids(2, 5)).unwrap(), params).unwrap()
    };
    let (both, parts) = (gradients(&tied, &params), gradients(&apart, &apart_params));
    let of = |name| parts.get(name).unwrap();
    let sum = (of("embedding.weight") + of("head.weight")).unwrap();
    // Rounding of f64; the sums are made in another order.
    assert_close(both.get("embedding.weight").unwrap(), &sum, 1e-14);
    assert_close(both.get("head.bias").unwrap(), of("head.bias"), 1e-14);
}

/// A text that can only be known by what came before: each token says the next, but for 0, after which 1 and 2 take turns.
fn text() -> Vec<u32> {
    [0, 1, 3, 4, 0, 2, 5, 6].into_iter().cycle().take(97).collect()
}

/// Its batches of two rows of 48 tokens, eleven at a time.
fn batches() -> Vec<StreamBatch> {
    let text = text();
    let part = |from: usize, len: usize| {
        let rows = [0, 48].map(|row| text[row + from..row + from + len].to_vec());
        Tensor::from_vec(rows.concat(), (2, len), &Device::Cpu).unwrap()
    };
    let batch = |(step, from): (usize, usize)| {
        let len = 11.min(48 - from);
        StreamBatch { input: part(from, len), target: part(from + 1, len), step }
    };
    (0..48).step_by(11).enumerate().map(batch).collect()
}

fn step(config: LanguageModelConfig) -> LanguageModelStep {
    let (model, params) = model(config);
    LanguageModelStep::new(model, AdamW::new(&params, 0.01).unwrap()).schedule(Cosine::new())
}

/// Where step `step` of `total` stands, in epochs of five.
fn progress(step: u64, total: u64) -> Progress {
    let (epoch, last_of_epoch) = ((step - 1) / 5 + 1, step.is_multiple_of(5));
    let seed = Seed(9).index(step);
    Progress { step, epoch, steps_per_epoch: 5, total_steps: Some(total), last_of_epoch, seed }
}

fn train(step: &mut LanguageModelStep, steps: std::ops::RangeInclusive<u64>, total: u64) -> f64 {
    let batches = batches();
    let take = |at: u64| step.train(&batches[(at as usize - 1) % 5], &progress(at, total)).unwrap().loss;
    steps.map(take).last().unwrap()
}

fn bits(params: &ParamStore) -> Vec<Vec<u32>> {
    let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect();
    params.tensors().values().map(bits).collect()
}

#[test]
fn it_learns_a_text_and_goes_on_with_it() {
    for config in configs() {
        let config = LanguageModelConfig { embedding_dim: 24, hidden_size: 24, num_layers: 1, ..config };
        let mut step = step(config);
        let first = train(&mut step, 1..=1, 300);
        let last = train(&mut step, 2..=300, 300);
        // About ln 7 at first, next to nothing at the end.
        assert!(first > 1.8 && last < 0.05, "{first} {last}");
        batches().iter().try_for_each(|batch| step.validate(batch)).unwrap();
        let scores = step.scores().unwrap();
        let value = |name| scores.value(name).unwrap();
        // The first token of each row can only be guessed.
        assert!(value("validation_loss") < 0.1, "{scores}");
        assert!((value("perplexity") - value("validation_loss").exp()).abs() < 1e-12);
        assert!((value("bits_per_character") - value("validation_loss").exp().log2()).abs() < 1e-12);

        let continued = step.model().generate(&text()[..10], &Sampling::greedy()).unwrap();
        assert_eq!(continued.take(20).collect::<Result<Vec<_>>>().unwrap(), &text()[10..30]);
    }
}

#[test]
fn one_batch_of_noise_is_overfitted() {
    let config = LanguageModelConfig { hidden_size: 64, num_layers: 1, ..config() };
    let mut step = step(config);
    let batch = StreamBatch { input: ids(4, 8), target: ids(8, 4).t().unwrap().reshape((4, 8)).unwrap(), step: 0 };
    let losses: Vec<f64> = (1..=200).map(|at| step.train(&batch, &progress(at, 200)).unwrap().loss).collect();
    // Two pairs of rows begin with the same token and go on with others: 4 of the 32 targets are known by half.
    let unknowable = 4.0 / 32.0 * 2f64.ln();
    assert!(losses[0] > 1.5 && losses[199] < unknowable + 0.01, "{} {}", losses[0], losses[199]);
}

#[test]
fn the_state_is_carried_over_batches_and_not_over_epochs() {
    let batches = batches();
    let (model, _) = model(config());
    let whole = [&batches[0].input, &batches[1].input].map(|input| input.clone());
    let logits = model.forward(&Tensor::cat(&whole, 1).unwrap(), &Pass::eval()).unwrap();
    let loss = |logits: &Tensor, target| CrossEntropy::default().forward(logits, target).unwrap().to_f64().unwrap();
    let second = loss(&logits.narrow(1, 11, 11).unwrap().contiguous().unwrap(), &batches[1].target);

    // At a rate of 0 the weights stay as they are.
    let still = |at: u64| progress(at, 4);
    let (model, params) = self::model(config());
    let mut step = LanguageModelStep::new(model, AdamW::new(&params, 0.0).unwrap());
    let first = step.train(&batches[0], &still(1)).unwrap().loss;
    let carried = step.train(&batches[1], &still(2)).unwrap().loss;
    // Rounding of f32.
    assert!((carried - second).abs() < 1e-6, "{carried} {second}");
    let fresh = StreamBatch { step: 0, ..batches[1].clone() };
    assert!((step.train(&fresh, &still(3)).unwrap().loss - second).abs() > 1e-4);
    assert_eq!(step.train(&batches[0], &still(4)).unwrap().loss.to_bits(), first.to_bits());

    let mut other = self::step(config());
    let error = other.train(&batches[1], &still(1)).unwrap_err().to_string();
    assert_eq!(error, "batches of a text: expected the first of them first, got 1");
    assert!(other.validate(&batches[1]).is_err());
}

#[test]
fn a_validation_leaves_the_training_as_it_is() {
    let (mut with, mut without) = (step(config()), step(config()));
    train(&mut with, 1..=3, 20);
    batches().iter().try_for_each(|batch| with.validate(batch)).unwrap();
    let first = with.scores().unwrap();
    batches().iter().try_for_each(|batch| with.validate(batch)).unwrap();
    assert_eq!(with.scores().unwrap(), first);
    train(&mut without, 1..=3, 20);
    assert_eq!(train(&mut with, 4..=5, 20).to_bits(), train(&mut without, 4..=5, 20).to_bits());
}

#[test]
fn resumed_within_an_epoch_it_ends_with_the_same_bits() {
    for config in configs() {
        let config = LanguageModelConfig { dropout: 0.3, ..config };
        let mut whole = step(config);
        train(&mut whole, 1..=12, 12);
        for stop in [3, 5, 8] {
            let mut before = step(config);
            train(&mut before, 1..=stop, 12);
            let (saved, weights) = (before.state().unwrap(), before.params()[0].1.tensors());
            let mut after = step(config);
            after.params()[0].1.load_tensors("checkpoint", &weights).unwrap();
            after.load_state(&saved).unwrap();
            train(&mut after, stop + 1..=12, 12);
            assert_eq!(bits(&after.params()[0].1), bits(&whole.params()[0].1), "{config:?} stopped at {stop}");
            let hidden = |step: &LanguageModelStep| step.state().unwrap().nested("carried").tensors["hidden"].clone();
            assert_close(&hidden(&after), &hidden(&whole), 0.0);
        }
    }
}

#[test]
fn a_loader_gives_its_batches_whole() {
    let loader = DataLoader::new(VecDataset(batches()), 1);
    let taken: Vec<StreamBatch> =
        loader.batches(Position::default(), &Device::Cpu).unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(taken.iter().map(|batch| batch.step).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(
        DataLoader::new(VecDataset(batches()), 2)
            .batches(Position::default(), &Device::Cpu)
            .unwrap()
            .next()
            .unwrap()
            .is_err()
    );
}

#[test]
fn generation_is_the_model_step_by_step() {
    let (model, _) = model(config());
    let tokens: Vec<u32> =
        model.generate(&[1, 2, 3], &Sampling::greedy()).unwrap().take(6).collect::<Result<_>>().unwrap();
    let mut read = vec![1, 2, 3];
    for token in tokens {
        let ids = Tensor::new(read.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let last = model.forward(&ids, &Pass::eval()).unwrap().get(0).unwrap().get(read.len() - 1).unwrap();
        assert_eq!(last.argmax(0).unwrap().to_scalar::<u32>().unwrap(), token);
        read.push(token);
    }
    let draw =
        |sampling: Sampling| model.generate(&[1], &sampling).unwrap().take(30).collect::<Result<Vec<_>>>().unwrap();
    let seeded = |seed| Sampling { seed: Seed(seed), ..Default::default() };
    assert_eq!(draw(seeded(1)), draw(seeded(1)));
    assert_ne!(draw(seeded(1)), draw(seeded(2)));
    assert_eq!(draw(Sampling { top_k: Some(1), ..seeded(3) }), draw(Sampling::greedy()));
    assert_eq!(draw(Sampling { temperature: 1e-6, ..seeded(3) }), draw(Sampling::greedy()));
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let (model, _) = model(config());
    let prompt = |ids: &[u32]| model.generate(ids, &Sampling::default()).unwrap_err().to_string();
    assert_eq!(prompt(&[]), "prompt: expected at least one token, got none");
    assert_eq!(prompt(&[1, 7]), "token of the prompt: expected an id below vocab_size 7, got 7");
    assert!(model.generate(&[1], &Sampling { temperature: -1.0, ..Default::default() }).is_err());

    let error = |config| {
        let store = ParamStore::new(Seed(1), &Device::Cpu);
        LanguageModel::new(config, store.root().pp("lm")).unwrap_err().to_string()
    };
    let tied = LanguageModelConfig { tie_weights: true, embedding_dim: 4, ..config() };
    assert_eq!(error(tied), "at `lm`: embedding_dim: expected 6, the hidden_size, as weights are tied, got 4");
    assert!(error(LanguageModelConfig { vocab_size: 0, ..config() }).contains("vocab_size"));
    assert!(error(LanguageModelConfig { num_layers: 0, ..config() }).contains("num_layers"));
    assert!(error(LanguageModelConfig { hidden_size: 0, ..config() }).contains("hidden_size"));
    assert!(error(LanguageModelConfig { dropout: 1.0, ..config() }).contains("dropout"));

    let pass = Pass::eval();
    assert!(model.forward(&ids(1, 3).squeeze(0).unwrap(), &pass).is_err());
    assert!(model.forward(&Tensor::zeros((2, 0), DType::U32, &Device::Cpu).unwrap(), &pass).is_err());
    let (_, state) = model.forward_with(&ids(2, 3), None, &pass).unwrap();
    assert_eq!(state.batch_size(), 2);
    assert!(model.forward_with(&ids(3, 3), Some(&state), &pass).is_err());
    let without_cell = NetworkState { cell: None, ..state };
    let message = model.forward_with(&ids(2, 3), Some(&without_cell), &pass).unwrap_err().to_string();
    assert!(message.contains("cell state"), "{message}");
}

#[test]
fn the_models_parts_have_the_names_of_the_documentation() {
    let names = |config: LanguageModelConfig| model(config).1.names();
    let one_layer = LanguageModelConfig { num_layers: 1, ..config() };
    let expected = ["embedding.weight", "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"];
    assert_eq!(names(one_layer)[..5], expected);
    assert_eq!(names(one_layer)[5..], ["head.weight", "head.bias"]);
    assert_eq!(names(LanguageModelConfig { tie_weights: true, ..one_layer })[5..], ["head.bias"]);
}
