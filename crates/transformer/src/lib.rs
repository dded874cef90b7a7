#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod attention;
pub mod generate;
pub mod hub;
mod lora;
mod model;
mod pointer;

pub use attention::{Cache, LayerCache, RopeParameters};
pub use lora::{Adapter, Lora};
pub use model::{CausalLm, EncoderDecoder};
pub use pointer::{PointerConfig, PointerSeq2Seq, copied_ids, padding_mask};
