//! A layer of one's own: a struct and one method. It trains, saves, resumes and shows itself like any other.

mod common;

use std::process::ExitCode;

use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::candle_nn::ops::sigmoid;
use glassbox::prelude::*;
use serde::Serialize;

/// Trains a network of gated layers, written in this file, on the embedded handwritten digits.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
}

/// `value(x) · sigmoid(gate(x))`: a gated linear unit (Dauphin et al. 2016, arXiv 1612.08083).
struct Gated {
    value: Linear,
    gate: Linear,
}

impl Gated {
    fn new(in_features: usize, out_features: usize, vb: VarBuilder) -> Result<Self> {
        let linear = |name| Linear::new(in_features, out_features, vb.pp(name));
        Ok(Self { value: linear("value")?, gate: linear("gate")? })
    }
}

impl Layer for Gated {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let gate = sigmoid(&self.gate.forward(xs, pass)?)?;
        Ok((self.value.forward(xs, pass)? * gate)?)
    }
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/custom_layer", epochs: "15", batch_size: "64", lr: "0.01" });
    let run = &args.run;
    let device = device(&run.device)?;
    let (train, test) = data::digits()?.split_stratified(0.8, Seed(7))?;

    let params = ParamStore::new(Seed(run.seed), &device);
    let model = Sequential::new(params.root())
        .add(|_| Ok(glassbox::Flatten))?
        .add(|vb| Gated::new(64, 96, vb))?
        .add(|vb| Gated::new(96, 10, vb))?;
    if !run.quiet {
        println!("{}\n", summary(&model, &params, &[1, 1, 8, 8])?);
    }

    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, run.lr)?)
        .schedule(OneCycle::new(run.lr))
        .metric(Accuracy::default());
    let loader = DataLoader::new(train, run.batch_size).shuffle(Seed(run.seed).child("order"));
    let fitted = common::finished(run.trainer(&args)?.fit(step, loader, DataLoader::new(test, 256))?)?;

    common::print_accuracy(&fitted);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gated_keeps_the_contract_of_every_layer() {
        glassbox::testkit::check_layer(|vb| Gated::new(8, 5, vb), &[4, 8]);
    }
}
