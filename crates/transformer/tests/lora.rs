//! LoRA on published models. What these tests save under the target folder's `tmp/hub`, tools/check_hub.py reads with
//! `peft`.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use glassbox_core::loss::CrossEntropy;
use glassbox_core::optim::AdamW;
use glassbox_core::train::{Progress, Update};
use glassbox_core::{Loss, ParamStore, Pass, Seed, TensorExt};
use glassbox_transformer::hub::{Bert, Gpt2, Llama, Pretrained};
use glassbox_transformer::{Adapter, CausalLm, Lora};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hub").join(name)
}

fn saved(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("hub").join(name)
}

fn ids() -> Tensor {
    Tensor::new(&[[4u32, 9, 16, 25, 36], [5, 10, 17, 26, 37]], &Device::Cpu).unwrap()
}

fn logits(model: &impl CausalLm) -> Tensor {
    model.forward(&ids(), None, None, &Pass::eval()).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_f64().unwrap()
}

/// The first and the last loss of some steps on one batch.
fn train(model: &impl CausalLm, params: &ParamStore) -> (f64, f64) {
    let ids = ids();
    let (inputs, targets) = (ids.narrow(1, 0, 4).unwrap(), ids.narrow(1, 1, 4).unwrap().flatten_all().unwrap());
    let mut update = Update::new(AdamW::new(params, 2e-2).unwrap());
    let losses = (0..20).map(|step| {
        let logits = model.forward(&inputs, None, None, &Pass::train(Seed(step))).unwrap();
        let loss = CrossEntropy::default().forward(&logits.flatten(0, 1).unwrap(), &targets).unwrap();
        let progress = Progress {
            step: step + 1,
            epoch: 1,
            steps_per_epoch: 20,
            total_steps: Some(20),
            last_of_epoch: step == 19,
            seed: Seed(step),
        };
        update.step(&loss, &progress).unwrap().0
    });
    let losses: Vec<f64> = losses.collect();
    (losses[0], *losses.last().unwrap())
}

/// Trains an adapter, keeps it for `peft` with the logits that it must give, reads it again, merges it and takes it away.
fn check<M: Pretrained + CausalLm>(name: &str, lora: &Lora, layers: usize) {
    let model = || M::from_dir(folder(name), &Device::Cpu).unwrap();
    let plain = logits(&model());
    let trained = model();
    let adapter = lora.add_to(trained.params()).unwrap();
    assert_eq!(adapter.layers().count(), layers);
    assert_eq!(largest_difference(&logits(&trained), &plain), 0.0, "B starts as 0");
    let (first, last) = train(&trained, trained.params());
    assert!(last < 0.8 * first, "{name}: {first} to {last}");
    let want = logits(&trained);
    assert!(largest_difference(&want, &plain) > 0.1);

    let place = saved(&format!("{name}_adapter"));
    adapter.save_dir(&place).unwrap();
    candle_core::safetensors::save(
        &[("ids", ids()), ("logits", want.clone())].into(),
        place.join("expected.safetensors"),
    )
    .unwrap();
    // The base is what it was, also as it is saved.
    trained.save_dir(saved(&format!("{name}_base"))).unwrap();
    let base = M::from_dir(saved(&format!("{name}_base")), &Device::Cpu).unwrap();
    assert_eq!(largest_difference(&logits(&base), &plain), 0.0);

    let read = model();
    let adapter = Adapter::from_dir(&place, read.params()).unwrap();
    assert_eq!(largest_difference(&logits(&read), &want), 0.0);
    adapter.merge().unwrap();
    // W + s B A as one product adds in another order.
    assert!(largest_difference(&logits(&read), &want) < 1e-4);
    assert_eq!(read.params().names(), model().params().names());

    Adapter::from_dir(&place, base.params()).unwrap().remove().unwrap();
    assert_eq!(largest_difference(&logits(&base), &plain), 0.0);
}

#[test]
fn trained_saved_read_merged_removed() {
    check::<Llama>("llama", &Lora::on("*_proj", 4), 2 * 7);
    check::<Gpt2>("gpt2", &Lora { alpha: 3.0, ..Lora::on("*.attn.c_*", 3) }, 2 * 2);
}

#[test]
fn dropout_drops_in_training_alone() {
    let model = Llama::from_dir(folder("llama"), &Device::Cpu).unwrap();
    Lora { dropout: 0.5, ..Lora::on("*.v_proj", 2) }.add_to(model.params()).unwrap();
    let b = model.params().get("model.layers.0.self_attn.v_proj.lora_B.weight").unwrap();
    b.set(&b.value().ones_like().unwrap()).unwrap();
    let train = |seed| model.forward(&ids(), None, None, &Pass::train(Seed(seed))).unwrap();
    assert!(largest_difference(&train(1), &train(2)) > 0.0);
    assert_eq!(largest_difference(&logits(&model), &logits(&model)), 0.0);
}

#[test]
fn a_head_is_saved_with_the_adapter() {
    let model = || Bert::from_dir(folder("bert_classification"), &Device::Cpu).unwrap();
    let trained = model();
    let adapter = Lora::on("*.attention.self.*", 2).add_to(trained.params()).unwrap();
    trained.params().unfreeze("classifier.*");
    for name in ["classifier.weight", "bert.encoder.layer.1.attention.self.key.lora_B.weight"] {
        let param = trained.params().get(name).unwrap();
        param.set(&(param.value() + 0.5).unwrap()).unwrap();
    }
    let forward = |model: &Bert| model.forward(&ids(), None, None, &Pass::eval()).unwrap();
    let want = forward(&trained);
    let place = saved("bert_classification_adapter");
    adapter.save_dir(&place).unwrap();
    candle_core::safetensors::save(
        &[("ids", ids()), ("logits", want.clone())].into(),
        place.join("expected.safetensors"),
    )
    .unwrap();
    let read = model();
    Adapter::from_dir(&place, read.params()).unwrap();
    assert_eq!(largest_difference(&forward(&read), &want), 0.0);
}

#[test]
fn wrong_adapters_are_errors() {
    let llama = Llama::from_dir(folder("llama"), &Device::Cpu).unwrap();
    let error = |lora: Lora| lora.add_to(llama.params()).map(drop).unwrap_err().to_string();
    let message = error(Lora::on("*.c_attn", 2));
    assert_eq!(message, "targets: expected patterns of linear layers, got `*.c_attn`, which none matches");
    assert!(error(Lora::on("*.q_proj", 0)).contains("rank"));
    assert!(error(Lora { alpha: 0.0, ..Lora::on("*.q_proj", 2) }).contains("alpha"));
    assert!(error(Lora { dropout: 1.0, ..Lora::on("*.q_proj", 2) }).contains("dropout"));
    assert!(llama.params().num_trainable() > 0, "errors freeze nothing");
    let adapter = Lora::on("*.q_proj", 2).add_to(llama.params()).unwrap();
    assert!(error(Lora::on("*_proj", 2)).contains("expected a layer without a low-rank change"));

    let place = tempfile::tempdir().unwrap();
    adapter.save_dir(place.path()).unwrap();
    let gpt2 = Gpt2::from_dir(folder("gpt2"), &Device::Cpu).unwrap();
    let read = |params: &ParamStore| Adapter::from_dir(place.path(), params).map(drop).unwrap_err().to_string();
    let message = read(gpt2.params());
    assert!(message.contains("the model has no linear layer `model.layers.0.self_attn.q_proj`"), "{message}");
    assert!(gpt2.params().num_trainable() > 0);

    let fresh = Llama::from_dir(folder("llama"), &Device::Cpu).unwrap();
    let config = place.path().join("adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let with = |field: &str| std::fs::write(&config, text.replacen('{', &format!("{{{field},"), 1)).unwrap();
    with("\"use_dora\": true");
    assert!(read(fresh.params()).ends_with("unknown or unsupported: `use_dora` true"), "{}", read(fresh.params()));
    with("\"use_dora\": false, \"rank_pattern\": {}");
    assert!(Adapter::from_dir(place.path(), fresh.params()).is_ok());
    let fresh = Llama::from_dir(folder("llama"), &Device::Cpu).unwrap();
    std::fs::write(&config, text.replace("\"r\": 2", "\"r\": 3")).unwrap();
    assert!(read(fresh.params()).contains("q_proj.lora_A.weight: expected [3, 16], got [2, 16]"));
    std::fs::remove_file(&config).unwrap();
    assert!(read(fresh.params()).contains("adapter_config.json"));
}
