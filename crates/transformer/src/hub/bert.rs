//! BERT, RoBERTa and DistilBERT.

use candle_core::{DType, Tensor};
use glassbox_core::{
    Activation, Embedding, Error, Init, Layer, Linear, Param, ParamStore, Pass, Result, Site, TensorExt, VarBuilder,
};
use glassbox_kernels::graph::add;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blocks::{
    Block, FeedForward, Heads, Norm, activated, expect_ids, expect_mask, layer_norm, positions, tied_logits,
};
use super::config::{
    Labels, ModelConfig, TokenIds, activation, expect_counts, expect_dropouts, expect_heads, expect_labels, labels,
};
use super::{Layout, Pretrained, blocks, drop_out, weights};
use crate::attention::{Attention, Context};

/// What a [`Bert`] gives: in a `config.json` the end of its `architectures`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum BertTask {
    /// The vectors of the tokens, (batch, len, hidden_size), for [`mean_pooling`] or any head.
    #[default]
    Embedding,
    /// The logits of the word at each place, (batch, len, vocab_size).
    MaskedLm,
    /// The logits of the text's class, (batch, labels).
    Classification,
    /// The logits of each token's class, (batch, len, labels).
    TokenClassification,
}

impl BertTask {
    /// What `transformers`' class is called after the model's name.
    fn suffix(self) -> &'static str {
        match self {
            Self::Embedding => "Model",
            Self::MaskedLm => "ForMaskedLM",
            Self::Classification => "ForSequenceClassification",
            Self::TokenClassification => "ForTokenClassification",
        }
    }
}

impl From<BertTask> for Vec<String> {
    fn from(task: BertTask) -> Self {
        vec![task.suffix().to_string()]
    }
}

impl TryFrom<Vec<String>> for BertTask {
    type Error = String;

    fn try_from(architectures: Vec<String>) -> std::result::Result<Self, String> {
        let [architecture] = architectures.as_slice() else {
            return Err(format!("`architectures` {architectures:?}, where one is needed"));
        };
        // Pretraining's second task, whether two texts follow each other, is left out.
        let name = architecture.replace("ForPreTraining", "ForMaskedLM");
        let all = [Self::MaskedLm, Self::Classification, Self::TokenClassification, Self::Embedding];
        let task = all.into_iter().find(|task| name.ends_with(task.suffix()));
        task.ok_or_else(|| format!("unsupported: `architectures` {architectures:?}"))
    }
}

/// The fields of the `config.json` of a BERT, RoBERTa or DistilBERT, which `transformers` documents, by BERT's names; the
/// default is BERT's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BertConfig {
    pub model_type: String,
    #[serde(rename = "architectures")]
    pub task: BertTask,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: String,
    pub hidden_dropout_prob: f64,
    pub attention_probs_dropout_prob: f64,
    /// Of the head; `hidden_dropout_prob` where not given.
    pub classifier_dropout: Option<f64>,
    /// RoBERTa's positions start after `pad_token_id`.
    pub max_position_embeddings: usize,
    /// DistilBERT has no types.
    pub type_vocab_size: usize,
    pub layer_norm_eps: f64,
    pub pad_token_id: Option<u32>,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<TokenIds>,
    /// The classes of a classification.
    pub id2label: Labels,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            model_type: "bert".to_string(),
            task: BertTask::default(),
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_string(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            bos_token_id: None,
            eos_token_id: None,
            id2label: labels(2),
        }
    }
}

impl BertConfig {
    fn is_roberta(&self) -> bool {
        self.model_type == "roberta"
    }

    fn is_distilled(&self) -> bool {
        self.model_type == "distilbert"
    }

    /// The position of a text's first token.
    fn first_position(&self) -> usize {
        if self.is_roberta() { self.pad_token_id.map_or(0, |pad| pad as usize + 1) } else { 0 }
    }
}

impl ModelConfig for BertConfig {
    fn defaults(model_type: &str) -> Option<Self> {
        let bert = Self { model_type: model_type.to_string(), ..Self::default() };
        match model_type {
            "bert" => Some(bert),
            "roberta" => Some(Self {
                vocab_size: 50265,
                pad_token_id: Some(1),
                bos_token_id: Some(0),
                eos_token_id: Some(TokenIds::One(2)),
                ..bert
            }),
            "distilbert" => {
                Some(Self { num_hidden_layers: 6, type_vocab_size: 0, classifier_dropout: Some(0.2), ..bert })
            }
            _ => None,
        }
    }

    fn model_type(&self) -> &str {
        &self.model_type
    }

    fn fixed() -> Vec<(&'static str, Vec<Value>)> {
        vec![
            ("position_embedding_type", vec![json!("absolute")]),
            ("is_decoder", vec![json!(false)]),
            ("is_encoder_decoder", vec![json!(false)]),
            ("add_cross_attention", vec![json!(false)]),
            ("tie_word_embeddings", vec![json!(true)]),
            ("pruned_heads", vec![json!({})]),
        ]
    }

    fn irrelevant() -> &'static [&'static str] {
        &[
            // How DistilBERT's positions were first made; files have them.
            "sinusoidal_pos_embds",
            "qa_dropout",
            "tie_weights_",
            // Left over from TensorFlow's configurations: the pooler's sizes are the model's.
            "directionality",
            "pooler_fc_size",
            "pooler_num_attention_heads",
            "pooler_num_fc_layers",
            "pooler_size_per_head",
            "pooler_type",
        ]
    }

    fn aliases(model_type: &str) -> &'static [(&'static str, &'static str)] {
        if model_type != "distilbert" {
            return &[];
        }
        &[
            ("dim", "hidden_size"),
            ("hidden_dim", "intermediate_size"),
            ("n_layers", "num_hidden_layers"),
            ("n_heads", "num_attention_heads"),
            ("activation", "hidden_act"),
            ("dropout", "hidden_dropout_prob"),
            ("attention_dropout", "attention_probs_dropout_prob"),
            ("seq_classif_dropout", "classifier_dropout"),
        ]
    }

    fn check(&self) -> Result<()> {
        expect_counts(&[
            ("vocab_size", self.vocab_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("intermediate_size", self.intermediate_size),
        ])?;
        expect_heads("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)?;
        expect_dropouts(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])?;
        if self.max_position_embeddings <= self.first_position() {
            let expected = format!("more than the {} that no token has", self.first_position());
            return Err(Error::invalid("max_position_embeddings", expected, self.max_position_embeddings));
        }
        expect_labels(&self.id2label)?;
        activation("hidden_act", &self.hidden_act).map(drop)
    }
}

/// BERT (Devlin et al. 2018, arXiv 1810.04805), RoBERTa (Liu et al. 2019, arXiv 1907.11692) and DistilBERT (Sanh et al.
/// 2019, arXiv 1910.01108), with the head of a [`BertTask`]: `transformers`' classes of the same names.
pub struct Bert {
    config: BertConfig,
    words: Embedding,
    positions: Embedding,
    types: Option<Embedding>,
    norm: Norm,
    blocks: Vec<Block>,
    head: Head,
    site: Site,
    params: ParamStore,
}

enum Head {
    None,
    Words {
        dense: Linear,
        activation: Activation,
        norm: Norm,
        bias: Param,
    },
    /// Of the text by its first token, through a layer between.
    Text {
        dense: Linear,
        activation: Activation,
        /// RoBERTa's drops before this layer too.
        drops_before: bool,
        classifier: Linear,
    },
    Tokens(Linear),
}

impl Head {
    fn new(config: &BertConfig, base: &VarBuilder, vb: &VarBuilder) -> Result<Self> {
        let (width, labels) = (config.hidden_size, config.id2label.len());
        let (roberta, distilled) = (config.is_roberta(), config.is_distilled());
        let dense = |vb: VarBuilder| Linear::new(width, width, vb);
        match config.task {
            BertTask::Embedding => Ok(Self::None),
            BertTask::TokenClassification => Ok(Self::Tokens(Linear::new(width, labels, vb.pp("classifier"))?)),
            BertTask::Classification => {
                let (layer, output) = match (roberta, distilled) {
                    (true, _) => (vb.pp("classifier.dense"), vb.pp("classifier.out_proj")),
                    (_, true) => (vb.pp("pre_classifier"), vb.pp("classifier")),
                    _ => (base.pp("pooler.dense"), vb.pp("classifier")),
                };
                let activation = if distilled { Activation::Relu } else { Activation::Tanh };
                let classifier = Linear::new(width, labels, output)?;
                Ok(Self::Text { dense: dense(layer)?, activation, drops_before: roberta, classifier })
            }
            BertTask::MaskedLm => {
                let [layer, norm, bias] = match (roberta, distilled) {
                    (true, _) => ["lm_head.dense", "lm_head.layer_norm", "lm_head"],
                    (_, true) => ["vocab_transform", "vocab_layer_norm", "vocab_projector"],
                    _ => ["cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions"],
                };
                let activation = if roberta { Activation::Gelu } else { activation("hidden_act", &config.hidden_act)? };
                Ok(Self::Words {
                    dense: dense(vb.pp(layer))?,
                    activation,
                    norm: layer_norm(width, config.layer_norm_eps, vb.pp(norm))?,
                    bias: vb.pp(bias).param("bias", config.vocab_size, Init::Zeros)?,
                })
            }
        }
    }

    fn forward(&self, xs: Tensor, words: &Embedding, dropout: f64, pass: &Pass) -> Result<Tensor> {
        match self {
            Self::None => Ok(xs),
            Self::Tokens(classifier) => classifier.forward(&drop_out(xs, dropout, pass)?, pass),
            Self::Words { dense, activation, norm, bias } => {
                let ys = norm.forward(&activated(dense, *activation, &xs, pass)?, pass)?;
                tied_logits(&ys, words, Some(bias), pass)
            }
            Self::Text { dense, activation, drops_before, classifier } => {
                let first = xs.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
                let first = if *drops_before { drop_out(first, dropout, pass)? } else { first };
                let ys = activated(dense, *activation, &first, pass)?;
                classifier.forward(&drop_out(ys, dropout, pass)?, pass)
            }
        }
    }
}

/// Where the parts of a block stand.
struct Names {
    attention: &'static str,
    projections: [&'static str; 4],
    attention_norm: &'static str,
    layers: [&'static str; 2],
    norm: &'static str,
}

const BERT: Names = Names {
    attention: "attention",
    projections: ["self.query", "self.key", "self.value", "output.dense"],
    attention_norm: "attention.output.LayerNorm",
    layers: ["intermediate.dense", "output.dense"],
    norm: "output.LayerNorm",
};

const DISTILBERT: Names = Names {
    attention: "attention",
    projections: ["q_lin", "k_lin", "v_lin", "out_lin"],
    attention_norm: "sa_layer_norm",
    layers: ["ffn.lin1", "ffn.lin2"],
    norm: "output_layer_norm",
};

fn block(config: &BertConfig, vb: &VarBuilder) -> Result<Block> {
    let names = if config.is_distilled() { DISTILBERT } else { BERT };
    let (width, dropout) = (config.hidden_size, config.hidden_dropout_prob);
    let heads = Heads::of(width, config.num_attention_heads);
    let attention = heads.attention(names.projections, [true; 2], &vb.pp(names.attention))?;
    let activation = activation("hidden_act", &config.hidden_act)?;
    Ok(Block {
        attention: Attention { dropout: config.attention_probs_dropout_prob, ..attention },
        attention_norm: layer_norm(width, config.layer_norm_eps, vb.pp(names.attention_norm))?,
        to_source: None,
        mlp: FeedForward::plain(width, config.intermediate_size, names.layers, activation, vb)?,
        mlp_norm: layer_norm(width, config.layer_norm_eps, vb.pp(names.norm))?,
        norm_first: false,
        dropouts: [if config.is_distilled() { 0.0 } else { dropout }, dropout],
        site: Site::new(vb.path(), "BertBlock"),
    })
}

impl Pretrained for Bert {
    type Config = BertConfig;

    fn new(config: BertConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let width = config.hidden_size;
        let base = vb.pp(&config.model_type);
        let at = base.pp("embeddings");
        let embedding = |count: usize, name: &str| Embedding::new(count, width, at.pp(name));
        let has_types = config.type_vocab_size > 0;
        let layers = base.pp(if config.is_distilled() { "transformer.layer" } else { "encoder.layer" });
        Ok(Self {
            words: embedding(config.vocab_size, "word_embeddings")?,
            positions: embedding(config.max_position_embeddings, "position_embeddings")?,
            types: has_types.then(|| embedding(config.type_vocab_size, "token_type_embeddings")).transpose()?,
            norm: layer_norm(width, config.layer_norm_eps, at.pp("LayerNorm"))?,
            blocks: (0..config.num_hidden_layers).map(|i| block(&config, &layers.pp(i))).collect::<Result<_>>()?,
            head: Head::new(&config, &base, &vb)?,
            site: Site::new(vb.path(), "Bert"),
            params: vb.store().clone(),
            config,
        })
    }

    fn config(&self) -> &BertConfig {
        &self.config
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn architecture(&self) -> String {
        let name = match self.config.model_type.as_str() {
            "roberta" => "Roberta",
            "distilbert" => "DistilBert",
            _ => "Bert",
        };
        format!("{name}{}", self.config.task.suffix())
    }

    fn layout(&self) -> Layout {
        Layout(weights::Layout {
            prefix: match self.config.model_type.as_str() {
                "roberta" => "roberta",
                "distilbert" => "distilbert",
                _ => "bert",
            },
            // Other tasks' heads.
            unused: &[
                "*embeddings.position_ids",
                "*.pooler.*",
                "cls.*",
                "lm_head.*",
                "vocab_*",
                "classifier.*",
                "pre_classifier.*",
            ],
            head: &["*.pooler.*", "cls.*", "lm_head.*", "vocab_*", "classifier.*", "pre_classifier.*"],
            ..weights::Layout::default()
        })
    }
}

impl Bert {
    /// What its [task](BertConfig::task) asks for.
    ///
    /// # Shapes
    /// `ids` (batch, len); `types` likewise, which of two texts a token belongs to, all the first one where not given;
    /// `mask` likewise, u8 or u32, 0 where there is padding. For what it returns see [`BertTask`].
    ///
    /// # Errors
    /// Ids past the vocabulary; more tokens than the model has positions; types for a DistilBERT; shapes that disagree.
    pub fn forward(&self, ids: &Tensor, types: Option<&Tensor>, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.site.run(ids, pass, || {
            let first = self.config.first_position();
            let (batch, len) = expect_ids(ids, 0, Some(self.config.max_position_embeddings - first))?;
            expect_mask(mask, batch, len)?;
            let xs = self.embed(ids, types, pass)?;
            let context = Context { padding: mask, bias: None, pass };
            let xs = blocks::run(&self.blocks, xs, None, &context, None)?;
            let dropout = self.config.classifier_dropout.unwrap_or(self.config.hidden_dropout_prob);
            // DistilBERT's head of tokens has the model's dropout.
            let of_model = self.config.is_distilled() && self.config.task == BertTask::TokenClassification;
            let dropout = if of_model { self.config.hidden_dropout_prob } else { dropout };
            self.head.forward(xs, &self.words, dropout, pass)
        })
    }

    fn embed(&self, ids: &Tensor, types: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let places = self.places(ids)?;
        let mut xs = add(&self.words.forward(ids, pass)?, &self.positions.forward(&places, pass)?)?;
        match (&self.types, types) {
            (Some(embedding), Some(types)) => xs = add(&xs, &embedding.forward(types, pass)?)?,
            (Some(embedding), None) => xs = add(&xs, &embedding.forward(&ids.zeros_like()?, pass)?)?,
            (None, Some(_)) => return Err(Error::invalid("token types", "none, since the model knows none", "some")),
            (None, None) => {}
        }
        drop_out(self.norm.forward(&xs, pass)?, self.config.hidden_dropout_prob, pass)
    }

    /// RoBERTa counts tokens that are not padding, and gives padding its own position; the others count all.
    fn places(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, len) = ids.dims2()?;
        let pad = self.config.pad_token_id.filter(|_| self.config.is_roberta());
        let Some(pad) = pad else { return positions(None, 0, batch, len, ids.device()) };
        let is_token = ids.ne(pad)?.to_dtype(DType::U32)?;
        let counted = positions(Some(&is_token), 0, batch, len, ids.device())?;
        // A token's position is its count + pad + 1, padding's is pad: counts where there is padding come to nothing.
        Ok((((counted + 1.0)? * is_token)? + f64::from(pad))?)
    }
}

/// The mean of the vectors of tokens that are not padding: one vector of a text (Reimers and Gurevych 2019, arXiv
/// 1908.10084). Divide it by its length to compare by cosine.
///
/// # Shapes
/// `xs` (batch, len, hidden_size), `mask` (batch, len), 0 where there is padding. Returns (batch, hidden_size).
///
/// # Errors
/// Shapes that disagree.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_transformer::hub::mean_pooling;
/// let xs = Tensor::new(&[[[1f32, 2.0], [3.0, 6.0], [9.0, 9.0]]], &Device::Cpu)?;
/// let mask = Tensor::new(&[[1u32, 1, 0]], &Device::Cpu)?;
/// assert_eq!(mean_pooling(&xs, &mask)?.to_vec2::<f32>()?, [[2.0, 4.0]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn mean_pooling(xs: &Tensor, mask: &Tensor) -> Result<Tensor> {
    xs.expect_rank(3, "(batch, len, hidden_size)")?;
    let (batch, len, _) = xs.dims3()?;
    expect_mask(Some(mask), batch, len)?;
    let mask = mask.ne(0u32)?.to_dtype(xs.dtype())?;
    let sums = mask.unsqueeze(1)?.matmul(xs)?.squeeze(1)?;
    // A text of padding alone has the mean 0.
    let counts = mask.sum_keepdim(1)?.maximum(1.0)?;
    Ok(sums.broadcast_div(&counts)?)
}
