//! Generation against `transformers`' `generate` on small published models, made by tools/fixtures/hub.py.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use std::path::{Path, PathBuf};

use candle_core::Device;
use glassbox_core::{Result, Sampling, Seed};
use glassbox_transformer::generate::{
    EarlyStopping, Ended, GenerateConfig, Generated, generate, generate_from, stream, stream_from,
};
use glassbox_transformer::hub::{Gpt2, Llama, Marian, Pretrained, T5};
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hub").join(name)
}

/// What `generate` makes of prompts or sources.
type Generate<'a> = &'a dyn Fn(&[Vec<u32>], &GenerateConfig) -> Result<Vec<Vec<Generated>>>;

fn ids(value: &Value) -> Vec<Vec<u32>> {
    let id = |id: &Value| id.as_u64().unwrap() as u32;
    value.as_array().unwrap().iter().map(|row| row.as_array().unwrap().iter().map(id).collect()).collect()
}

fn config(options: &Value) -> GenerateConfig {
    let number = |name: &str| options.get(name).and_then(Value::as_f64);
    let count = |name: &str| options.get(name).and_then(Value::as_u64).map(|count| count as usize);
    let known = [
        "max_new_tokens",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "num_beams",
        "length_penalty",
        "early_stopping",
    ];
    for name in options.as_object().unwrap().keys() {
        assert!(known.contains(&name.as_str()) || name == "num_return_sequences", "{name}");
    }
    GenerateConfig {
        max_new_tokens: count("max_new_tokens").unwrap(),
        repetition_penalty: number("repetition_penalty").unwrap_or(1.0),
        no_repeat_ngram_size: count("no_repeat_ngram_size").unwrap_or(0),
        num_beams: count("num_beams").unwrap_or(1),
        length_penalty: number("length_penalty").unwrap_or(1.0),
        early_stopping: match options.get("early_stopping") {
            Some(Value::Bool(true)) => EarlyStopping::True,
            Some(Value::String(_)) => EarlyStopping::Never,
            _ => EarlyStopping::False,
        },
        ..Default::default()
    }
}

/// Every case of a fixture, with a cache and without one; `prefix` is what a text starts with before its new tokens.
fn check(name: &str, is_alone: bool, run: Generate) {
    let json = std::fs::read_to_string(folder(name).join("generate.json")).unwrap();
    let fixture: Value = serde_json::from_str(&json).unwrap();
    let pad = fixture["pad_token_id"].as_u64().unwrap() as u32;
    let eos = fixture["eos_token_id"].as_u64().unwrap() as u32;
    for case in fixture["cases"].as_array().unwrap() {
        let masks = ids(&case["attention_mask"]);
        let keep = |(ids, mask): (Vec<u32>, &Vec<u32>)| {
            ids.into_iter().zip(mask).filter(|(_, m)| **m == 1).map(|(id, _)| id).collect()
        };
        let prompts: Vec<Vec<u32>> = ids(&case["input_ids"]).into_iter().zip(&masks).map(keep).collect();
        let skip = if is_alone { masks[0].len() } else { 1 };
        let base = config(&case["options"]);
        for use_cache in [true, false] {
            let config = GenerateConfig { use_cache, eos_token_ids: Some(vec![eos]), ..base.clone() };
            let what = format!("{name}, {}, cache {use_cache}", case["name"]);
            let texts = run(&prompts, &config).unwrap();
            let num_return = case["options"].get("num_return_sequences").and_then(Value::as_u64).unwrap_or(1) as usize;
            let found: Vec<&Generated> = texts.iter().flat_map(|texts| &texts[..num_return]).collect();
            let want = ids(&case["sequences"]);
            assert_eq!(found.len(), want.len(), "{what}");
            for (place, (found, want)) in found.iter().zip(&want).enumerate() {
                // After the end `transformers` fills up, with its padding or, where that is the id 0, with the end.
                let want = &want[skip..];
                let (want, filler) =
                    want.split_at(want.iter().position(|&id| id == eos).map_or(want.len(), |at| at + 1));
                assert!(filler.iter().all(|&id| id == pad || id == eos), "{what}, text {place}");
                let mut tokens = found.tokens.clone();
                tokens.extend((found.ended == Ended::Eos).then_some(eos));
                assert_eq!(tokens, want, "{what}, text {place}");
                if let Some(scores) = case.get("scores") {
                    let want = scores[place].as_f64().unwrap();
                    // `transformers` adds them up in f32.
                    let tolerance = 1e-4 * want.abs().max(1.0);
                    assert!(
                        (found.score - want).abs() < tolerance,
                        "{what}, text {place}: score {} for {want}",
                        found.score
                    );
                }
            }
        }
    }
}

#[test]
fn gpt2_writes_what_transformers_writes() {
    let model = Gpt2::from_dir(folder("gpt2"), &Device::Cpu).unwrap();
    check("gpt2", true, &|prompts, config| generate(&model, prompts, config));
}

#[test]
fn llama_writes_what_transformers_writes() {
    let model = Llama::from_dir(folder("llama"), &Device::Cpu).unwrap();
    check("llama", true, &|prompts, config| generate(&model, prompts, config));
}

#[test]
fn t5_writes_what_transformers_writes() {
    let model = T5::from_dir(folder("t5"), &Device::Cpu).unwrap();
    check("t5", false, &|sources, config| generate_from(&model, sources, config));
}

#[test]
fn marian_writes_what_transformers_writes() {
    let model = Marian::from_dir(folder("marian"), &Device::Cpu).unwrap();
    check("marian", false, &|sources, config| generate_from(&model, sources, config));
}

/// With a cache, without one, and token by token.
#[test]
fn drawn_texts_are_the_same_however_they_are_made() {
    let gpt2 = Gpt2::from_dir(folder("gpt2"), &Device::Cpu).unwrap();
    let t5 = T5::from_dir(folder("t5"), &Device::Cpu).unwrap();
    for seed in 0..5 {
        let sampling = Sampling { temperature: 1.3, top_p: Some(0.95), seed: Seed(seed), ..Default::default() };
        let config = GenerateConfig { sampling, max_new_tokens: 20, ..Default::default() };
        let uncached = GenerateConfig { use_cache: false, ..config.clone() };
        let text = generate(&gpt2, &[[5, 6, 7]], &config).unwrap().remove(0).remove(0).tokens;
        assert_eq!(generate(&gpt2, &[[5, 6, 7]], &uncached).unwrap()[0][0].tokens, text);
        assert_eq!(stream(&gpt2, &[5, 6, 7], &config).unwrap().collect::<Result<Vec<_>>>().unwrap(), text);
        // In a batch the first draws what it draws alone.
        assert_eq!(generate(&gpt2, &[&[5, 6, 7][..], &[9, 9, 9, 9, 9]], &config).unwrap()[0][0].tokens, text);
        let text = generate_from(&t5, &[[5, 6, 7]], &config).unwrap().remove(0).remove(0).tokens;
        assert_eq!(stream_from(&t5, &[5, 6, 7], &config).unwrap().collect::<Result<Vec<_>>>().unwrap(), text);
    }
}

#[test]
fn a_prompt_beyond_the_context_is_refused_and_a_text_ends_there() {
    let gpt2 = Gpt2::from_dir(folder("gpt2"), &Device::Cpu).unwrap();
    let config = GenerateConfig { eos_token_ids: Some(vec![]), ..Default::default() };
    let error = generate(&gpt2, &[vec![5; 33]], &config).unwrap_err().to_string();
    assert_eq!(error, "prompt: expected at most 32 tokens, the model's context, got 33");
    assert_eq!(generate(&gpt2, &[vec![5; 30]], &config).unwrap()[0][0].tokens.len(), 3);
    let error = generate(&gpt2, &[[5, 48]], &config).unwrap_err().to_string();
    assert_eq!(error, "token of the prompt: expected an id below vocab_size 48, got 48");
}
