//! Published models against `transformers`' outputs, made by tools/fixtures/hub.py; `expected.safetensors` names the
//! versions. What these tests save under the target folder's `tmp/hub`, tools/check_hub.py reads with `transformers`.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Layer, ParamStore, Pass, Result, Seed, TensorExt};
use glassbox_transformer::hub::{
    Bert, BertConfig, BertTask, Gpt2, Gpt2Config, Llama, Marian, Pretrained, T5, Vit, expect_vocab, labels,
};
use glassbox_transformer::{CausalLm, EncoderDecoder};

/// Two layers in f32, on outputs of about 1 to 10, which sum in another order.
const TOLERANCE: f64 = 1e-4;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hub").join(name)
}

/// Where a model is saved for `transformers` to read.
fn saved(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("hub").join(name)
}

type Expected = HashMap<String, Tensor>;

fn expected(name: &str) -> Expected {
    candle_core::safetensors::load(folder(name).join("expected.safetensors"), &Device::Cpu).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_f64().unwrap()
}

fn assert_close(what: &str, got: &Tensor, want: &Tensor) {
    let difference = largest_difference(got, want);
    assert!(difference < TOLERANCE, "{what}: off by {difference}");
}

/// Loads the model, saves it, loads it again, and gives both to `check`.
fn round_trip<M: Pretrained>(name: &str, check: impl Fn(&M)) {
    let model = M::from_dir(folder(name), &Device::Cpu).unwrap();
    check(&model);
    model.save_dir(saved(name)).unwrap();
    check(&M::from_dir(saved(name), &Device::Cpu).unwrap());
}

fn check_causal<M: Pretrained + CausalLm>(name: &str) {
    let tensors = expected(name);
    round_trip(name, |model: &M| {
        let pass = Pass::eval();
        let logits = model.forward(&tensors["ids"], None, None, &pass).unwrap();
        assert_close(name, &logits, &tensors["logits"]);

        let (ids, mask) = (&tensors["padded.ids"], &tensors["padded.mask"]);
        let padded = model.forward(ids, Some(mask), None, &pass).unwrap();
        let is_token = mask.to_dtype(DType::F32).unwrap().unsqueeze(2).unwrap();
        let tokens_only = |xs: &Tensor| xs.broadcast_mul(&is_token).unwrap();
        assert_close(&format!("{name}, padded"), &tokens_only(&padded), &tokens_only(&tensors["padded.logits"]));

        // In pieces through a cache, each with the mask so far.
        let mut cache = model.new_cache();
        let mut parts = vec![];
        for (start, len) in [(0, 5), (5, 1), (6, 1), (7, 2)] {
            let (ids, mask) = (ids.narrow(1, start, len).unwrap(), mask.narrow(1, 0, start + len).unwrap());
            parts.push(model.forward(&ids, Some(&mask), Some(&mut cache), &pass).unwrap());
        }
        assert_eq!(cache.len(), 9);
        let pieces = Tensor::cat(&parts, 1).unwrap();
        assert_close(&format!("{name}, cached"), &tokens_only(&pieces), &tokens_only(&padded));
    });
}

#[test]
fn gpt2() {
    check_causal::<Gpt2>("gpt2");
}

#[test]
fn llama_and_its_like() {
    ["llama", "mistral", "qwen2_sharded", "qwen3"].iter().for_each(|name| check_causal::<Llama>(name));
}

#[test]
fn bert_and_its_like() {
    let names = [
        "bert_embedding",
        "bert_masked_lm",
        "bert_classification",
        "bert_token_classification",
        "roberta_masked_lm",
        "roberta_classification",
        "distilbert_masked_lm",
        "distilbert_classification",
        "distilbert_token_classification",
    ];
    for name in names {
        let tensors = expected(name);
        let mask = &tensors["mask"];
        round_trip(name, |model: &Bert| {
            let output = model.forward(&tensors["ids"], tensors.get("types"), Some(mask), &Pass::eval()).unwrap();
            assert_close(name, &output, &tensors["output"]);
        });
    }
}

fn check_translator<M: Pretrained + EncoderDecoder>(name: &str) {
    let tensors = expected(name);
    let (ids, mask, target) = (&tensors["ids"], &tensors["mask"], &tensors["target"]);
    round_trip(name, |model: &M| {
        let pass = Pass::eval();
        let source = model.encode(ids, Some(mask), &pass).unwrap();
        let logits = model.decode(target, &source, Some(mask), None, &pass).unwrap();
        assert_close(name, &logits, &tensors["logits"]);

        let mut cache = model.new_cache();
        let step = |(start, len): (usize, usize)| {
            let ids = target.narrow(1, start, len).unwrap();
            model.decode(&ids, &source, Some(mask), Some(&mut cache), &pass).unwrap()
        };
        let parts: Vec<Tensor> = [(0, 3), (3, 1), (4, 1), (5, 1)].into_iter().map(step).collect();
        assert_close(&format!("{name}, cached"), &Tensor::cat(&parts, 1).unwrap(), &tensors["logits"]);
    });
}

#[test]
fn t5() {
    check_translator::<T5>("t5");
    check_translator::<T5>("t5_gated");
}

#[test]
fn marian() {
    check_translator::<Marian>("marian");
}

#[test]
fn vit() {
    let tensors = expected("vit");
    round_trip("vit", |model: &Vit| {
        assert_close("vit", &model.forward(&tensors["pixels"], &Pass::eval()).unwrap(), &tensors["output"]);
    });
}

#[test]
fn every_parameter_gets_a_gradient() {
    let every = |what: &str, params: &ParamStore, loss: Result<Tensor>| {
        let grads = loss.unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let without: Vec<String> = params
            .trainable()
            .iter()
            .filter(|p| grads.get(p.var()).is_none_or(|g| g.abs().unwrap().sum_all().unwrap().to_f64().unwrap() == 0.0))
            .map(|p| p.name().to_string())
            .collect();
        assert!(without.is_empty(), "{what}: no gradient at {without:?}");
    };
    let pass = Pass::eval().with_gradients();
    for name in ["gpt2", "llama"] {
        let ids = &expected(name)["ids"];
        let (params, logits) = if name == "gpt2" {
            let model = Gpt2::from_dir(folder(name), &Device::Cpu).unwrap();
            (model.params().clone(), model.forward(ids, None, None, &pass))
        } else {
            let model = Llama::from_dir(folder(name), &Device::Cpu).unwrap();
            (model.params().clone(), model.forward(ids, None, None, &pass))
        };
        // Positions after the text's end have none.
        params.freeze("transformer.wpe.weight");
        every(name, &params, logits);
    }
    let tensors = expected("t5_gated");
    let model = T5::from_dir(folder("t5_gated"), &Device::Cpu).unwrap();
    let source = model.encode(&tensors["ids"], None, &pass).unwrap();
    every("t5_gated", model.params(), model.decode(&tensors["target"], &source, None, None, &pass));
    let model = Vit::from_dir(folder("vit"), &Device::Cpu).unwrap();
    every("vit", model.params(), model.forward(&expected("vit")["pixels"], &pass));
}

#[test]
fn a_base_model_takes_a_new_head() {
    let three = |config: &mut BertConfig| {
        config.task = BertTask::Classification;
        config.id2label = labels(3);
    };
    let model = Bert::from_dir_with_new_head(folder("bert_masked_lm"), three, Seed(1), &Device::Cpu).unwrap();
    let tensors = expected("bert_masked_lm");
    let logits = model.forward(&tensors["ids"], None, Some(&tensors["mask"]), &Pass::eval()).unwrap();
    assert_eq!(logits.dims(), [2, 3]);
    // Everything below the head is the file's.
    let other = Bert::from_dir(folder("bert_masked_lm"), &Device::Cpu).unwrap();
    let word = |model: &Bert| model.params().get("bert.encoder.layer.1.output.dense.weight").unwrap().value();
    assert_eq!(largest_difference(&word(&model), &word(&other)), 0.0);
    // Another number of classes makes another head of the file's own task.
    let five = |config: &mut BertConfig| config.id2label = labels(5);
    let model = Bert::from_dir_with_new_head(folder("roberta_classification"), five, Seed(1), &Device::Cpu).unwrap();
    assert_eq!(model.params().get("classifier.out_proj.weight").unwrap().shape().dims(), [5, 16]);
    let without = Bert::from_dir(folder("bert_embedding"), &Device::Cpu).map(drop);
    assert!(without.is_ok());
}

#[test]
fn half_precision_is_near() {
    let tensors = expected("llama");
    let model = Llama::from_dir_as(folder("llama"), DType::BF16, &Device::Cpu).unwrap();
    let logits = model.forward(&tensors["ids"], None, None, &Pass::eval()).unwrap().to_dtype(DType::F32).unwrap();
    let (off, scale) =
        (largest_difference(&logits, &tensors["logits"]), tensors["logits"].abs().unwrap().max_all().unwrap());
    // 8 bits of mantissa through two layers.
    assert!(off < 0.1 * scale.to_f64().unwrap(), "off by {off} of {scale}");
}

/// A copy of a fixture's folder that can be broken.
fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder(name)).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    copy
}

fn error<M: Pretrained>(folder: &Path) -> String {
    M::from_dir(folder, &Device::Cpu).map(drop).unwrap_err().to_string()
}

#[test]
fn a_missing_file_is_named() {
    let broken = copy("gpt2");
    std::fs::remove_file(broken.path().join("model.safetensors")).unwrap();
    let message = error::<Gpt2>(broken.path());
    assert!(
        message.ends_with("neither model.safetensors nor model.safetensors.index.json is in this folder"),
        "{message}"
    );
    std::fs::remove_file(broken.path().join("config.json")).unwrap();
    assert!(error::<Gpt2>(broken.path()).contains("config.json"));
    assert!(error::<Gpt2>(&broken.path().join("nowhere")).contains("nowhere"));
}

#[test]
fn a_missing_shard_is_named() {
    let broken = copy("qwen2_sharded");
    let index = broken.path().join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    let map: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (name, shard) = map["weight_map"].as_object().unwrap().iter().next().unwrap();
    let shard = shard.as_str().unwrap();
    std::fs::write(&index, text.replace(name, "model.unheard_of")).unwrap();
    let message = error::<Llama>(broken.path());
    assert!(message.contains(&format!("{shard}: `model.unheard_of` is not in this shard")), "{message}");
    std::fs::write(&index, text.replace(shard, "../elsewhere.safetensors")).unwrap();
    let message = error::<Llama>(broken.path());
    assert!(message.ends_with("`../elsewhere.safetensors` is not the name of a file in this folder"), "{message}");
    std::fs::write(&index, &text).unwrap();
    std::fs::remove_file(broken.path().join(shard)).unwrap();
    let message = error::<Llama>(broken.path());
    assert!(message.contains("missing shards: ") && message.ends_with(shard), "{message}");
    std::fs::write(&index, "{}").unwrap();
    assert!(error::<Llama>(broken.path()).contains("not an index of shards"));
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let broken = copy("gpt2");
    let cut = broken.path().join("model.safetensors");
    let whole = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 4]).unwrap();
    assert!(error::<Gpt2>(broken.path()).contains("model.safetensors: not a whole safetensors file"));
    std::fs::write(&cut, &whole).unwrap();
    let config = broken.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"vocab_size\": 48", "\"vocab_size\": 49")).unwrap();
    let message = error::<Gpt2>(broken.path());
    assert!(message.contains("transformer.wte.weight is [48, 16], expected [49, 16]"), "{message}");
    std::fs::write(&config, text.replace("\"n_layer\": 2", "\"n_layer\": 3")).unwrap();
    let message = error::<Gpt2>(broken.path());
    assert!(
        message.contains("missing transformer.h.2.") && message.contains("transformer.h.2.ln_1.weight"),
        "{message}"
    );
    std::fs::write(&config, text.replace("\"n_layer\": 2", "\"n_layer\": 1")).unwrap();
    let message = error::<Gpt2>(broken.path());
    assert!(message.contains("unexpected transformer.h.1."), "{message}");
}

#[test]
fn a_tokenizer_of_more_words_is_an_error() {
    assert!(expect_vocab(48, 48).is_ok());
    let message = expect_vocab(50, 48).unwrap_err().to_string();
    assert_eq!(message, "tokenizer and model: expected ids below the model's vocab_size 48, got 50");
}

#[test]
fn wrong_inputs_are_errors() {
    let gpt2 = Gpt2::from_dir(folder("gpt2"), &Device::Cpu).unwrap();
    let ids = |rows: usize, len: usize, id: u32| Tensor::full(id, (rows, len), &Device::Cpu).unwrap();
    let pass = Pass::eval();
    let run =
        |ids: &Tensor, mask: Option<&Tensor>| gpt2.forward(ids, mask, None, &pass).map(drop).unwrap_err().to_string();
    assert!(run(&ids(1, 3, 48), None).contains("48"), "{}", run(&ids(1, 3, 48), None));
    assert_eq!(run(&ids(1, 33, 5), None), "token ids: expected at most 32, the model's positions, got 33");
    assert!(run(&ids(1, 0, 5), None).contains("token ids"));
    assert!(run(&Tensor::new(&[1u32], &Device::Cpu).unwrap(), None).contains("(batch, len)"));
    assert!(run(&ids(1, 3, 5), Some(&ids(1, 4, 1))).contains("attention mask: expected (1, 3)"));
    let llama = Llama::from_dir(folder("llama"), &Device::Cpu).unwrap();
    let mut cache = glassbox_transformer::Cache::clone(&llama.new_cache());
    assert!(llama.forward(&ids(1, 60, 5), None, Some(&mut cache), &pass).is_ok());
    let message = llama.forward(&ids(1, 5, 5), None, Some(&mut cache), &pass).unwrap_err().to_string();
    assert!(message.contains("at most 64, the model's positions, got 65"), "{message}");

    let marian = Marian::from_dir(folder("marian"), &Device::Cpu).unwrap();
    let source = marian.encode(&ids(2, 4, 5), None, &pass).unwrap();
    assert!(marian.decode(&ids(1, 2, 5), &source, None, None, &pass).unwrap_err().to_string().contains("source"));
    assert!(marian.decode(&ids(2, 2, 5), &source, Some(&ids(2, 5, 1)), None, &pass).is_err());
    let bert = Bert::from_dir(folder("distilbert_masked_lm"), &Device::Cpu).unwrap();
    let message = bert.forward(&ids(1, 3, 5), Some(&ids(1, 3, 0)), None, &pass).unwrap_err().to_string();
    assert!(message.contains("token types: expected none"), "{message}");
    let roberta = Bert::from_dir(folder("roberta_masked_lm"), &Device::Cpu).unwrap();
    assert!(roberta.forward(&ids(1, 18, 5), None, None, &pass).is_ok());
    assert!(roberta.forward(&ids(1, 19, 5), None, None, &pass).is_err(), "two of 20 positions are no token's");
    let vit = Vit::from_dir(folder("vit"), &Device::Cpu).unwrap();
    let square = Tensor::zeros((1, 2, 12, 8), DType::F32, &Device::Cpu).unwrap();
    let message = vit.forward(&square, &pass).unwrap_err().to_string();
    assert!(message.contains("images (batch, 2, 8, 12), got [1, 2, 12, 8]"), "{message}");
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let new = |config: Gpt2Config| Gpt2::new(config, ParamStore::new(Seed(1), &Device::Cpu).root()).map(drop);
    assert!(new(Gpt2Config { n_head: 5, ..Gpt2Config::default() }).is_err());
    assert!(new(Gpt2Config { n_layer: 0, ..Gpt2Config::default() }).is_err());
    assert!(new(Gpt2Config { resid_pdrop: 1.0, ..Gpt2Config::default() }).is_err());
    assert!(new(Gpt2Config { activation_function: "gelo".to_string(), ..Gpt2Config::default() }).is_err());
}
