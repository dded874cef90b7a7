//! Files to samples: datasets of images, tables, sound, text and time series, transforms of images and sound, and three
//! real data sets that come along.
//!
//! | Data | Read with | Feature |
//! |---|---|---|
//! | IDX files (MNIST and its relatives) | [`mnist`], [`idx`] | `gzip` for compressed ones |
//! | CIFAR-10, binary version | [`cifar10`], [`cifar`] | |
//! | A folder of PNG or JPEG images per class | `ImageFolder` | `images` |
//! | WAV, a folder per class or with labels in the names | `audio::AudioFolder`, `audio::read_wav` | `audio` |
//! | CSV | `Csv`, giving a [`Table`] | `csv` |
//! | A delimited file with time stamps | `series::SeriesCsv` | `csv` |
//! | A text, sentences in two languages | [`text::read_text`], [`text::ParallelCorpus`] | `gzip` for compressed ones |
//! | `tokenizer.json` | `text::TokenizerFile` | `tokenizers` |
//! | Bytes of pixels, or rows, in memory | [`ImageDataset::new`], [`Table::new`] | |
//! | Tensors in memory | [`TensorDataset`](glassbox_core::TensorDataset) | |
//! | Handwritten digits, breast cancer | [`digits`], [`breast_cancer`] | |
//! | Carbon dioxide at Mauna Loa, monthly | `series::mauna_loa_co2` | `csv` |
//!
//! Every dataset implements [`Dataset`](glassbox_core::Dataset) with [`Sample`](glassbox_core::Sample) as its item.
//! No length that a file declares is believed before the bytes are there.
//!
//! ```
//! use glassbox_core::{Dataset, Seed};
//! let digits = glassbox_data::digits()?;
//! let sample = digits.get(0, &mut Seed(1).rng())?;
//! assert_eq!(sample.input.dims(), [1, 8, 8]);
//! assert_eq!(sample.target.to_scalar::<u32>()?, 0);
//! # Ok::<(), glassbox_core::Error>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "audio")]
pub mod audio;
pub mod cifar;
#[cfg(feature = "csv")]
mod csv;
mod embedded;
#[cfg(feature = "images")]
mod folder;
pub mod idx;
mod images;
mod prepare;
#[cfg(feature = "csv")]
pub mod series;
mod source;
mod table;
pub mod text;
pub mod transform;

pub use cifar::cifar10;
#[cfg(feature = "csv")]
pub use csv::{ColumnId, Csv};
pub use embedded::{breast_cancer, digits};
#[cfg(feature = "images")]
pub use folder::{ColorMode, ImageFolder, decode_image};
pub use idx::mnist;
pub use images::ImageDataset;
pub use prepare::{Fill, Imputer, Standardizer};
pub use table::{Column, Table, Target};

/// Runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
