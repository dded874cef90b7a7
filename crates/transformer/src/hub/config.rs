//! `config.json`, read strictly.

use std::collections::BTreeMap;
use std::path::Path;

use glassbox_core::{Activation, Error, Result, write_atomic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A model's configuration, with the names and default values that `transformers` gives its fields.
pub trait ModelConfig: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// The configuration that `transformers` takes where a `config.json` of this `model_type` says nothing else; none where
    /// this is not a configuration of such a model.
    fn defaults(model_type: &str) -> Option<Self>;

    /// The `model_type` in `config.json`.
    fn model_type(&self) -> &str;

    /// Fields that change the computation, of which only the given values are supported.
    fn fixed() -> Vec<(&'static str, Vec<Value>)> {
        vec![]
    }

    /// Fields of such models that do not change what these models compute.
    fn irrelevant() -> &'static [&'static str] {
        &[]
    }

    /// Names that files of `model_type` give to fields of this configuration: (theirs, ours).
    fn aliases(model_type: &str) -> &'static [(&'static str, &'static str)] {
        let _ = model_type;
        &[]
    }

    /// The same, where a file can say one thing in several ways.
    fn settled(self) -> Self {
        self
    }

    /// Whether the sizes fit together.
    ///
    /// # Errors
    /// Names the field that does not fit.
    fn check(&self) -> Result<()>;
}

/// Fields of any `config.json` that do not change the computation: where the file comes from, how its weights were first
/// drawn, what `transformers` returns beside the output, and defaults of its text generation.
const IRRELEVANT: &[&str] = &[
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cls_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "min_length",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "transformers.js_config",
    "typical_p",
    "use_bfloat16",
    "use_cache",
];

/// Reads `config.json` of `folder`.
pub(super) fn read<C: ModelConfig>(folder: &Path) -> Result<C> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    parse(&text, &path.display().to_string())
}

/// The configuration in the text of a `config.json`; `place` names it in errors.
pub(super) fn parse<C: ModelConfig>(text: &str, place: &str) -> Result<C> {
    let broken = |e: serde_json::Error| Error::format(place, format!("not a configuration: {e}"));
    let fields: Map<String, Value> = serde_json::from_str(text).map_err(broken)?;
    let model_type = fields.get("model_type").and_then(Value::as_str).unwrap_or_default().to_string();
    let model_type = model_type.as_str();
    let defaults = C::defaults(model_type)
        .ok_or_else(|| Error::format(place, format!("`model_type` {model_type:?} is not one of this model")))?;
    let Value::Object(mut merged) = serde_json::to_value(defaults).map_err(broken)? else {
        return Err(Error::format(place, "not a configuration: it has no fields"));
    };
    let fixed = C::fixed();
    let mut refused = vec![];
    for (name, value) in fields {
        let ours =
            C::aliases(model_type).iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| (*ours).to_string());
        if ours.is_some() && value.is_null() {
            continue;
        }
        let name = ours.unwrap_or(name);
        let allowed = fixed.iter().find(|(fixed, _)| *fixed == name).map(|(_, values)| values);
        if let Some(allowed) = allowed {
            if !allowed.contains(&value) {
                let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
                refused.push(format!("`{name}` {value} (supported: {})", allowed.join(", ")));
            }
        } else if merged.contains_key(&name) {
            merged.insert(name, value);
        } else if !IRRELEVANT.contains(&name.as_str()) && !C::irrelevant().contains(&name.as_str()) {
            refused.push(format!("`{name}` {value}"));
        }
    }
    if !refused.is_empty() {
        return Err(Error::format(place, format!("unknown or unsupported: {}", refused.join(", "))));
    }
    let config: C = serde_json::from_value(Value::Object(merged)).map_err(broken)?;
    let config = config.settled();
    config.check().map_err(|e| Error::format(place, e.to_string()))?;
    Ok(config)
}

/// Writes `config.json` into `folder`, for `transformers`' class `architecture`.
pub(super) fn write<C: ModelConfig>(config: &C, architecture: &str, folder: &Path) -> Result<()> {
    let path = folder.join("config.json");
    let broken = |e: serde_json::Error| Error::format(path.display(), e.to_string());
    let defaults = serde_json::to_value(C::defaults(config.model_type())).map_err(broken)?;
    let Value::Object(fields) = serde_json::to_value(config).map_err(broken)? else {
        return Err(Error::format(path.display(), "a configuration without fields"));
    };
    // A null says something only where the default is no null.
    let says = |name: &str, value: &Value| !value.is_null() || defaults.get(name).is_some_and(|value| !value.is_null());
    let mut fields: Map<String, Value> = fields
        .into_iter()
        .filter(|(name, value)| says(name, value))
        .map(|(name, value)| (theirs::<C>(config.model_type(), name), value))
        .collect();
    if let Some(Value::Object(labels)) = fields.get("id2label") {
        let id = |id: &String| id.parse::<u32>().map_or(Value::Null, Value::from);
        let inverse = labels.iter().filter_map(|(i, label)| Some((label.as_str()?.to_string(), id(i)))).collect();
        fields.insert("label2id".to_string(), Value::Object(inverse));
    }
    fields.insert("architectures".to_string(), vec![architecture].into());
    let text = serde_json::to_string_pretty(&fields).map_err(broken)?;
    write_atomic(&path, text.as_bytes())
}

/// The name that a file gives to our field `name`.
fn theirs<C: ModelConfig>(model_type: &str, name: String) -> String {
    let alias = C::aliases(model_type).iter().find(|(_, ours)| *ours == name);
    alias.map_or(name, |(theirs, _)| (*theirs).to_string())
}

/// The names of classes by their numbers, as a `config.json` has them: `id2label`.
pub type Labels = BTreeMap<u32, String>;

/// `count` classes called `LABEL_0`, `LABEL_1`, …, as `transformers` names them.
pub fn labels(count: u32) -> Labels {
    (0..count).map(|i| (i, format!("LABEL_{i}"))).collect()
}

/// Fails unless the classes are numbered from 0 on.
pub(super) fn expect_labels(labels: &Labels) -> Result<()> {
    let in_order = labels.keys().zip(0..).all(|(&label, i)| label == i);
    if in_order && !labels.is_empty() {
        return Ok(());
    }
    Err(Error::invalid("id2label", "one label or more, numbered from 0", format!("{:?}", labels.keys())))
}

/// One token id or several: what ends a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenIds {
    /// One.
    One(u32),
    /// Any of these.
    Several(Vec<u32>),
}

impl TokenIds {
    /// All of them.
    pub fn ids(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Several(ids) => ids,
        }
    }
}

/// The activation that `transformers` calls `name`.
pub(super) fn activation(field: &str, name: &str) -> Result<Activation> {
    match name {
        "relu" => Ok(Activation::Relu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "silu" | "swish" => Ok(Activation::Silu),
        "tanh" => Ok(Activation::Tanh),
        "sigmoid" => Ok(Activation::Sigmoid),
        _ => Err(Error::invalid(field, "relu, gelu, gelu_new, silu, swish, tanh or sigmoid", format!("{name:?}"))),
    }
}

/// Fails where one of these counts is 0.
pub(super) fn expect_counts(counts: &[(&str, usize)]) -> Result<()> {
    match counts.iter().find(|(_, count)| *count == 0) {
        Some((name, _)) => Err(Error::invalid(*name, "1 or more", 0)),
        None => Ok(()),
    }
}

/// Fails where one of these is no probability of dropout.
pub(super) fn expect_dropouts(probabilities: &[(&str, f64)]) -> Result<()> {
    match probabilities.iter().find(|(_, p)| !(0.0..1.0).contains(p)) {
        Some((name, p)) => Err(Error::invalid(*name, "p in [0, 1)", p)),
        None => Ok(()),
    }
}

/// Fails where `heads` does not divide `width`.
pub(super) fn expect_heads(heads_name: &str, heads: usize, width_name: &str, width: usize) -> Result<()> {
    expect_counts(&[(heads_name, heads), (width_name, width)])?;
    if width.is_multiple_of(heads) {
        return Ok(());
    }
    Err(Error::invalid(heads_name, format!("a divisor of {width_name} {width}"), heads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Gpt2Config;

    fn read(text: &str) -> Result<Gpt2Config> {
        parse(text, "config.json")
    }

    #[test]
    fn what_a_file_does_not_say_is_as_transformers_has_it() {
        let config = read(r#"{"model_type": "gpt2", "n_layer": 2, "transformers_version": "4.0"}"#).unwrap();
        assert_eq!((config.n_layer, config.n_head, config.n_embd), (2, 12, 768));
        assert_eq!(config.eos_token_id.unwrap().ids(), [50256]);
    }

    #[test]
    fn everything_unknown_is_named() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        let unknown = r#"{"model_type": "gpt2", "n_layers": 2, "scale_attn_by_inverse_layer_idx": true, "alibi": 1}"#;
        let message = error(unknown);
        assert!(message.starts_with("config.json: unknown or unsupported: "), "{message}");
        for part in ["`n_layers` 2", "`scale_attn_by_inverse_layer_idx` true (supported: false)", "`alibi` 1"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(error(r#"{"model_type": "bert"}"#), "config.json: `model_type` \"bert\" is not one of this model");
        assert!(error("{").starts_with("config.json: not a configuration: "));
        assert!(error(r#"{"model_type": "gpt2", "n_layer": "two"}"#).contains("not a configuration"));
        let message = error(r#"{"model_type": "gpt2", "n_head": 5}"#);
        assert_eq!(message, "config.json: n_head: expected a divisor of n_embd 768, got 5");
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            Gpt2Config { n_layer: 3, eos_token_id: Some(TokenIds::Several(vec![1, 2])), ..Gpt2Config::default() };
        write(&config, "GPT2LMHeadModel", folder.path()).unwrap();
        assert_eq!(super::read::<Gpt2Config>(folder.path()).unwrap(), config);
        let missing = super::read::<Gpt2Config>(&folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("config.json"), "{missing}");
    }

    #[test]
    fn other_names_of_a_field_are_understood_and_kept() {
        use crate::hub::{BertConfig, BertTask, LlamaConfig, MarianConfig};
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"model_type": "distilbert", "dim": 24, "n_heads": 3, "hidden_dim": 7, "seq_classif_dropout": 0.3,
            "architectures": ["DistilBertForTokenClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}}"#;
        let bert: BertConfig = parse(text, "config.json").unwrap();
        assert_eq!((bert.hidden_size, bert.num_attention_heads, bert.intermediate_size), (24, 3, 7));
        assert_eq!((bert.num_hidden_layers, bert.task, bert.id2label.len()), (6, BertTask::TokenClassification, 3));
        write(&bert, "DistilBertForTokenClassification", folder.path()).unwrap();
        let written = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        assert!(written.contains("\"dim\": 24") && !written.contains("hidden_size"), "{written}");
        assert!(written.contains("\"c\": 2"), "{written}");
        assert_eq!(super::read::<BertConfig>(folder.path()).unwrap(), bert);

        let llama = |text: &str| parse::<LlamaConfig>(text, "config.json");
        let scaling = r#"{"type": "linear", "factor": 2.0}"#;
        let old =
            llama(&format!(r#"{{"model_type": "llama", "rope_theta": 5e5, "rope_scaling": {scaling}}}"#)).unwrap();
        let new = r#"{"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}"#;
        assert_eq!(llama(&format!(r#"{{"model_type": "llama", "rope_parameters": {new}}}"#)).unwrap(), old);
        let plain = llama(r#"{"model_type": "llama", "rope_scaling": null}"#).unwrap();
        assert_eq!((plain.rope_theta, plain.rope_parameters), (1e4, None));
        let yarn = llama(r#"{"model_type": "llama", "rope_scaling": {"rope_type": "yarn", "factor": 2.0}}"#);
        assert!(yarn.unwrap_err().to_string().contains("rope_type: expected default, linear or llama3, got \"yarn\""));

        // None, where the default is some.
        let mistral = llama(r#"{"model_type": "mistral", "sliding_window": null}"#).unwrap();
        assert_eq!(mistral.sliding_window, None);
        write(&mistral, "MistralForCausalLM", folder.path()).unwrap();
        assert_eq!(super::read::<LlamaConfig>(folder.path()).unwrap(), mistral);
        assert!(
            llama(r#"{"model_type": "llama", "sliding_window": 4}"#)
                .unwrap_err()
                .to_string()
                .contains("sliding_window")
        );

        let marian = parse::<MarianConfig>(r#"{"model_type": "marian", "normalize_before": true}"#, "config.json");
        assert!(marian.unwrap_err().to_string().ends_with("`normalize_before` true (supported: false)"));
        let task =
            parse::<BertConfig>(r#"{"model_type": "bert", "architectures": ["BertForNextSentencePrediction"]}"#, "c");
        assert!(task.unwrap_err().to_string().contains("BertForNextSentencePrediction"));
    }
}
