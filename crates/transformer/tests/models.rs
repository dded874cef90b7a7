//! What `Gpt` and `Seq2seqTransformer` promise.
#![allow(clippy::unwrap_used)] // The lint's exception for tests covers functions marked as tests, not their helpers.

use glassbox_core::candle_core::{DType, Device, Tensor};
use glassbox_core::dataset::{DataLoader, Padded, Sequence, VecDataset};
use glassbox_core::optim::AdamW;
use glassbox_core::testkit::LayerCheck;
use glassbox_core::train::callbacks::Checkpoints;
use glassbox_core::train::{Seq2seqModel, Seq2seqStep};
use glassbox_core::{Layer, ParamStore, Pass, Result, RunDir, Seed, TensorExt, Trainer};
use glassbox_transformer::generate::{GenerateConfig, generate_from};
use glassbox_transformer::{
    CausalLm, EncoderDecoder, FeedForwardKind, Gpt, GptConfig, NormKind, NormPlace, Positions, Seq2seqTransformer,
    Seq2seqTransformerConfig, TransformerConfig,
};

const VOCAB_SIZE: usize = 6;

fn layer() -> TransformerConfig {
    TransformerConfig { d_model: 8, num_heads: 2, feed_forward_size: Some(6), ..Default::default() }
}

fn gpt(positions: Positions, layer: TransformerConfig) -> GptConfig {
    GptConfig { vocab_size: VOCAB_SIZE, num_layers: 2, positions, max_positions: 12, layer, ..Default::default() }
}

/// Every option at least once.
fn gpts() -> Vec<GptConfig> {
    let grouped = TransformerConfig { num_kv_heads: Some(1), qk_norm: true, bias: false, ..layer() };
    let gated = TransformerConfig { feed_forward: FeedForwardKind::SwiGlu, norm: NormKind::RmsNorm, ..grouped };
    let post = TransformerConfig { norm_place: NormPlace::Post, feed_forward: FeedForwardKind::Relu, ..layer() };
    let windowed = TransformerConfig { window: Some(2), feed_forward: FeedForwardKind::GeGlu, ..layer() };
    vec![
        gpt(Positions::Learned, layer()),
        GptConfig { tie_weights: false, ..gpt(Positions::Rotary, gated) },
        gpt(Positions::Sinusoidal, post),
        gpt(Positions::Alibi, layer()),
        gpt(Positions::None, windowed),
    ]
}

fn store() -> ParamStore {
    ParamStore::new(Seed(1), &Device::Cpu)
}

fn ids(rows: &[&[u32]]) -> Tensor {
    Tensor::cat(&rows.iter().map(|row| Tensor::new(vec![row.to_vec()], &Device::Cpu).unwrap()).collect::<Vec<_>>(), 0)
        .unwrap()
}

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in got.to_f64_vec().unwrap().iter().zip(want.to_f64_vec().unwrap()) {
        assert!((got - want).abs() <= tolerance, "expected {want}, got {got}");
    }
}

#[test]
fn gpt_keeps_the_contract_of_layers() {
    for config in gpts() {
        LayerCheck::of_ids(&[2, 4], VOCAB_SIZE as u32).run(|vb| Gpt::new(config.clone(), vb));
    }
}

#[test]
fn with_a_cache_and_with_padding_the_logits_are_the_same() {
    for config in gpts() {
        let model = Gpt::new(config, store().root()).unwrap();
        let (ids, pass) = (ids(&[&[1, 4, 2, 5, 0], &[3, 3, 0, 1, 2]]), Pass::eval());
        let whole = Layer::forward(&model, &ids, &pass).unwrap();
        let mut cache = model.new_cache();
        let first = CausalLm::forward(&model, &ids.narrow(1, 0, 2).unwrap(), None, Some(&mut cache), &pass).unwrap();
        let mut parts = vec![first];
        for at in 2..5 {
            let token = ids.narrow(1, at, 1).unwrap();
            parts.push(CausalLm::forward(&model, &token, None, Some(&mut cache), &pass).unwrap());
        }
        // Rounding of f32 in sums of few products of numbers about 1.
        assert_close(&Tensor::cat(&parts, 1).unwrap(), &whole, 1e-5);

        let padded = Tensor::cat(&[&ids.narrow(1, 0, 3).unwrap().zeros_like().unwrap(), &ids], 1).unwrap();
        let mask = Tensor::new(&[[0u8, 0, 0, 1, 1, 1, 1, 1]; 2], &Device::Cpu).unwrap();
        let logits = CausalLm::forward(&model, &padded, Some(&mask), None, &pass).unwrap();
        assert_close(&logits.narrow(1, 3, 5).unwrap(), &whole, 1e-5);
    }
}

#[test]
fn no_token_sees_those_after_it() {
    for config in gpts() {
        let model = Gpt::new(config, store().root()).unwrap();
        let logits =
            |rows: &[&[u32]]| Layer::forward(&model, &ids(rows), &Pass::eval()).unwrap().narrow(1, 0, 2).unwrap();
        assert_close(&logits(&[&[1, 2, 3, 4]]), &logits(&[&[1, 2, 5, 0]]), 0.0);
    }
}

fn seq2seqs() -> [Seq2seqTransformerConfig; 2] {
    let sizes = Seq2seqTransformerConfig {
        encoder_layers: 2,
        decoder_layers: 1,
        layer: layer(),
        ..Seq2seqTransformerConfig::new(6, 6)
    };
    let post = TransformerConfig { norm_place: NormPlace::Post, ..layer() };
    [
        Seq2seqTransformerConfig { share_embeddings: true, ..sizes.clone() },
        Seq2seqTransformerConfig { tie_weights: false, layer: post, ..sizes },
    ]
}

struct Translating(Seq2seqTransformer);

impl Layer for Translating {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let inputs = Tensor::new(&[[2u32, 4, 5], [2, 5, 1]], &Device::Cpu)?;
        self.0.logits(&Padded { values: xs.clone(), lengths: vec![4, 2] }, &inputs, pass)
    }
}

#[test]
fn seq2seq_keeps_the_contract_of_layers() {
    for config in seq2seqs() {
        LayerCheck::of_ids(&[2, 4], 6).run(|vb| Ok(Translating(Seq2seqTransformer::new(config.clone(), vb)?)));
    }
}

#[test]
fn the_padding_of_sources_changes_nothing() {
    let model = Seq2seqTransformer::new(seq2seqs()[0].clone(), store().root()).unwrap();
    let (inputs, pass) = (ids(&[&[2, 4, 5]]), Pass::eval());
    let short = model.logits(&Padded { values: ids(&[&[4, 5, 3]]), lengths: vec![3] }, &inputs, &pass).unwrap();
    let padded = model.logits(&Padded { values: ids(&[&[4, 5, 3, 0, 0]]), lengths: vec![3] }, &inputs, &pass).unwrap();
    assert_close(&padded, &short, 1e-5);
}

/// Sources of the ids 4 and 5, whose target is the source backwards.
fn reversals() -> Vec<(Vec<u32>, Vec<u32>)> {
    let bits = |n: u32| (0..3).map(|i| 4 + (n >> i) % 2).collect::<Vec<u32>>();
    (0..8)
        .map(bits)
        .map(|source| {
            let backwards = source.iter().rev().copied();
            let target = [2].into_iter().chain(backwards).chain([3]).collect();
            ([source.clone(), vec![3]].concat(), target)
        })
        .collect()
}

fn train(folder: &std::path::Path, steps: u64, resume: bool) -> Vec<u8> {
    let sequence = |ids: &Vec<u32>| Sequence::from_ids(ids).unwrap();
    let data = reversals().iter().map(|(source, target)| (sequence(source), sequence(target))).collect();
    let loader = DataLoader::new(VecDataset(data), 4).shuffle(Seed(3));
    let params = store();
    let layer = TransformerConfig { d_model: 16, dropout: if steps < 100 { 0.1 } else { 0.0 }, ..layer() };
    let config =
        Seq2seqTransformerConfig { encoder_layers: 1, decoder_layers: 1, layer, ..Seq2seqTransformerConfig::new(6, 6) };
    let model = Seq2seqTransformer::new(config, params.root()).unwrap();
    let step = Seq2seqStep::new(model, AdamW::new(&params, 1e-2).unwrap());
    let trainer =
        Trainer::new(RunDir::new(folder).unwrap()).steps(steps).with(Checkpoints::every_steps(1.max(steps / 7)));
    let fitted = trainer.resume(resume).fit(step, loader, None).unwrap();
    if steps >= 100 {
        let sources: Vec<Vec<u32>> = reversals().into_iter().map(|(source, _)| source).collect();
        for num_beams in [1, 3] {
            let config = GenerateConfig { num_beams, max_new_tokens: 6, ..Default::default() };
            let written = generate_from(fitted.step.model(), &sources, &config).unwrap();
            for (texts, (_, target)) in written.iter().zip(reversals()) {
                assert_eq!(texts[0].tokens, target[1..4], "with {num_beams} beams");
            }
        }
    }
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

#[test]
fn it_learns_to_reverse_and_writes_what_it_learned() {
    train(tempfile::tempdir().unwrap().path(), 200, false);
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
    let make = |config| Gpt::new(config, store().root());
    let with = |layer| make(gpt(Positions::Learned, layer));
    fails(
        with(TransformerConfig { num_heads: 3, ..layer() }),
        "d_model: expected a multiple of num_heads 3, above 0, got 8",
    );
    fails(with(TransformerConfig { num_kv_heads: Some(0), ..layer() }), "num_kv_heads");
    fails(with(TransformerConfig { dropout: 1.0, ..layer() }), "dropout");
    fails(with(TransformerConfig { window: Some(0), ..layer() }), "window");
    fails(make(GptConfig { vocab_size: 0, ..GptConfig::default() }), "vocab_size");
    fails(make(GptConfig { eos_token_ids: vec![6], ..gpt(Positions::None, layer()) }), "eos_token_ids");
    let model = with(layer()).unwrap();
    let forward = |ids: &Tensor| Layer::forward(&model, ids, &Pass::eval());
    fails(forward(&ids(&[&[0; 13]])), "at most 12, the model's positions, got 13");
    fails(forward(&Tensor::zeros((1, 0), DType::U32, &Device::Cpu).unwrap()), "token ids");
    fails(forward(&ids(&[&[6]])), "6");

    let seq2seq = |config| Seq2seqTransformer::new(config, store().root());
    let [config, _] = seq2seqs();
    fails(
        seq2seq(Seq2seqTransformerConfig { eos: 9, ..config.clone() }),
        "eos: expected below target_vocab_size 6, got 9",
    );
    fails(seq2seq(Seq2seqTransformerConfig { bos: 3, ..config.clone() }), "three different ids");
    fails(seq2seq(Seq2seqTransformerConfig { source_vocab_size: 7, ..config.clone() }), "as embeddings are shared");
    fails(seq2seq(Seq2seqTransformerConfig { decoder_layers: 0, ..config.clone() }), "decoder_layers");
    let model = seq2seq(config).unwrap();
    let source = Tensor::zeros((1, 3, 7), DType::F32, &Device::Cpu).unwrap();
    fails(model.decode(&ids(&[&[2]]), &source, None, None, &Pass::eval()), "source");
}
