//! A conditional adversarial network draws handwritten digits, with nothing to download.
//!
//! The data are the 1,797 digits of the UCI repository, 8×8 pixels each, which are part of this project. A classifier that is
//! trained on the real ones says how many of the drawn ones it takes for the digit that was asked for.

mod common;

use std::process::ExitCode;

use clap::Parser;
use common::{Defaults, RunArgs, judge};
use glassbox::gan::measures::ClassifierMeasure;
use glassbox::gan::{
    AdversarialLoss, ClassHead, CriticNorm, DcganConfig, DcganGenerator, GanStep, Penalty, Snapshots, dcgan_critic,
    sampling,
};
use glassbox::prelude::*;
use glassbox::train::Update;
use serde::Serialize;

/// Learns to draw the UCI handwritten digits, each class on demand.
///
/// The folder of the run gets grid.png, a column for each digit, after every epoch, and strip.png, how they came to be.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/gan_digits", epochs: "60", batch_size: "64", lr: "0.002" });
    let run = &args.run;
    let device = device(&run.device)?;
    let digits = data::digits()?.map(|sample, _| Ok(Sample { input: sample.input.affine(2.0, -1.0)?, ..sample }));
    let (train, test) = digits.split_stratified(0.7, Seed(7))?;
    let (classifier, accuracy) = judge::train(run, SmallCnnConfig::default(), train.clone(), test.clone(), 12)?;

    let seed = Seed(run.seed);
    let (g_params, c_params) =
        (ParamStore::new(seed.child("generator"), &device), ParamStore::new(seed.child("critic"), &device));
    let generator = || DcganGenerator::new(config(), g_params.root());
    let adam = |params: &ParamStore| -> Result<Update> {
        Ok(Update::new(Adam::new(params, run.lr)?.betas(0.0, 0.99)).schedule(Cosine::new()))
    };
    let step = GanStep::new(
        generator()?,
        dcgan_critic(config(), c_params.root())?,
        AdversarialLoss::NonSaturating,
        adam(&g_params)?.average_weights(0.99)?,
        adam(&c_params)?,
    )
    .penalty(Penalty::R1 { gamma: 1.0 })
    .conditional()
    .measure(ClassifierMeasure::new(classifier, true));

    let latents = sampling::latents(60, config().latent_size, None, Seed(1), DType::F32, &device)?;
    let pictures = Snapshots::new(generator()?, latents, Some(sampling::class_grid(6, 10, &device)?), 10);
    let loader = DataLoader::new(train, run.batch_size).shuffle(seed.child("order")).drop_last();
    let trainer = run.trainer(&args)?.monitor("agreement").with(pictures);
    let fitted = common::finished(trainer.fit(step, loader, DataLoader::new(test, 256))?)?;

    let score = |name: &str| fitted.scores.value(name).unwrap_or(f64::NAN);
    let names = ["agreement", "classes", "frechet", "precision", "recall", "density", "coverage"];
    let mut scores: Vec<(&str, f64)> = names.map(|name| (name, score(name))).to_vec();
    scores.push(("classifier_accuracy", accuracy));
    if !run.quiet {
        println!("\nMeasured by the classifier in {}:", run.out.join("classifier").display());
        scores.iter().for_each(|(name, value)| println!("{name} {value:.4}"));
    }
    common::print_result(&scores, fitted.seconds);
    Ok(())
}

fn config() -> DcganConfig {
    DcganConfig {
        image_size: 8,
        channels: 1,
        latent_size: 32,
        width: 64,
        start_size: Some(2),
        classes: Some((10, ClassHead::Projection)),
        critic_norm: CriticNorm::None,
        ..Default::default()
    }
}
