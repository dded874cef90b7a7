//! A convolutional network learns real handwritten digits, with nothing to download.
//!
//! The data are the 1,797 digits of the UCI repository, 8×8 pixels each, which are part of this project. A fifth of them,
//! always the same, is held out to measure on.

mod common;

use std::process::ExitCode;

use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::data::transform::{RandomAffine, Transform};
use glassbox::dataset::Position;
use glassbox::prelude::*;
use serde::Serialize;

/// Learns the UCI handwritten digits with a small convolutional network and shows what it reads.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/cnn_digits", epochs: "20", batch_size: "64", lr: "0.01" });
    let run = &args.run;
    let device = device(&run.device)?;
    let (train, test) = data::digits()?.split_stratified(0.8, Seed(7))?;

    // Few labels: every epoch sees each digit a little turned, moved, scaled and sheared.
    let augment = RandomAffine { degrees: 10.0, translate: 0.05, scale: (0.9, 1.1), shear: 5.0 };
    let train = train.map(move |sample, rng| augment.apply_to_sample(sample, rng));

    let params = ParamStore::new(Seed(run.seed), &device);
    let model = SmallCnn::new(config(), params.root())?;
    if !run.quiet {
        println!("{}\n", summary(&model, &params, &[1, 1, 8, 8])?);
    }

    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, run.lr)?)
        .schedule(OneCycle::new(run.lr))
        .metric(Accuracy::default());
    let loader = DataLoader::new(train, run.batch_size).shuffle(Seed(run.seed).child("order"));
    let fitted = common::finished(run.trainer(&args)?.fit(step, loader, DataLoader::new(test.clone(), 256))?)?;

    // What was saved is what is shown: a fresh model reads the file.
    let reloaded = ParamStore::new(Seed(0), &device);
    let model = SmallCnn::new(config(), reloaded.root())?;
    reloaded.load(run.out.join("model.safetensors"))?;
    let mut confusion = ConfusionMatrix::new(10)?;
    let mut shown = vec![];
    for batch in DataLoader::new(test, 256).batches(Position::default(), &device)? {
        let batch = batch?;
        let logits = model.forward(&batch.input, &Pass::eval())?;
        confusion.update(&logits, &batch.target)?;
        if shown.is_empty() {
            shown = drawn(&batch, &logits, 6)?;
        }
    }
    if !run.quiet {
        println!("\n{confusion}\n\n{}", side_by_side(&shown));
    }
    let accuracy = confusion.compute()?;
    common::print_result(
        &[("accuracy", accuracy), ("validation_loss", fitted.scores.value("validation_loss").unwrap_or(f64::NAN))],
        fitted.seconds,
    );
    Ok(())
}

fn config() -> SmallCnnConfig {
    SmallCnnConfig { num_classes: 10, ..Default::default() }
}

/// The first `count` digits of a batch as lines of text, with what the model says of each below.
fn drawn(batch: &Batch, logits: &Tensor, count: usize) -> Result<Vec<Vec<String>>> {
    let probabilities = logits.softmax(D::Minus1)?.to_vec2::<f32>()?;
    let pixels = batch.input.squeeze(1)?.to_vec3::<f32>()?;
    let targets = batch.target.to_vec1::<u32>()?;
    let digits = pixels.iter().zip(&probabilities).zip(&targets).take(count);
    Ok(digits.map(|((rows, probabilities), target)| digit(rows, probabilities, *target)).collect())
}

fn digit(rows: &[Vec<f32>], probabilities: &[f32], target: u32) -> Vec<String> {
    const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
    let shade = |value: &f32| SHADES[((value * 4.99) as usize).min(4)];
    let draw = |row: &Vec<f32>| row.iter().flat_map(|value| [shade(value), shade(value)]).collect();
    let mut lines: Vec<String> = rows.iter().map(draw).collect();
    let best = probabilities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    let (answer, certainty) = best.map_or((0, 0.0), |(i, p)| (i, p * 100.0));
    lines.push(format!("read {answer}, {certainty:.1} %"));
    lines.push(format!("is {target}"));
    lines
}

fn side_by_side(pictures: &[Vec<String>]) -> String {
    let height = pictures.first().map_or(0, Vec::len);
    let cell = |picture: &Vec<String>, row: usize| format!("{:18}", picture.get(row).map_or("", String::as_str));
    let line = |row: usize| pictures.iter().map(|picture| cell(picture, row)).collect::<String>();
    (0..height).map(|row| line(row).trim_end().to_string() + "\n").collect()
}
