//! Training without the Trainer: the same pieces, put together by hand, checkpoints included.

mod common;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::dataset::Position;
use glassbox::lens::Report;
use glassbox::prelude::*;
use glassbox::train::checkpoint::{self, Keep};
use glassbox::{Gradients, State};
use serde::Serialize;

/// Learns the embedded handwritten digits with a multilayer perceptron, in a training loop written in this file.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/custom_loop", epochs: "30", batch_size: "64", lr: "0.003" });
    let run = &args.run;
    let device = device(&run.device)?;
    let dir = RunDir::new(&run.out)?;
    dir.write_config(&args)?;
    let (train, test) = data::digits()?.split_stratified(0.8, Seed(7))?;
    let train = DataLoader::new(train, run.batch_size).shuffle(Seed(run.seed).child("order"));
    let test = DataLoader::new(test, 256);

    let params = ParamStore::new(Seed(run.seed), &device);
    let model =
        Sequential::new(params.root()).add_named("flatten", |_| Ok(glassbox::Flatten))?.add_named("mlp", |vb| {
            Mlp::new(MlpConfig { in_features: 64, hidden: vec![128], out_features: 10, ..Default::default() }, vb)
        })?;
    let mut optimizer = AdamW::new(&params, run.lr)?;
    let roles = [("model", params.clone())];

    let (mut step, mut first_epoch) = (0, 0);
    if run.resume
        && let Some(state) = checkpoint::read_newest(&dir.checkpoints(), &roles, |w| eprintln!("warning: {w}"))?
    {
        optimizer.load_state(&state.nested("optimizer"))?;
        (step, first_epoch) = (state.value("step")?, state.value("epoch")?);
    }
    let started = Instant::now();
    let mut log = File::options()
        .create(true)
        .append(run.resume)
        .write(true)
        .truncate(!run.resume)
        .open(dir.file("metrics.jsonl"))?;
    let mut accuracy = Accuracy::default();
    let is_over = |step| run.steps.is_some_and(|steps| step >= steps);
    for epoch in first_epoch..run.epochs {
        let mut loss_sum = 0.0;
        for batch in train.batches(Position { epoch, batch: 0 }, &device)? {
            let batch = batch?;
            // Forward, loss, backward, update.
            let logits = model.forward(&batch.input, &Pass::train(Seed(run.seed).child("step").index(step)))?;
            let loss = CrossEntropy::default().forward(&logits, &batch.target)?;
            optimizer.step(&Gradients::of(&loss, &params)?, 1.0)?;
            loss_sum += loss.to_f64()?;
            step += 1;
            if is_over(step) {
                break;
            }
        }
        accuracy.reset();
        for batch in test.batches(Position::default(), &device)? {
            let batch = batch?;
            accuracy.update(&model.forward(&batch.input, &Pass::eval())?, &batch.target)?;
        }
        let (loss, score) = (loss_sum / train.num_batches()? as f64, accuracy.compute()?);
        writeln!(log, r#"{{"event":"epoch","step":{step},"epoch":{},"loss":{loss},"accuracy":{score}}}"#, epoch + 1)?;
        if !run.quiet {
            eprintln!("epoch {}/{}  loss {loss:.4}  accuracy {score:.4}", epoch + 1, run.epochs);
        }
        if is_over(step) {
            break;
        }
        let mut state = State::default();
        state.nest("optimizer", optimizer.state()?);
        state.put("step", &step)?;
        state.put("epoch", &(epoch + 1))?;
        checkpoint::write(&dir.checkpoints(), step, &roles, &state, Keep::default())?;
    }
    params.save(dir.file("model.safetensors"))?;
    if !run.no_report {
        // Of the metrics alone: what goes on inside is seen by the trainer's callback.
        Report::of_run(dir.path())?.save(&dir.file("report.html"))?;
    }
    common::print_result(&[("accuracy", accuracy.compute()?)], started.elapsed().as_secs_f64());
    Ok(())
}
