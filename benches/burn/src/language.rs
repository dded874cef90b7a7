//! Transformers: GPT in two sizes, and an encoder with a decoder.

use burn::module::Module;
use burn::nn::activation::ActivationConfig;
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::transformer::{
    TransformerDecoder, TransformerDecoderConfig, TransformerDecoderInput, TransformerEncoder,
    TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::gelu_approximate;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Device, Int, Tensor};

use crate::train::{Step, integers, supervised, token_loss};

/// The characters of a small text.
const CHARACTERS: usize = 65;

/// Causal attention and a feed-forward layer, each normalised before and added after.
#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    norm2: LayerNorm,
    qkv: Linear,
    projection: Linear,
    fc: Linear,
    out: Linear,
    heads: usize,
}

impl Block {
    fn new(width: usize, heads: usize, device: &Device) -> Self {
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self {
            norm1: LayerNormConfig::new(width).init(device),
            norm2: LayerNormConfig::new(width).init(device),
            qkv: linear(width, 3 * width),
            projection: linear(width, width),
            fc: linear(width, 4 * width),
            out: linear(4 * width, width),
            heads,
        }
    }

    fn attend(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let qkv = self.qkv.forward(x).chunk(3, 2).into_iter();
        let mut heads = qkv.map(|x| x.reshape([batch, length, self.heads, width / self.heads]).swap_dims(1, 2));
        let mut next = || heads.next().expect("three parts");
        let causal = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let y = attention(next(), next(), next(), None, None, causal);
        self.projection.forward(y.swap_dims(1, 2).reshape([batch, length, width]))
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attend(self.norm1.forward(x));
        x.clone() + self.out.forward(gelu_approximate(self.fc.forward(self.norm2.forward(x))))
    }
}

#[derive(Module, Debug)]
struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(layers: usize, heads: usize, width: usize, context: usize, device: &Device) -> Self {
        Self {
            tokens: EmbeddingConfig::new(CHARACTERS, width).init(device),
            positions: EmbeddingConfig::new(context, width).init(device),
            blocks: (0..layers).map(|_| Block::new(width, heads, device)).collect(),
            norm: LayerNormConfig::new(width).init(device),
            head: LinearConfig::new(width, CHARACTERS).with_bias(false).init(device),
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, length] = ids.dims();
        let places = Tensor::<1, Int>::arange(0..length as i64, &ids.device()).unsqueeze();
        let x = self.tokens.forward(ids) + self.positions.forward(places);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.head.forward(self.norm.forward(x))
    }
}

pub fn gpt_small(device: &Device) -> Step {
    gpt(Gpt::new(4, 4, 128, 64, device), [12, 64], device)
}

pub fn gpt_baby(device: &Device) -> Step {
    gpt(Gpt::new(6, 6, 384, 256, device), [4, 256], device)
}

fn gpt(model: Gpt, shape: [usize; 2], device: &Device) -> Step {
    let (ids, targets) = (integers(shape, CHARACTERS, device), integers(shape, CHARACTERS, device));
    supervised(model, move |model| token_loss(model.forward(ids.clone()), targets.clone()))
}

/// Encoder and decoder of three layers each, normalised after each part and once more at the end, without positions.
#[derive(Module, Debug)]
struct Translator {
    embedding: Embedding,
    encoder: TransformerEncoder,
    encoder_norm: LayerNorm,
    decoder: TransformerDecoder,
    decoder_norm: LayerNorm,
    head: Linear,
}

impl Translator {
    fn new(vocabulary: usize, device: &Device) -> Self {
        let (width, hidden, heads, layers) = (256, 512, 8, 3);
        let encoder = TransformerEncoderConfig::new(width, hidden, heads, layers);
        let decoder = TransformerDecoderConfig::new(width, hidden, heads, layers);
        Self {
            embedding: EmbeddingConfig::new(vocabulary, width).init(device),
            encoder: encoder.with_dropout(0.0).with_activation(ActivationConfig::Relu).init(device),
            encoder_norm: LayerNormConfig::new(width).init(device),
            decoder: decoder.with_dropout(0.0).with_activation(ActivationConfig::Relu).init(device),
            decoder_norm: LayerNormConfig::new(width).init(device),
            head: LinearConfig::new(width, vocabulary).init(device),
        }
    }

    fn forward(&self, source: Tensor<2, Int>, target: Tensor<2, Int>, mask: Tensor<3, Bool>) -> Tensor<3> {
        let memory = self.encoder.forward(TransformerEncoderInput::new(self.embedding.forward(source)));
        let memory = self.encoder_norm.forward(memory);
        let input = TransformerDecoderInput::new(self.embedding.forward(target), memory).target_mask_attn(mask);
        self.head.forward(self.decoder_norm.forward(self.decoder.forward(input)))
    }
}

pub fn seq2seq(device: &Device) -> Step {
    let (vocabulary, batch, length) = (8000, 64, 24);
    let [source, target] = [(); 2].map(|()| integers([batch, length], vocabulary, device));
    let mask = generate_autoregressive_mask(batch, length, device);
    supervised(Translator::new(vocabulary, device), move |model| {
        token_loss(model.forward(source.clone(), target.clone(), mask.clone()), target.clone())
    })
}
