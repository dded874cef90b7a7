//! Two mixtures of normal distributions, on which a generator easily loses modes: a ring of 8 and a grid of 25.

mod common;

use std::process::ExitCode;

use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::gan::measures::Modes;
use glassbox::gan::{
    AdversarialLoss, GanStep, Generator, MlpCritic, MlpGanConfig, MlpGenerator, Penalty, Snapshots, sampling, scatter,
};
use glassbox::prelude::*;
use glassbox::train::Update;
use serde::Serialize;

/// Learns a ring of 8 and a grid of 25 normal distributions, and counts the modes that its samples cover.
///
/// Each run has a folder, ring/ and grid/, with strip.png: the samples over training, real ones in the first picture.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
}

/// Samples of a mixture in an epoch.
const SAMPLES: usize = 25_600;
/// Weight of the penalties R1 and R2.
const GAMMA: f64 = 0.1;

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args =
        common::parse(Defaults { out: "runs/gan_gaussians", epochs: "60", batch_size: "256", lr: "0.001" });
    let mut scores = vec![];
    let mut seconds = 0.0;
    for (name, modes) in [("ring", Modes::ring()), ("grid", Modes::grid())] {
        let (covered, quality, took) = learn(&args, name, modes)?;
        scores.extend([(format!("{name}_modes"), covered as f64), (format!("{name}_quality"), quality)]);
        seconds += took;
    }
    let scores: Vec<(&str, f64)> = scores.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    common::print_result(&scores, seconds);
    Ok(())
}

/// The modes that are covered, the share of samples near one, and the seconds of training.
fn learn(args: &Args, name: &str, modes: Modes) -> anyhow::Result<(usize, f64, f64)> {
    let run = RunArgs { out: args.run.out.join(name), ..args.run.clone() };
    let device = device(&run.device)?;
    let seed = Seed(run.seed).child(name);
    let (g_params, c_params) =
        (ParamStore::new(seed.child("generator"), &device), ParamStore::new(seed.child("critic"), &device));
    let config = MlpGanConfig { hidden: vec![128; 3], latent_size: 32, ..Default::default() };
    let generator = || MlpGenerator::new(config.clone(), g_params.root());
    let critic = MlpCritic::new(config.clone(), c_params.root())?;
    let adam =
        |params| Ok::<_, Error>(Update::new(Adam::new(params, run.lr)?.betas(0.0, 0.99)).schedule(Cosine::default()));
    let step = GanStep::new(
        generator()?,
        critic,
        AdversarialLoss::Relativistic,
        adam(&g_params)?.average_weights(0.999)?,
        adam(&c_params)?,
    )
    .penalty(Penalty::R1R2 { gamma: GAMMA })
    .measure(modes.clone().measure());

    let reach = 2.0 * modes.centers.iter().flatten().fold(0.0, |reach: f64, &v| reach.max(v.abs())) / 1.6;
    let latents = sampling::latents(2000, config.latent_size, None, Seed(1), DType::F32, &device)?;
    let pictures = Snapshots::new(generator()?, latents, None, 1).drawn_by(move |points| scatter(points, reach, 120));
    let train = DataLoader::new(modes.clone().dataset(SAMPLES)?, run.batch_size).shuffle(seed.child("order"));
    let test = DataLoader::new(modes.clone().dataset(10_000)?, 1000);
    let trainer = run.trainer(args)?.monitor("quality").validate_every_epochs(10).with(pictures.scale(2));
    let fitted = common::finished(trainer.fit(step, train, test)?)?;

    // What was saved is what counts: a fresh generator reads the file.
    let reloaded = ParamStore::new(Seed(0), &device);
    let generator = MlpGenerator::new(config.clone(), reloaded.root())?;
    reloaded.load(run.out.join("generator.safetensors"))?;
    let latents = sampling::latents(10_000, config.latent_size, None, Seed(2), DType::F32, &device)?;
    let found = modes.count(&generator.generate(&latents, None, &Pass::eval())?)?;
    if !run.quiet {
        println!("{name}: {} of {} modes, {:.1} % near one", found.covered, modes.centers.len(), 100.0 * found.quality);
    }
    Ok((found.covered, found.quality, fitted.seconds))
}
