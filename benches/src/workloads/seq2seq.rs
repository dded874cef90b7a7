//! A transformer between two languages: PyTorch's `nn.Transformer`, an embedding that both sides share, and a head.

use std::collections::BTreeMap;

use glassbox::prelude::*;
use glassbox::{Embedding, LayerNorm, Residual};
use glassbox_kernels::graph::add;

use super::{SEED, Size, Update, Workload, ids, take};
use crate::layers::MultiheadAttention;

const VOCABULARY: usize = 8000;
/// Features of a token, and of the layer between the two linear ones.
const FEATURES: usize = 256;
const HIDDEN: usize = 512;
const NUM_HEADS: usize = 8;
/// Layers of the encoder, and of the decoder.
const NUM_LAYERS: usize = 3;

/// The model and its batch: (batch, length) ids of each language.
pub struct Seq2Seq {
    model: Translator,
    optimizer: AdamW,
    source: Tensor,
    target: Tensor,
}

impl Seq2Seq {
    /// The model, and pairs to learn from.
    pub fn new(size: Size) -> Result<Self> {
        let shape = size.sequences(64, 24);
        let params = ParamStore::with_dtype(SEED, size.dtype, &Device::Cpu);
        Ok(Self {
            model: Translator::new(params.root())?,
            optimizer: AdamW::new(&params, 1e-3)?,
            source: ids("source", VOCABULARY, shape)?,
            target: ids("target", VOCABULARY, shape)?,
        })
    }
}

impl Workload for Seq2Seq {
    fn step(&mut self) -> Result<Vec<Update>> {
        let logits = self.model.forward(&self.source, &self.target, &Pass::train(SEED))?;
        let loss = CrossEntropy::default().forward(&logits, &self.target)?;
        Ok(vec![Update::of(&loss, &mut self.optimizer)?])
    }

    fn stores(&self) -> Vec<(&'static str, &ParamStore)> {
        vec![("", self.optimizer.params())]
    }

    fn take_batch(&mut self, batch: &mut BTreeMap<String, Tensor>) -> anyhow::Result<()> {
        (self.source, self.target) = (take(batch, "source")?, take(batch, "target")?);
        Ok(())
    }

    fn samples(&self) -> usize {
        self.target.dims()[0]
    }

    fn tokens(&self) -> Option<usize> {
        Some(self.source.elem_count() + self.target.elem_count())
    }

    /// 6 · multiply-adds. With d features, h hidden ones and sequences as long on both sides, a token takes 4d² + 2dh in an
    /// encoder layer, 8d² + 2dh in a decoder layer and 8000d in the head; each pair of tokens of which one looks at the other
    /// takes 2d.
    fn flops(&self) -> Result<f64> {
        let (batch, length) = self.target.dims2()?;
        let (d, layers) = (FEATURES, NUM_LAYERS);
        let weights = layers * (12 * d * d + 4 * d * HIDDEN) + VOCABULARY * d;
        // All look at all in the encoder and from the decoder at it; within the decoder none looks ahead.
        let pairs = layers * (2 * length * length + length * (length + 1) / 2);
        Ok(6.0 * (batch * (length * weights + 2 * d * pairs)) as f64)
    }
}

/// Post-norm, ReLU, no positions and no dropout.
struct Translator {
    embedding: Embedding,
    encoder: Vec<EncoderLayer>,
    encoder_norm: LayerNorm,
    decoder: Vec<DecoderLayer>,
    decoder_norm: LayerNorm,
    head: Linear,
}

impl Translator {
    fn new(vb: VarBuilder) -> Result<Self> {
        let (encoder, decoder) = (vb.pp("transformer").pp("encoder"), vb.pp("transformer").pp("decoder"));
        let layer = |vb: &VarBuilder, i: usize| vb.pp("layers").pp(i);
        Ok(Self {
            embedding: Embedding::new(VOCABULARY, FEATURES, vb.pp("embedding"))?,
            encoder: (0..NUM_LAYERS).map(|i| EncoderLayer::new(layer(&encoder, i))).collect::<Result<_>>()?,
            encoder_norm: LayerNorm::new(FEATURES, encoder.pp("norm"))?,
            decoder: (0..NUM_LAYERS).map(|i| DecoderLayer::new(layer(&decoder, i))).collect::<Result<_>>()?,
            decoder_norm: LayerNorm::new(FEATURES, decoder.pp("norm"))?,
            head: Linear::new(FEATURES, VOCABULARY, vb.pp("head"))?,
        })
    }

    fn forward(&self, source: &Tensor, target: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut memory = self.embedding.forward(source, pass)?;
        for layer in &self.encoder {
            memory = layer.forward(&memory, pass)?;
        }
        let memory = self.encoder_norm.forward(&memory, pass)?;
        let mut xs = self.embedding.forward(target, pass)?;
        for layer in &self.decoder {
            xs = layer.forward(&xs, &memory, pass)?;
        }
        self.head.forward(&self.decoder_norm.forward(&xs, pass)?, pass)
    }
}

/// Self-attention, then two linear layers; each added to what came in, and normalised after.
struct EncoderLayer {
    self_attn: MultiheadAttention,
    norm1: LayerNorm,
    feed_forward: Residual<Sequential>,
    norm2: LayerNorm,
}

impl EncoderLayer {
    fn new(vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            self_attn: MultiheadAttention::new(FEATURES, NUM_HEADS, vb.pp("self_attn"))?,
            norm1: LayerNorm::new(FEATURES, vb.pp("norm1"))?,
            norm2: LayerNorm::new(FEATURES, vb.pp("norm2"))?,
            feed_forward: feed_forward(vb)?,
        })
    }

    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let xs = self.norm1.forward(&add(xs, &self.self_attn.within(xs, false, pass)?)?, pass)?;
        self.norm2.forward(&self.feed_forward.forward(&xs, pass)?, pass)
    }
}

/// Self-attention, attention to the encoder's output, two linear layers.
struct DecoderLayer {
    self_attn: MultiheadAttention,
    norm1: LayerNorm,
    multihead_attn: MultiheadAttention,
    norm2: LayerNorm,
    feed_forward: Residual<Sequential>,
    norm3: LayerNorm,
}

impl DecoderLayer {
    fn new(vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            self_attn: MultiheadAttention::new(FEATURES, NUM_HEADS, vb.pp("self_attn"))?,
            norm1: LayerNorm::new(FEATURES, vb.pp("norm1"))?,
            multihead_attn: MultiheadAttention::new(FEATURES, NUM_HEADS, vb.pp("multihead_attn"))?,
            norm2: LayerNorm::new(FEATURES, vb.pp("norm2"))?,
            norm3: LayerNorm::new(FEATURES, vb.pp("norm3"))?,
            feed_forward: feed_forward(vb)?,
        })
    }

    fn forward(&self, xs: &Tensor, memory: &Tensor, pass: &Pass) -> Result<Tensor> {
        let xs = self.norm1.forward(&add(xs, &self.self_attn.within(xs, true, pass)?)?, pass)?;
        let xs = self.norm2.forward(&add(&xs, &self.multihead_attn.between(&xs, memory, pass)?)?, pass)?;
        self.norm3.forward(&self.feed_forward.forward(&xs, pass)?, pass)
    }
}

fn feed_forward(vb: VarBuilder) -> Result<Residual<Sequential>> {
    let layers = Sequential::new(vb)
        .add_named("linear1", |vb| Linear::new(FEATURES, HIDDEN, vb))?
        .add_named("relu", |_| Ok(Activation::Relu))?
        .add_named("linear2", |vb| Linear::new(HIDDEN, FEATURES, vb))?;
    Ok(Residual(layers))
}
