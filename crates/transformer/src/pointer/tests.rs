use glassbox_core::loss::{CrossEntropy, Loss};
use glassbox_core::optim::AdamW;
use glassbox_core::train::Update;
use glassbox_core::{Init, Param, Progress, Seed, testkit};

use super::*;
use crate::generate::{GenerateConfig, generate_from};

fn tensor(ids: &[&[u32]]) -> Tensor {
    Tensor::new(ids.iter().map(|row| row.to_vec()).collect::<Vec<_>>(), &Device::Cpu).unwrap()
}

fn config() -> PointerConfig {
    PointerConfig {
        vocab_size: 8,
        num_copied: 3,
        hidden_size: 16,
        num_heads: 2,
        num_encoder_layers: 1,
        num_decoder_layers: 1,
        intermediate_size: 32,
        max_positions: 12,
        dropout: 0.0,
        ..Default::default()
    }
}

fn model(config: PointerConfig) -> PointerSeq2Seq {
    PointerSeq2Seq::new(config, ParamStore::new(Seed(3), &Device::Cpu).root()).unwrap()
}

/// The head alone, with a text of three words to copy from.
struct HeadAlone {
    head: PointerHead,
    embedding: Param,
    states: Param,
    site: Site,
}

impl Layer for HeadAlone {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            xs.expect_rank(3, "(batch, len, width)")?;
            xs.expect_last_dim(4, "width")?;
            let words = tensor(&[&[1, 6, 6], &[5, 2, 0]]);
            let mask = tensor(&[&[1, 1, 1], &[1, 1, 0]]);
            let copied = Copied { states: &self.states.get(pass), words: &words, mask: Some(&mask) };
            let inputs = (xs.contiguous()? * 0.5)?;
            self.head.forward(&xs.contiguous()?, &inputs, &self.embedding.get(pass), &copied, pass)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

#[test]
fn the_head_keeps_the_contract() {
    testkit::check_layer(
        |vb| {
            let normal = Init::Normal { mean: 0.0, std: 1.0 };
            Ok(HeadAlone {
                embedding: vb.param("embedding", (5, 4), normal)?,
                states: vb.param("states", (2, 3, 4), normal)?,
                site: Site::new(vb.path(), "HeadAlone"),
                head: PointerHead::new(4, 2, vb)?,
            })
        },
        &[2, 3, 4],
    );
}

#[test]
fn it_gives_probabilities_and_padding_has_none() {
    let model = model(config());
    let pass = Pass::eval();
    let source = tensor(&[&[4, 8, 9, 0, 0], &[5, 6, 7, 8, 10]]);
    let mask = tensor(&[&[1, 1, 1, 0, 0], &[1, 1, 1, 1, 1]]);
    let target = tensor(&[&[2, 9, 4], &[2, 8, 10]]);
    let logits = model.forward(&source, Some(&mask), &target, &pass).unwrap();
    assert_eq!(logits.dims(), [2, 3, 11]);
    let probabilities = logits.exp().unwrap().to_vec3::<f32>().unwrap();
    for row in probabilities.iter().flatten() {
        // f32, and 1e-10 for each word.
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
    // 10 is not in the first text; 9 is, at one place.
    assert!(probabilities[0].iter().all(|row| row[10] < 1e-9 && row[9] > 1e-4));
    let alone = model.forward(&tensor(&[&[4, 8, 9]]), None, &tensor(&[&[2, 9, 4]]), &pass).unwrap();
    let difference = (alone.squeeze(0).unwrap() - logits.get(0).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_f64().unwrap() < 1e-4, "{difference}");
}

/// Texts are two words, one of them without a place in the vocabulary; summaries are that word.
#[test]
fn it_learns_to_copy_words_that_it_does_not_know() {
    let params = ParamStore::new(Seed(3), &Device::Cpu);
    let model = PointerSeq2Seq::new(config(), params.root()).unwrap();
    let mut update = Update::new(AdamW::new(&params, 0.01).unwrap());
    let loss = CrossEntropy::default();
    let sources: Vec<Vec<u32>> =
        (0..12).map(|i| if i % 2 == 0 { vec![8, 4 + i % 4] } else { vec![4 + i % 4, 8] }).collect();
    let source = Tensor::new(sources.clone(), &Device::Cpu).unwrap();
    let target = Tensor::new(&[[2u32, 8]; 12], &Device::Cpu).unwrap();
    let labels = Tensor::new(&[[8u32, 3]; 12], &Device::Cpu).unwrap();
    let mut last = f64::NAN;
    for step in 1..=60 {
        let progress = Progress { step, ..progress() };
        let logits = model.forward(&source, None, &target, &Pass::train(Seed(step))).unwrap();
        last = update.step(&loss.forward(&logits, &labels).unwrap(), &progress).unwrap().0;
    }
    assert!(last < 0.05, "{last}");
    for (num_beams, use_cache) in [(1, true), (1, false), (3, true), (3, false)] {
        let config = GenerateConfig { num_beams, use_cache, max_new_tokens: 5, ..Default::default() };
        for texts in generate_from(&model, &sources, &config).unwrap() {
            assert_eq!(texts[0].tokens, [8]);
        }
    }
}

fn progress() -> Progress {
    Progress { step: 1, epoch: 1, steps_per_epoch: 60, total_steps: Some(60), last_of_epoch: false, seed: Seed(1) }
}

#[test]
fn what_does_not_fit_is_named() {
    let new = |config| PointerSeq2Seq::new(config, ParamStore::new(Seed(1), &Device::Cpu).root());
    let message = |config| new(config).err().unwrap().to_string();
    assert_eq!(message(PointerConfig::default()), "vocab_size: expected at least 1, got 0");
    assert_eq!(
        message(PointerConfig { num_heads: 3, ..config() }),
        "hidden_size: expected a multiple of num_heads 3, got 16"
    );
    assert_eq!(message(PointerConfig { vocab_size: 3, ..config() }), "special id: expected below vocab_size 3, got 3");
    let model = model(config());
    let error = |source: &[u32]| model.encode(&tensor(&[source]), None, &Pass::eval()).unwrap_err().to_string();
    assert!(error(&[4, 11]).contains("word id: expected below 11, got 11"), "{}", error(&[4, 11]));
    assert!(error(&[4; 13]).contains("at most 12"), "{}", error(&[4; 13]));
}

#[test]
fn words_beyond_the_places_are_unknown() {
    let (ids, copied) = copied_ids(["a", "b", "c", "a"], |_| None, 10, 2, 1);
    assert_eq!((ids, copied), (vec![10, 11, 1, 10], vec!["a", "b"]));
}
