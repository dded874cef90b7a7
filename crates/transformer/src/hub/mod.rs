//! Models that Hugging Face publishes: read from a folder, changed, and written back.
//!
//! | | `model_type` | what it gives |
//! |---|---|---|
//! | [`Gpt2`] | `gpt2` | the next token |
//! | [`Llama`] | `llama`, `mistral`, `qwen2`, `qwen3` | the next token |
//! | [`Bert`] | `bert`, `roberta`, `distilbert` | masked words, a class, a class of each token, or embeddings: see [`BertTask`] |
//! | [`T5`] | `t5` | a text from a text |
//! | [`Marian`] | `marian` | a translation |
//! | [`Vit`] | `vit` | the class of an image |
//!
//! A folder holds `config.json` and `model.safetensors`, or `model.safetensors.index.json` and its shards. Parameters have
//! the names that they have there, in memory too: they are frozen, probed and adapted by these. What
//! [`save_dir`](Pretrained::save_dir) writes, `transformers` reads.
//!
//! ```no_run
//! use candle_core::{Device, Tensor};
//! use glassbox_core::Pass;
//! use glassbox_transformer::CausalLm;
//! use glassbox_transformer::hub::{Gpt2, Pretrained};
//! let gpt2 = Gpt2::from_dir("models/gpt2", &Device::Cpu)?;
//! let logits = gpt2.forward(&Tensor::new(&[[464u32, 3290]], &Device::Cpu)?, None, None, &Pass::eval())?;
//! assert_eq!(logits.dims(), [1, 2, gpt2.config().vocab_size]);
//! # Ok::<(), glassbox_core::Error>(())
//! ```

mod bert;
pub(crate) mod blocks;
mod config;
mod gpt2;
mod llama;
mod marian;
mod t5;
mod vit;
pub(crate) mod weights;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Dropout, Error, Layer, ParamStore, Pass, Result, Seed, VarBuilder};

pub use bert::{Bert, BertConfig, BertTask, mean_pooling};
pub use config::{Labels, ModelConfig, TokenIds, labels};
pub use gpt2::{Gpt2, Gpt2Config};
pub use llama::{Llama, LlamaConfig};
pub use marian::{Marian, MarianConfig};
pub use t5::{T5, T5Config};
pub use vit::{ImageSize, Vit, VitConfig};

/// A model that goes to and from a folder as Hugging Face lays it out.
pub trait Pretrained: Sized {
    /// Its configuration.
    type Config: ModelConfig;

    /// A model of this configuration with first weights.
    ///
    /// # Errors
    /// Sizes that do not fit together.
    fn new(config: Self::Config, vb: VarBuilder) -> Result<Self>;

    /// Its configuration.
    fn config(&self) -> &Self::Config;

    /// Its parameters, under the names that they have in the files.
    fn params(&self) -> &ParamStore;

    /// `transformers`' class of such a model.
    fn architecture(&self) -> String;

    #[doc(hidden)]
    fn layout(&self) -> Layout;

    /// The model in `folder`, in f32.
    ///
    /// # Errors
    /// A file is missing (each is named); `config.json` has unknown or unsupported fields (all are named); the weights are
    /// not those of such a model (all names that do not fit are named).
    fn from_dir(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::from_dir_as(folder, DType::F32, device)
    }

    /// The model in `folder`, with parameters of type `dtype`.
    ///
    /// # Errors
    /// As [`from_dir`](Self::from_dir).
    fn from_dir_as(folder: impl AsRef<Path>, dtype: DType, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let config = config::read(folder)?;
        let model = Self::new(config, ParamStore::to_load(dtype, device).root())?;
        weights::load(model.params(), &model.layout().0, folder, false)?;
        Ok(model)
    }

    /// The model in `folder` with a new head, to fine-tune: `change` says of how many labels, for one. Parameters of the
    /// head that the folder lacks, or has in another size, start from `seed`.
    ///
    /// # Errors
    /// As [`from_dir`](Self::from_dir), of all parameters but the head's.
    fn from_dir_with_new_head(
        folder: impl AsRef<Path>,
        change: impl FnOnce(&mut Self::Config),
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let folder = folder.as_ref();
        let mut config = config::read(folder)?;
        change(&mut config);
        let model = Self::new(config, ParamStore::new(seed, device).root())?;
        weights::load(model.params(), &model.layout().0, folder, true)?;
        Ok(model)
    }

    /// Writes `config.json` and `model.safetensors` into `folder`, which is made where it does not exist.
    ///
    /// # Errors
    /// A file cannot be written.
    fn save_dir(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        config::write(self.config(), &self.architecture(), folder)?;
        weights::save(self.params(), &self.layout().0, folder)
    }
}

/// How a model's parameters lie in its files.
#[doc(hidden)]
pub struct Layout(weights::Layout);

/// Fails where a tokenizer has ids that a model has no embedding of. A model may have more, as fillers.
///
/// # Errors
/// Says both numbers.
///
/// ```
/// use glassbox_transformer::hub::expect_vocab;
/// assert!(expect_vocab(50_257, 50_304).is_ok());
/// assert!(expect_vocab(50_257, 32_000).is_err());
/// ```
pub fn expect_vocab(tokenizer: usize, model: usize) -> Result<()> {
    if tokenizer <= model {
        return Ok(());
    }
    Err(Error::invalid("tokenizer and model", format!("ids below the model's vocab_size {model}"), tokenizer))
}

/// A pass's dropout of activations.
pub(crate) fn drop_out(xs: Tensor, p: f64, pass: &Pass) -> Result<Tensor> {
    if p == 0.0 { Ok(xs) } else { Dropout::new(p)?.forward(&xs, pass) }
}
