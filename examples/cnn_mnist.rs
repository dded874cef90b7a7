//! MNIST to 99 % in one epoch, from IDX files.

mod common;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::prelude::*;
use serde::Serialize;

/// Learns MNIST (or any set in its format) from the four IDX files in the folder --data, gzipped or not.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/cnn_mnist", epochs: "1", batch_size: "256", lr: "0.01" });
    let run = &args.run;
    let device = device(&run.device)?;
    let folder =
        run.data.as_ref().context("--data is needed: the folder with train-images-idx3-ubyte and the others")?;
    let (train, test) = data::mnist(folder)?;

    let params = ParamStore::new(Seed(run.seed), &device);
    let model = network(params.root())?;
    if !run.quiet {
        println!("{}\n", summary(&model, &params, &[1, 1, 28, 28])?);
    }

    let loss = CrossEntropy::default();
    let step = SupervisedStep::new(model, loss, Adam::new(&params, run.lr)?.betas(0.7, 0.9))
        .schedule(OneCycle::new(run.lr))
        .metric(Accuracy::default());
    let loader = DataLoader::new(train, run.batch_size).shuffle(Seed(run.seed).child("order"));
    let fitted = run.trainer(&args)?.fit(step, loader, DataLoader::new(test, 1000))?;

    let score = |name| fitted.scores.value(name).unwrap_or(f64::NAN);
    common::print_result(
        &[("accuracy", score("accuracy")), ("validation_loss", score("validation_loss"))],
        fitted.seconds,
    );
    Ok(())
}

/// Two convolutions with pooling and a hidden layer of 256: the network of tuomaso/train_mnist_fast.
fn network(vb: VarBuilder) -> Result<Sequential> {
    Sequential::new(vb)
        .add_named("conv1", |vb| Conv2d::new(1, 24, 5, Conv2dConfig::default(), vb))?
        .add_named("pool1", |_| MaxPool2d::new(2))?
        .add_named("relu1", |_| Ok(Activation::Relu))?
        .add_named("conv2", |vb| Conv2d::new(24, 32, 3, Conv2dConfig::default(), vb))?
        .add_named("pool2", |_| MaxPool2d::new(2))?
        .add_named("relu2", |_| Ok(Activation::Relu))?
        .add_named("flatten", |_| Ok(glassbox::Flatten))?
        .add_named("fc1", |vb| Linear::new(800, 256, vb))?
        .add_named("relu3", |_| Ok(Activation::Relu))?
        .add_named("fc2", |vb| Linear::new(256, 10, vb))
}
