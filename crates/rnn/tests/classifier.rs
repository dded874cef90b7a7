//! Classifiers and taggers of sequences: the contract of layers, padding that changes nothing, training and resuming.
#![allow(clippy::unwrap_used)] // The lint's exception for tests covers functions marked as tests, not their helpers.

use std::path::Path;

use glassbox_core::candle_core::{DType, Device, Tensor};
use glassbox_core::dataset::{DataLoader, Padded, Sequence, VecDataset};
use glassbox_core::loss::CrossEntropy;
use glassbox_core::optim::{AdamW, OneCycle};
use glassbox_core::testkit::{LayerCheck, check_layer, values};
use glassbox_core::train::callbacks::Checkpoints;
use glassbox_core::train::{Fitted, Supervised};
use glassbox_core::{
    Accuracy, Gradients, Layer, Loss, ParamStore, Pass, Result, RunDir, Seed, SupervisedStep, TensorExt, Trainer,
};
use glassbox_rnn::{
    GruConfig, LstmConfig, RecurrentConfig, RnnConfig, SequenceClassifier, SequenceEncoderConfig, SequenceInput,
    SequencePooling, SequenceTagger,
};

const FEATURES: SequenceInput = SequenceInput::Features(3);
const IDS: SequenceInput = SequenceInput::Ids { num_embeddings: 6, embedding_dim: 4 };
const POOLINGS: [SequencePooling; 4] =
    [SequencePooling::Last, SequencePooling::Mean, SequencePooling::Max, SequencePooling::Attention(5)];

fn small(recurrent: RecurrentConfig) -> SequenceEncoderConfig {
    SequenceEncoderConfig { hidden_size: 4, recurrent, dropout: 0.0 }
}

fn bidirectional() -> SequenceEncoderConfig {
    small(RecurrentConfig::Gru(GruConfig { num_layers: 2, bidirectional: true, ..Default::default() }))
}

#[test]
fn contract() {
    for pooling in POOLINGS {
        check_layer(|vb| SequenceClassifier::new(FEATURES, 2, pooling, bidirectional(), vb), &[2, 4, 3]);
    }
    let lstm = SequenceEncoderConfig { dropout: 0.3, ..small(RecurrentConfig::Lstm(LstmConfig::default())) };
    check_layer(|vb| SequenceClassifier::new(FEATURES, 2, SequencePooling::Last, lstm, vb), &[2, 4, 3]);
    let ids = LayerCheck::of_ids(&[3, 4], 6);
    ids.clone().run(|vb| SequenceClassifier::new(IDS, 2, SequencePooling::Mean, lstm, vb));
    ids.run(|vb| SequenceTagger::new(IDS, 2, lstm, vb));
    let rnn = small(RecurrentConfig::Rnn(RnnConfig { bidirectional: true, ..Default::default() }));
    check_layer(|vb| SequenceTagger::new(FEATURES, 2, rnn, vb), &[2, 4, 3]);
}

fn features() -> Tensor {
    values((3, 5, 3), 7).unwrap().to_dtype(DType::F32).unwrap()
}

const LENGTHS: [usize; 3] = [5, 2, 3];

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor) {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in got.to_f64_vec().unwrap().iter().zip(want.to_f64_vec().unwrap()) {
        // Rounding of f32 in sums of a few products of numbers below 1.
        assert!((got - want).abs() <= 1e-6, "expected {want}, got {got}");
    }
}

/// Each sample alone, without padding, as in a batch whose padding is large numbers.
#[test]
fn padding_changes_no_result() {
    let (pass, xs) = (Pass::eval(), features());
    let beyond: Vec<f32> = LENGTHS.iter().flat_map(|&n| (0..5).map(move |t| if t < n { 0.0 } else { 50.0 })).collect();
    let padded = xs.broadcast_add(&Tensor::from_vec(beyond, (3, 5, 1), &Device::Cpu).unwrap()).unwrap();
    let alone = |i: usize| xs.narrow(0, i, 1).unwrap().narrow(1, 0, LENGTHS[i]).unwrap();
    for pooling in POOLINGS {
        let params = ParamStore::new(Seed(1), &Device::Cpu);
        let model = SequenceClassifier::new(FEATURES, 4, pooling, bidirectional(), params.root()).unwrap();
        let logits = model.forward_with(&padded, Some(&LENGTHS), &pass).unwrap();
        for i in 0..3 {
            assert_close(&logits.narrow(0, i, 1).unwrap(), &model.forward(&alone(i), &pass).unwrap());
        }
    }
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = SequenceTagger::new(FEATURES, 4, bidirectional(), params.root()).unwrap();
    let logits = model.forward_with(&padded, Some(&LENGTHS), &pass).unwrap();
    for (i, length) in LENGTHS.into_iter().enumerate() {
        let got = logits.narrow(0, i, 1).unwrap().narrow(1, 0, length).unwrap();
        assert_close(&got, &model.forward(&alone(i), &pass).unwrap());
    }
}

fn padded(values: Tensor) -> Padded {
    Padded { values, lengths: LENGTHS.to_vec() }
}

/// The loss and the gradients of a batch are the means over the steps that there are.
#[test]
fn a_taggers_loss_ignores_padding() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = SequenceTagger::new(FEATURES, 4, bidirectional(), params.root()).unwrap();
    let classes = Tensor::new(&[[0u32, 1, 2, 3, 0], [3, 2, 9, 9, 9], [1, 1, 2, 9, 9]], &Device::Cpu).unwrap();
    let pass = Pass::train(Seed(2));
    let loss = |xs: Padded, classes: Padded| -> Tensor {
        let (logits, targets) = model.answer(&(xs, classes), &pass).unwrap();
        CrossEntropy::default().reduction(glassbox_core::Reduction::Sum).forward(&logits, &targets).unwrap()
    };
    let together = loss(padded(features()), padded(classes.clone()));
    let alone = |i: usize, length: usize| {
        let cut = |t: &Tensor| t.narrow(0, i, 1).unwrap().narrow(1, 0, length).unwrap();
        let padded = |values| Padded { values, lengths: vec![length] };
        loss(padded(cut(&features())), padded(cut(&classes)))
    };
    let apart: Vec<Tensor> = LENGTHS.into_iter().enumerate().map(|(i, length)| alone(i, length)).collect();
    let apart = Tensor::stack(&apart, 0).unwrap().sum_all().unwrap();
    assert!((together.to_f64().unwrap() - apart.to_f64().unwrap()).abs() < 1e-5);
    let (together, apart) = (Gradients::of(&together, &params).unwrap(), Gradients::of(&apart, &params).unwrap());
    together.expect_all(&params).unwrap();
    for name in params.names() {
        assert_close(together.get(&name).unwrap(), apart.get(&name).unwrap());
    }
}

#[test]
fn bad_input_is_an_error() {
    let store = || ParamStore::new(Seed(1), &Device::Cpu);
    let error = |result: Result<Tensor>| result.unwrap_err().to_string();
    let classifier = |pooling| SequenceClassifier::new(FEATURES, 2, pooling, bidirectional(), store().root());
    for pooling in POOLINGS {
        let model = classifier(pooling).unwrap();
        let forward = |xs: &Tensor, lengths: &[usize]| error(model.forward_with(xs, Some(lengths), &Pass::eval()));
        for lengths in [&[5, 2, 0][..], &[5, 6, 1], &[5, 5]] {
            assert!(forward(&features(), lengths).contains("length"), "{lengths:?}");
        }
        assert!(forward(&features().narrow(2, 0, 2).unwrap(), &LENGTHS).contains("rnn"));
        assert!(forward(&features().narrow(1, 0, 0).unwrap(), &[0, 0, 0]).contains("at least one step"));
    }
    assert!(classifier(SequencePooling::Attention(0)).is_err());
    let none = SequenceClassifier::new(FEATURES, 0, SequencePooling::Last, bidirectional(), store().root());
    assert_eq!(none.unwrap_err().to_string(), "num_classes: expected at least 1, got 0");
    assert!(SequenceTagger::new(FEATURES, 0, bidirectional(), store().root()).is_err());
    let tagger = SequenceTagger::new(IDS, 4, bidirectional(), store().root()).unwrap();
    let ids = |rows: &[&[u32]]| {
        let rows = rows.iter().map(|ids| Sequence::from_ids(ids).unwrap()).collect();
        glassbox_core::dataset::Collate::collate(rows).unwrap()
    };
    let answer = |xs, classes| error(tagger.answer(&(xs, classes), &Pass::eval()).map(|(logits, _)| logits));
    let message = answer(ids(&[&[1, 2, 3], &[1, 2]]), ids(&[&[1, 2, 3], &[1, 2, 3]]));
    assert_eq!(message, "classes of sample 1: expected 2, one for each step, got 3");
    assert!(answer(ids(&[&[1, 6]]), ids(&[&[1, 2]])).contains("embedding"));
    let wrong = Padded { values: Tensor::new(&[[1u32, 2]], &Device::Cpu).unwrap(), lengths: vec![3] };
    assert!(answer(wrong.clone(), wrong).contains("length"));
}

/// 16 sequences of 3 to 10 ids; the class is 1 where a 5 comes up, which is rare in the noise.
fn samples() -> Vec<(Sequence, u32)> {
    let mut rng = Seed(4).rng();
    let sample = |class: u32| {
        let mut ids: Vec<u32> = (0..3 + rng.below(8)).map(|_| rng.below(5) as u32).collect();
        let place = rng.below(ids.len());
        ids[place] = if class == 1 { 5 } else { 0 };
        (Sequence::from_ids(&ids).unwrap(), class)
    };
    (0..16).map(|i| i % 2).map(sample).collect()
}

type Step = SupervisedStep<SequenceClassifier, CrossEntropy, (Padded, Tensor)>;

fn fit(folder: &Path, pooling: SequencePooling, steps: u64, resume: bool) -> Fitted<Step> {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let gru = GruConfig { bidirectional: true, ..Default::default() };
    let config = SequenceEncoderConfig { hidden_size: 8, recurrent: RecurrentConfig::Gru(gru), dropout: 0.1 };
    let model = SequenceClassifier::new(IDS, 2, pooling, config, params.root()).unwrap();
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 0.03).unwrap())
        .schedule(OneCycle::new(0.03).total_steps(100))
        .metric(Accuracy::default());
    let loader = || DataLoader::new(VecDataset(samples()), 16).shuffle(Seed(3));
    let trainer = Trainer::new(RunDir::new(folder).unwrap()).steps(steps).validate_every_epochs(100).resume(resume);
    trainer.with(Checkpoints::every_steps(20)).fit(step, loader(), loader()).unwrap()
}

#[test]
fn one_batch_is_learned_by_heart() {
    for pooling in POOLINGS {
        let fitted = fit(tempfile::tempdir().unwrap().path(), pooling, 100, false);
        assert_eq!(fitted.scores.value("accuracy"), Some(1.0), "{pooling:?}");
        assert!(fitted.scores.value("validation_loss").unwrap() < 0.05, "{pooling:?} {}", fitted.scores);
    }
}

#[test]
fn resumed_it_ends_with_the_same_bits() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pooling = SequencePooling::Attention(4);
    let reference = fit(whole.path(), pooling, 30, false);
    fit(parts.path(), pooling, 17, false);
    assert_eq!(fit(parts.path(), pooling, 30, true).scores, reference.scores);
    let model = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert_eq!(model(whole.path()), model(parts.path()));
}

#[test]
fn a_tagger_learns_what_comes_before_and_after() {
    // The class of a step is the sum of the ids beside it.
    let sample = |seed: u64| {
        let mut rng = Seed(seed).rng();
        let ids: Vec<u32> = (0..4 + rng.below(8)).map(|_| rng.below(2) as u32).collect();
        let id = |t: usize| ids.get(t).copied().unwrap_or(0);
        let classes: Vec<u32> = (0..ids.len()).map(|t| id(t.wrapping_sub(1)) + id(t + 1)).collect();
        (Sequence::from_ids(&ids).unwrap(), Sequence::from_ids(&classes).unwrap())
    };
    let loader = |seeds: std::ops::Range<u64>| DataLoader::new(VecDataset(seeds.map(sample).collect()), 32);
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let config = SequenceEncoderConfig { hidden_size: 16, ..Default::default() };
    let model = SequenceTagger::new(IDS, 3, config, params.root()).unwrap();
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 0.02).unwrap())
        .schedule(OneCycle::new(0.02))
        .metric(Accuracy::default());
    let folder = tempfile::tempdir().unwrap();
    let trainer = Trainer::new(RunDir::new(folder.path()).unwrap()).epochs(15).validate_every_epochs(15);
    let fitted = trainer.fit(step, loader(0..256).shuffle(Seed(2)), loader(1000..1064)).unwrap();
    assert!(fitted.scores.value("accuracy").unwrap() > 0.97, "{}", fitted.scores);
}
