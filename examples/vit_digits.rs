//! A vision transformer learns real handwritten digits, with nothing to download.
//!
//! The data are the 1,797 digits of the UCI repository, 8×8 pixels each, which are part of this project. A fifth of them,
//! always the same, is held out to measure on. Each image is 16 patches of 2×2 pixels.

mod common;

use std::process::ExitCode;

use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::data::transform::{RandomAffine, Transform};
use glassbox::prelude::*;
use glassbox::transformer::hub::{ImageSize, Pretrained, Vit, VitConfig, labels};
use serde::Serialize;

/// Learns the UCI handwritten digits with a small vision transformer.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Numbers that describe a patch
    #[arg(long, default_value_t = 64)]
    hidden_size: usize,
    /// Number of blocks
    #[arg(long, default_value_t = 3)]
    num_layers: usize,
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/vit_digits", epochs: "40", batch_size: "64", lr: "0.002" });
    let run = &args.run;
    let device = device(&run.device)?;
    let (train, test) = data::digits()?.split_stratified(0.8, Seed(7))?;

    // Few labels: every epoch sees each digit a little turned, moved, scaled and sheared.
    let augment = RandomAffine { degrees: 10.0, translate: 0.05, scale: (0.9, 1.1), shear: 5.0 };
    let train = train.map(move |sample, rng| augment.apply_to_sample(sample, rng));

    let config = VitConfig {
        image_size: ImageSize::Square(8),
        patch_size: ImageSize::Square(2),
        num_channels: 1,
        hidden_size: args.hidden_size,
        num_hidden_layers: args.num_layers,
        num_attention_heads: 4,
        intermediate_size: 2 * args.hidden_size,
        id2label: labels(10),
        ..Default::default()
    };
    let params = ParamStore::new(Seed(run.seed), &device);
    let model = Vit::new(config.clone(), params.root())?;
    if !run.quiet {
        println!("{}\n", summary(&model, &params, &[1, 1, 8, 8])?);
    }

    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, run.lr)?)
        .schedule(OneCycle::new(run.lr))
        .transform(ClipNorm::new(1.0))
        .metric(Accuracy::default());
    let loader = DataLoader::new(train, run.batch_size).shuffle(Seed(run.seed).child("order"));
    let fitted = common::finished(run.trainer(&args)?.fit(step, loader, DataLoader::new(test, 256))?)?;

    // A folder that `transformers` reads, too.
    let model = Vit::new(config, params.root())?;
    model.save_dir(run.out.join("vit"))?;
    common::print_accuracy(&fitted);
    Ok(())
}
