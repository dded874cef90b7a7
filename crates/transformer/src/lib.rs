#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod attention;
mod config;
pub mod generate;
mod gpt;
pub mod hub;
mod lora;
mod model;
mod pointer;
mod positions;
mod seq2seq;

pub use attention::{Cache, LayerCache, RopeParameters};
pub use config::{FeedForwardKind, NormKind, NormPlace, TransformerConfig};
pub use gpt::{Gpt, GptConfig};
pub use lora::{Adapter, Lora};
pub use model::{CausalLm, EncoderDecoder};
pub use pointer::{PointerConfig, PointerSeq2Seq, copied_ids, padding_mask};
pub use positions::Positions;
pub use seq2seq::{Seq2seqTransformer, Seq2seqTransformerConfig};
