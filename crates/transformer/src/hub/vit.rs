//! ViT.

use candle_core::Tensor;
use glassbox_core::{Error, Init, Layer, Linear, Param, ParamStore, Pass, Result, Site, VarBuilder, concat};
use glassbox_kernels::graph::add;
use glassbox_kernels::linear::linear;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blocks::{Block, FeedForward, Heads, Norm, layer_norm};
use super::config::{
    Labels, ModelConfig, activation, expect_counts, expect_dropouts, expect_heads, expect_labels, labels,
};
use super::{Layout, Pretrained, blocks, drop_out, weights};
use crate::attention::{Attention, Context};

/// Height and width, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ImageSize {
    /// Both the same.
    Square(usize),
    /// Height, then width.
    HeightWidth([usize; 2]),
}

impl ImageSize {
    fn height_width(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side; 2],
            Self::HeightWidth(sides) => sides,
        }
    }
}

/// The fields of a ViT's `config.json`, which `transformers` documents; all have its default values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct VitConfig {
    pub model_type: String,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: String,
    pub hidden_dropout_prob: f64,
    pub attention_probs_dropout_prob: f64,
    pub layer_norm_eps: f64,
    pub image_size: ImageSize,
    pub patch_size: ImageSize,
    pub num_channels: usize,
    pub qkv_bias: bool,
    /// The classes.
    pub id2label: Labels,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            model_type: "vit".to_string(),
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_string(),
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            layer_norm_eps: 1e-12,
            image_size: ImageSize::Square(224),
            patch_size: ImageSize::Square(16),
            num_channels: 3,
            qkv_bias: true,
            id2label: labels(2),
        }
    }
}

impl VitConfig {
    /// Patches along the height and the width.
    fn grid(&self) -> [usize; 2] {
        let ([height, width], [rows, columns]) = (self.image_size.height_width(), self.patch_size.height_width());
        [height / rows.max(1), width / columns.max(1)]
    }
}

impl ModelConfig for VitConfig {
    fn defaults(model_type: &str) -> Option<Self> {
        (model_type == "vit").then(Self::default)
    }

    fn model_type(&self) -> &str {
        &self.model_type
    }

    fn fixed() -> Vec<(&'static str, Vec<Value>)> {
        vec![("is_encoder_decoder", vec![json!(false)]), ("is_decoder", vec![json!(false)])]
    }

    fn irrelevant() -> &'static [&'static str] {
        // Of the pooler, which the classifier does without, and of masked pretraining.
        &["encoder_stride", "pooler_act", "pooler_output_size"]
    }

    fn check(&self) -> Result<()> {
        let ([height, width], [rows, columns]) = (self.image_size.height_width(), self.patch_size.height_width());
        expect_counts(&[
            ("num_hidden_layers", self.num_hidden_layers),
            ("intermediate_size", self.intermediate_size),
            ("num_channels", self.num_channels),
            ("image_size", height.min(width)),
            ("patch_size", rows.min(columns)),
        ])?;
        if !height.is_multiple_of(rows) || !width.is_multiple_of(columns) {
            let expected = format!("a divisor of image_size {height} x {width}");
            return Err(Error::invalid("patch_size", expected, format!("{rows} x {columns}")));
        }
        expect_heads("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)?;
        expect_dropouts(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
        ])?;
        expect_labels(&self.id2label)?;
        activation("hidden_act", &self.hidden_act).map(drop)
    }
}

/// The vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929): the logits of an image's class. It is
/// `transformers`' `ViTForImageClassification`.
///
/// # Shapes
/// (batch, num_channels, height, width) to (batch, labels).
pub struct Vit {
    config: VitConfig,
    /// (hidden_size, num_channels, height and width of a patch).
    patch_weight: Param,
    patch_bias: Param,
    /// (1, 1, hidden_size), before the patches.
    class_token: Param,
    /// (1, 1 + patches, hidden_size).
    positions: Param,
    blocks: Vec<Block>,
    norm: Norm,
    classifier: Linear,
    site: Site,
    params: ParamStore,
}

fn block(config: &VitConfig, vb: &VarBuilder) -> Result<Block> {
    let width = config.hidden_size;
    let names = ["attention.query", "attention.key", "attention.value", "output.dense"];
    let heads = Heads::of(width, config.num_attention_heads);
    let attention = heads.attention(names, [config.qkv_bias, true], &vb.pp("attention"))?;
    let activation = activation("hidden_act", &config.hidden_act)?;
    let layers = ["intermediate.dense", "output.dense"];
    Ok(Block {
        attention: Attention { dropout: config.attention_probs_dropout_prob, ..attention },
        attention_norm: layer_norm(width, config.layer_norm_eps, vb.pp("layernorm_before"))?,
        to_source: None,
        mlp: FeedForward::plain(width, config.intermediate_size, layers, activation, vb)?,
        mlp_norm: layer_norm(width, config.layer_norm_eps, vb.pp("layernorm_after"))?,
        norm_first: true,
        dropouts: [config.hidden_dropout_prob; 2],
        site: Site::new(vb.path(), "VitBlock"),
    })
}

impl Pretrained for Vit {
    type Config = VitConfig;

    fn new(config: VitConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let (base, width, channels) = (vb.pp("vit"), config.hidden_size, config.num_channels);
        let ([rows, columns], [down, across]) = (config.patch_size.height_width(), config.grid());
        let (at, small) = (base.pp("embeddings"), Init::Normal { mean: 0.0, std: 0.02 });
        let patch = at.pp("patch_embeddings.projection");
        let layers = base.pp("encoder.layer");
        Ok(Self {
            patch_weight: patch.param("weight", (width, channels, rows, columns), Init::WEIGHT)?,
            patch_bias: patch.param("bias", width, Init::Zeros)?,
            class_token: at.param("cls_token", (1, 1, width), small)?,
            positions: at.param("position_embeddings", (1, 1 + down * across, width), small)?,
            blocks: (0..config.num_hidden_layers).map(|i| block(&config, &layers.pp(i))).collect::<Result<_>>()?,
            norm: layer_norm(width, config.layer_norm_eps, base.pp("layernorm"))?,
            classifier: Linear::new(width, config.id2label.len(), vb.pp("classifier"))?,
            site: Site::new(vb.path(), "Vit"),
            params: vb.store().clone(),
            config,
        })
    }

    fn config(&self) -> &VitConfig {
        &self.config
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn architecture(&self) -> String {
        "ViTForImageClassification".to_string()
    }

    fn layout(&self) -> Layout {
        Layout(weights::Layout {
            prefix: "vit",
            unused: &["vit.pooler.*", "vit.embeddings.mask_token", "decoder.*"],
            head: &["classifier.*"],
            ..weights::Layout::default()
        })
    }
}

impl Vit {
    /// A vector of each patch, (batch, patches, hidden_size).
    fn patches(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let [height, width] = self.config.image_size.height_width();
        let ([rows, columns], [down, across]) = (self.config.patch_size.height_width(), self.config.grid());
        let channels = self.config.num_channels;
        let batch = match *xs.dims() {
            [batch, c, h, w] if [c, h, w] == [channels, height, width] => batch,
            _ => {
                let expected = format!("images (batch, {channels}, {height}, {width})");
                return Err(Error::invalid("input", expected, format!("{:?}", xs.dims())));
            }
        };
        let apart = xs.reshape(vec![batch, channels, down, rows, across, columns])?;
        let numbers = channels * rows * columns;
        let patches = apart.permute(vec![0, 2, 4, 1, 3, 5])?.reshape((batch, down * across, numbers))?;
        let weight = self.patch_weight.get(pass).reshape((self.config.hidden_size, numbers))?;
        Ok(linear(&patches, &weight, Some(&self.patch_bias.get(pass)), None)?)
    }
}

impl Layer for Vit {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            let patches = self.patches(xs, pass)?;
            let (batch, _, width) = patches.dims3()?;
            let class = self.class_token.get(pass).broadcast_as((batch, 1, width))?.contiguous()?;
            let xs = add(&concat(&[class, patches], 1)?, &self.positions.get(pass).squeeze(0)?)?;
            let xs = drop_out(xs, self.config.hidden_dropout_prob, pass)?;
            let context = Context { padding: None, bias: None, pass };
            let xs = blocks::run(&self.blocks, xs, None, &context, None)?;
            let first = xs.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
            self.classifier.forward(&self.norm.forward(&first, pass)?, pass)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
