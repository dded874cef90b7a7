use std::path::Path;

use glassbox_core::candle_core::{DType, Device};
use glassbox_core::dataset::{Collate, DataLoader, Sequence, VecDataset};
use glassbox_core::optim::AdamW;
use glassbox_core::testkit::LayerCheck;
use glassbox_core::train::Seq2seqStep;
use glassbox_core::train::callbacks::Checkpoints;
use glassbox_core::{ParamStore, Progress, RunDir, Seed, TensorExt, TrainStep, Trainer};

use super::*;
use crate::AttentionScore;

const BOS: u32 = 2;
const EOS: u32 = 3;

fn padded(rows: &[&[u32]]) -> Padded {
    Sequence::collate(rows.iter().map(|row| Sequence::from_ids(row).unwrap()).collect()).unwrap()
}

/// Six words on each side: four special ones and 4, 5.
fn tiny() -> Seq2seqConfig {
    Seq2seqConfig { embedding_dim: 3, hidden_size: 4, dropout: 0.0, ..Seq2seqConfig::new(6, 6) }
}

/// Every kind of cell and attention, one and two layers, tied and not.
fn kinds() -> [Seq2seqConfig; 3] {
    let deep = Seq2seqConfig { encoder_layers: 2, decoder_layers: 2, tie_weights: false, ..tiny() };
    [
        tiny(),
        Seq2seqConfig { kind: RecurrentKind::Lstm, attention: AttentionScore::Dot, ..deep },
        Seq2seqConfig { attention: AttentionScore::Additive(3), decoder_layers: 2, ..tiny() },
    ]
}

fn model(config: Seq2seqConfig, seed: u64) -> (Seq2seq, ParamStore) {
    let params = ParamStore::new(Seed(seed), &Device::Cpu);
    // Large weights, so that what it says depends on what it read.
    let model = Seq2seq::new(config, params.root()).unwrap();
    for param in params.trainable() {
        param.set(&(param.value() * 3.0).unwrap()).unwrap();
    }
    (model, params)
}

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in got.to_f64_vec().unwrap().iter().zip(want.to_f64_vec().unwrap()) {
        assert!((got - want).abs() <= tolerance, "expected {want}, got {got}");
    }
}

/// The logits of fixed inputs, from the source's ids.
struct Translating(Seq2seq);

impl Layer for Translating {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let inputs = Tensor::new(&[[BOS, 4, 5], [BOS, 5, 1]], &Device::Cpu)?;
        self.0.forward(&Padded { values: xs.clone(), lengths: vec![4, 2] }, &inputs, pass)
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.0.site)
    }
}

#[test]
fn contract_and_gradients() {
    for config in kinds() {
        LayerCheck::of_ids(&[2, 4], 6).run(|vb| Ok(Translating(Seq2seq::new(config, vb)?)));
    }
}

#[test]
fn step_by_step_as_all_at_once() {
    for config in kinds() {
        let ((model, _), pass) = (model(config, 1), Pass::eval());
        let source = padded(&[&[4, 5, 1, 3], &[5, 3]]);
        let inputs = Tensor::new(&[[BOS, 4, 5, 1], [BOS, 5, 5, 4]], &Device::Cpu).unwrap();
        let mut state = model.encode(&source, &pass).unwrap();
        let (all, _) = model.decode(&inputs, &state, &pass).unwrap();
        assert_close(&all.attention.sum(2).unwrap(), &Tensor::ones((2, 4), DType::F32, &Device::Cpu).unwrap(), 1e-6);
        for step in 0..4 {
            let (one, next) = model.decode(&inputs.narrow(1, step, 1).unwrap(), &state, &pass).unwrap();
            // f32 sums of a few products in another order.
            assert_close(&one.logits, &all.logits.narrow(1, step, 1).unwrap(), 1e-5);
            assert_close(&one.attention, &all.attention.narrow(1, step, 1).unwrap(), 1e-5);
            state = next;
        }
    }
}

#[test]
fn padding_changes_nothing() {
    for config in kinds() {
        let ((model, _), pass) = (model(config, 2), Pass::eval());
        let (alone, among) = (padded(&[&[5, 4, 3]]), padded(&[&[4, 4, 5, 1, 5, 3], &[5, 4, 3]]));
        let inputs = Tensor::new(&[[BOS, 4, 5]], &Device::Cpu).unwrap();
        let want = model.forward(&alone, &inputs, &pass).unwrap();
        let got = model.forward(&among, &inputs.repeat((2, 1)).unwrap(), &pass).unwrap();
        assert_close(&got.narrow(0, 1, 1).unwrap(), &want, 1e-5);

        let search = SearchConfig { beam_size: 3, max_length: 8, ..Default::default() };
        let (got, want) = (model.beam_search(&among, &search).unwrap(), model.beam_search(&alone, &search).unwrap());
        assert_eq!(got[1].len(), 3);
        for (got, want) in got[1].iter().zip(&want[0]) {
            assert_eq!((&got.tokens, got.finished), (&want.tokens, want.finished));
            assert!((got.score - want.score).abs() < 1e-5);
        }
        let (got, want) = (model.greedy(&among, &search).unwrap(), model.greedy(&alone, &search).unwrap());
        assert_eq!(got[1].tokens, want[0].tokens);
    }
}

#[test]
fn a_beam_of_one_is_greedy() {
    let search = SearchConfig { beam_size: 1, max_length: 7, ..Default::default() };
    let source = padded(&[&[4, 5, 1, 3], &[5, 3], &[1, 1, 4], &[4, 3]]);
    let mut ended = 0;
    for seed in 0..10 {
        let (model, _) = model(kinds()[seed as usize % 3], seed);
        let (greedy, beams) = (model.greedy(&source, &search).unwrap(), model.beam_search(&source, &search).unwrap());
        for (greedy, beams) in greedy.iter().zip(&beams) {
            assert_eq!(beams.len(), 1);
            assert_eq!((&greedy.tokens, greedy.finished), (&beams[0].tokens, beams[0].finished));
            assert!((greedy.score - beams[0].score).abs() < 1e-5);
            ended += usize::from(greedy.finished);
        }
    }
    assert!((1..40).contains(&ended), "some end, some are cut: {ended}");
}

/// Every target of up to `length` tokens after which the model can end.
fn all_targets(length: usize) -> Vec<Vec<u32>> {
    let mut all = vec![vec![]];
    for start in 0.. {
        match all.get(start) {
            Some(target) if target.len() < length => {
                let longer: Vec<Vec<u32>> =
                    [1, 4, 5].iter().map(|&token| [target.as_slice(), &[token]].concat()).collect();
                all.extend(longer);
            }
            Some(_) => {}
            None => break,
        }
    }
    all
}

/// Its log-probability by teacher forcing.
fn log_probability(model: &Seq2seq, source: &Padded, target: &[u32]) -> f64 {
    let inputs = Tensor::new([&[BOS], target].concat(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let logits = model.forward(source, &inputs, &Pass::eval()).unwrap();
    let rows = logits.squeeze(0).unwrap().log_softmax(1).unwrap().to_vec2::<f32>().unwrap();
    target.iter().chain(&[EOS]).zip(rows).map(|(&token, row)| f64::from(row[token as usize])).sum()
}

#[test]
fn a_wide_beam_finds_every_target_and_sorts_them() {
    for (seed, length_penalty) in [(1, 0.0), (2, 0.6), (3, 1.5)] {
        let ((model, _), source) = (model(tiny(), seed), padded(&[&[5, 4, 4, 3]]));
        let score = |target: &Vec<u32>| {
            let penalty = ((6.0 + target.len() as f64) / 6.0).powf(length_penalty);
            (log_probability(&model, &source, target) / penalty, target.clone())
        };
        let mut want: Vec<(f64, Vec<u32>)> = all_targets(3).iter().map(score).collect();
        want.sort_by(|a, b| b.0.total_cmp(&a.0));
        let search = SearchConfig { beam_size: 200, length_penalty, max_length: 4, ..Default::default() };
        let got = model.beam_search(&source, &search).unwrap().remove(0);
        let (ended, cut): (Vec<_>, Vec<_>) = got.into_iter().partition(|hypothesis| hypothesis.finished);
        assert_eq!((want.len(), ended.len(), cut.len()), (40, 40, 81));
        for ((score, target), got) in want.iter().zip(&ended) {
            assert!((score - got.score).abs() < 1e-5, "{target:?}: expected {score}, got {got:?}");
        }
        assert_eq!(want[0].1, ended[0].tokens);

        // A narrow one finds some of them, with the same scores.
        let narrow = SearchConfig { beam_size: 3, ..search };
        let got = model.beam_search(&source, &narrow).unwrap().remove(0);
        assert_eq!(got.len(), 3);
        for hypothesis in got.iter().filter(|hypothesis| hypothesis.finished) {
            let (score, _) = want.iter().find(|(_, target)| *target == hypothesis.tokens).unwrap();
            assert!((score - hypothesis.score).abs() < 1e-5);
        }
    }
}

#[test]
fn suppressed_tokens_are_never_said() {
    let ((model, _), source) = (model(tiny(), 4), padded(&[&[4, 3], &[5, 5, 3]]));
    let search = SearchConfig { beam_size: 4, max_length: 6, suppress: vec![1, 4, EOS], ..Default::default() };
    let all = model.beam_search(&source, &search).unwrap().concat();
    let greedy = model.greedy(&source, &search).unwrap();
    for hypothesis in all.iter().chain(&greedy) {
        assert_eq!((hypothesis.tokens.as_slice(), hypothesis.finished), ([5; 6].as_slice(), false));
    }
    assert_eq!(all.len(), 2, "only one target is possible for each source");
}

fn progress(step: u64) -> Progress {
    let seed = Seed(9).index(step);
    Progress { step, epoch: 1, steps_per_epoch: 1, total_steps: None, last_of_epoch: true, seed }
}

type Pair = (Vec<u32>, Vec<u32>);

/// Six pairs, the targets being the sources in reverse.
fn pairs() -> Vec<Pair> {
    let words: [&[u32]; 6] = [&[4, 5, 6, 7], &[7, 7, 4], &[5], &[6, 4, 6, 5, 5], &[4, 7], &[5, 6, 7]];
    let reversed = |words: &[u32]| words.iter().rev().copied().collect::<Vec<u32>>();
    words
        .iter()
        .map(|words| ([*words, &[EOS]].concat(), [&[BOS], reversed(words).as_slice(), &[EOS]].concat()))
        .collect()
}

fn small(dropout: f64) -> Seq2seqConfig {
    Seq2seqConfig { embedding_dim: 16, hidden_size: 32, dropout, ..Seq2seqConfig::new(8, 8) }
}

fn step_of(config: Seq2seqConfig) -> Seq2seqStep<Seq2seq> {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let model = Seq2seq::new(config, params.root()).unwrap();
    Seq2seqStep::new(model, AdamW::new(&params, 1e-2).unwrap())
}

fn batch(pairs: &[Pair]) -> (Padded, Padded) {
    let side = |of: fn(&Pair) -> &[u32]| padded(&pairs.iter().map(of).collect::<Vec<_>>());
    (side(|pair| &pair.0), side(|pair| &pair.1))
}

#[test]
fn it_learns_a_batch_by_heart() {
    for kind in [RecurrentKind::Gru, RecurrentKind::Lstm] {
        let (pairs, mut step) = (pairs(), step_of(Seq2seqConfig { kind, ..small(0.0) }));
        let batch = batch(&pairs);
        let losses: Vec<f64> = (1..=120).map(|i| step.train(&batch, &progress(i)).unwrap().loss).collect();
        assert!(losses[0] > 1.5 && losses[119] < 0.02, "{kind:?}: {} to {}", losses[0], losses[119]);
        let search = SearchConfig { max_length: 10, ..Default::default() };
        let beams = step.model().beam_search(&batch.0, &search).unwrap();
        let greedy = step.model().greedy(&batch.0, &search).unwrap();
        for (((_, target), beams), greedy) in pairs.iter().zip(beams).zip(greedy) {
            let target = &target[1..target.len() - 1];
            assert_eq!((target, target), (beams[0].tokens.as_slice(), greedy.tokens.as_slice()));
        }
    }
}

#[test]
fn validation_counts_every_token_the_same() {
    let (pairs, mut step) = (pairs(), step_of(small(0.3)).label_smoothing(0.1));
    let scores = |step: &mut Seq2seqStep<Seq2seq>, sizes: usize| {
        pairs.chunks(sizes).for_each(|pairs| step.validate(&batch(pairs)).unwrap());
        let scores = step.scores().unwrap();
        (scores.value("validation_loss").unwrap(), scores.value("perplexity").unwrap())
    };
    let ((all, perplexity), (single, _)) = (scores(&mut step, 6), scores(&mut step, 1));
    assert!((all - single).abs() < 1e-5 && (perplexity - all.exp()).abs() < 1e-9, "{all} {single} {perplexity}");
    let tokens: usize = pairs.iter().map(|(_, target)| target.len() - 1).sum();
    let nats: f64 = pairs
        .iter()
        .map(|(source, target)| log_probability(step.model(), &padded(&[source]), &target[1..target.len() - 1]))
        .sum();
    assert!((all + nats / tokens as f64).abs() < 1e-5);
}

#[test]
fn teacher_forcing_mixes_what_the_model_says() {
    // Own tokens come at once where the model has learned nothing: the loss differs from the forced one.
    let (batch, share) = (batch(&pairs()), |share: f64| {
        let mut step = step_of(small(0.0)).teacher_forcing(move |_| share);
        let losses =
            (1..=5).map(|i| step.train(&super::tests::batch(&pairs()), &progress(i)).map(|report| report.loss));
        losses.collect::<Result<Vec<f64>>>()
    });
    let plain = |mut step: Seq2seqStep<Seq2seq>| {
        (1..=5).map(|i| step.train(&batch, &progress(i)).unwrap().loss).collect::<Vec<f64>>()
    };
    assert_eq!(share(1.0).unwrap(), plain(step_of(small(0.0))));
    assert_ne!(share(0.5).unwrap(), share(1.0).unwrap());
    assert_eq!(share(0.5).unwrap(), share(0.5).unwrap());
    assert!(share(0.0).is_ok());
    let message = share(1.5).unwrap_err().to_string();
    assert_eq!(message, "share of teacher forcing: expected from 0 to 1, got 1.5");
}

fn train(folder: &Path, steps: u64, resume: bool) -> Vec<u8> {
    let sequence = |ids: &Vec<u32>| Sequence::from_ids(ids).unwrap();
    let data = pairs().iter().map(|(source, target)| (sequence(source), sequence(target))).collect();
    let loader = DataLoader::new(VecDataset(data), 2).shuffle(Seed(3));
    let step = step_of(small(0.3)).label_smoothing(0.1).teacher_forcing(|progress| 1.0 - 0.05 * progress.step as f64);
    let trainer = Trainer::new(RunDir::new(folder).unwrap()).steps(steps).with(Checkpoints::every_steps(1));
    trainer.resume(resume).fit(step, loader, None).unwrap();
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let want = train(whole.path(), 7, false);
    assert_ne!(train(parts.path(), 4, false), want);
    assert_eq!(train(parts.path(), 7, true), want);
}

#[test]
fn what_does_not_fit_is_named() {
    fn fails<T>(result: Result<T>, expected: &str) {
        let error = result.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{error}");
    }
    let new = |config| Seq2seq::new(config, ParamStore::new(Seed(1), &Device::Cpu).root());
    fails(new(Seq2seqConfig { hidden_size: 5, ..tiny() }), "hidden_size: expected an even number");
    fails(new(Seq2seqConfig { hidden_size: 0, ..tiny() }), "hidden_size: expected an even number");
    fails(new(Seq2seqConfig { embedding_dim: 0, ..tiny() }), "embedding_dim");
    fails(new(Seq2seqConfig { decoder_layers: 0, ..tiny() }), "num_layers");
    fails(new(Seq2seqConfig { source_vocab_size: 0, ..tiny() }), "num_embeddings");
    fails(new(Seq2seqConfig { eos: 6, ..tiny() }), "eos: expected below target_vocab_size 6, got 6");
    fails(new(Seq2seqConfig { eos: 2, ..tiny() }), "pad, bos and eos: expected three different ids, got 0, 2 and 2");
    fails(new(Seq2seqConfig { dropout: 1.0, ..tiny() }), "dropout probability: expected p in [0, 1), got 1");

    let (model, source) = (new(tiny()).unwrap(), padded(&[&[4, 3], &[5, 3]]));
    let search = SearchConfig::default();
    let beam = |search| model.beam_search(&source, &search);
    fails(beam(SearchConfig { beam_size: 0, ..search.clone() }), "beam_size: expected at least 1, got 0");
    fails(beam(SearchConfig { max_length: 0, ..search.clone() }), "max_length: expected at least 1, got 0");
    fails(beam(SearchConfig { suppress: vec![6], ..search.clone() }), "suppressed id: expected below 6, got 6");
    fails(
        beam(SearchConfig { length_penalty: f64::NAN, ..search.clone() }),
        "length_penalty: expected a finite number",
    );
    let too_long = Padded { lengths: vec![2, 3], ..source.clone() };
    fails(model.greedy(&too_long, &search), "length");
    let few = Padded { lengths: vec![2], ..source.clone() };
    fails(model.greedy(&few, &search), "lengths");
    let ids = |shape: (usize, usize)| Tensor::zeros(shape, DType::U32, &Device::Cpu).unwrap();
    let pass = Pass::eval();
    fails(
        model.forward(&source, &ids((2, 0)), &pass),
        "inputs of the decoder: expected ids (batch, steps), at least one",
    );
    assert!(model.forward(&source, &ids((3, 2)), &pass).is_err());
    assert!(model.greedy(&padded(&[&[6]]), &search).is_err());
    let mut step = step_of(small(0.0));
    let message = "target: expected ids (batch, length), a start and at least one more, got [1, 1]";
    fails(step.train(&(padded(&[&[4]]), padded(&[&[BOS]])), &progress(1)), message);
}
