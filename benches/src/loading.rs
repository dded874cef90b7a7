//! How fast data is loaded.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use clap::ValueEnum;
use glassbox::data::transform::{Compose, Normalize, PadCrop, RandomFlip, Transform};
use glassbox::data::{ColorMode, ImageFolder};
use glassbox::dataset::Position;
use glassbox::prelude::*;
use serde_json::{Value, json};

const BATCH: usize = 256;

/// A data set, and how its images are prepared.
#[derive(Clone, Copy, ValueEnum)]
pub enum Loading {
    /// MNIST's 60,000 training images, from IDX files
    Mnist,
    /// CIFAR-10's 50,000 training images, from a folder of files for each class
    Cifar,
}

impl fmt::Display for Loading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mnist => "mnist",
            Self::Cifar => "cifar",
        })
    }
}

impl Loading {
    /// Loads one epoch of the data in `dir` in random order with `workers` threads, flipped, shifted and normalised; prints
    /// how fast, from the opening of the files to the last batch, and gives it as a JSON object.
    pub fn measure(self, dir: &Path, workers: usize) -> anyhow::Result<Value> {
        let start = Instant::now();
        let loader = match self {
            Self::Mnist => loader(data::mnist(dir)?.0, Normalize::new([0.1307], [0.3081])?),
            Self::Cifar => {
                let images = ImageFolder::open(dir.join("train"), ColorMode::Rgb, (32, 32))?;
                loader(images, Normalize::new([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616])?)
            }
        };
        let loader = loader.workers(workers);
        let mut samples = 0;
        for batch in loader.batches(Position::default(), &Device::Cpu)? {
            samples += batch?.input.dim(0)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let rate = samples as f64 / seconds;
        println!("{self}: {samples} samples in {seconds:.3} s, {rate:.0} samples/s, workers: {workers}");
        Ok(json!({
            "loading": self.to_string(),
            "samples": samples,
            "seconds": seconds,
            "samples_per_second": rate,
            "workers": workers,
        }))
    }
}

fn loader(images: impl Dataset<Item = Sample> + 'static, normalize: Normalize) -> DataLoader<Batch> {
    let augment = Compose::new().then(RandomFlip::default()).then(PadCrop::default()).then(normalize);
    let images = images.map(move |sample, rng| augment.apply_to_sample(sample, rng));
    DataLoader::new(images, BATCH).shuffle(Seed(1))
}
