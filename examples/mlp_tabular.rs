//! A multilayer perceptron on a table: 10-fold cross-validation, then a model of all rows.

mod common;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::data::{Csv, Fill, Imputer, Standardizer, Table};
use glassbox::dataset::{Position, Subset};
use glassbox::prelude::*;
use serde::Serialize;

/// Learns to tell the classes of a table's rows, and measures how well by 10-fold cross-validation.
///
/// Without --data the table is the Wisconsin breast-cancer data, which are part of this project. With --data it is a CSV
/// file with a header; missing values are filled with the median of the training rows.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// The column to predict, for --data
    #[arg(long, requires = "data")]
    target: Option<String>,
    /// Columns of text, for --data: each value becomes a column of 0 and 1
    #[arg(long, value_delimiter = ',', requires = "data")]
    categorical: Vec<String>,
}

const FOLDS: usize = 10;

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/mlp_tabular", epochs: "30", batch_size: "32", lr: "0.01" });
    let run = &args.run;
    let table = read(&args)?;
    let num_classes = table.class_names().len();
    let mut confusion = ConfusionMatrix::new(num_classes)?.class_names(table.class_names().to_vec())?;
    let mut auc = RocAuc::default();
    let (mut accuracies, mut seconds) = (vec![], 0.0);

    for (fold, (train, test)) in table.clone().k_folds_stratified(FOLDS, Seed(7))?.into_iter().enumerate() {
        let prepared = prepared(&table, train.indices())?;
        let (train, test) =
            (prepared.clone().subset(train.indices().to_vec())?, prepared.subset(test.indices().to_vec())?);
        let out = run.out.join(format!("fold-{}", fold + 1));
        let fitted = fit(&args, &out, train, Some(test.clone()))?;
        seconds += fitted.seconds;
        let accuracy = fitted.scores.value("accuracy").unwrap_or(f64::NAN);
        if !run.quiet {
            println!("fold {}: accuracy {accuracy:.4}", fold + 1);
        }
        accuracies.push(accuracy);
        for batch in DataLoader::new(test, 256).batches(Position::default(), &device(&run.device)?)? {
            let batch = batch?;
            let logits = fitted.step.model().forward(&batch.input, &Pass::eval())?;
            confusion.update(&logits, &batch.target)?;
            if num_classes == 2 {
                auc.update(&(logits.narrow(1, 1, 1)? - logits.narrow(1, 0, 1)?)?.squeeze(1)?, &batch.target)?;
            }
        }
    }
    let all: Vec<usize> = (0..table.num_rows()).collect();
    seconds += fit(&args, &run.out, prepared(&table, &all)?.subset(all)?, None)?.seconds;

    let mean = accuracies.iter().sum::<f64>() / FOLDS as f64;
    let std = (accuracies.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / FOLDS as f64).sqrt();
    let mut scores = vec![("accuracy", mean), ("accuracy_std", std)];
    if num_classes == 2 {
        scores.push(("roc_auc", auc.compute()?));
    }
    if !run.quiet {
        println!("\nRows of all test folds:\n{confusion}\n");
        scores.iter().for_each(|(name, value)| println!("{name} {value:.4}"));
    }
    common::print_result(&scores, seconds);
    Ok(())
}

fn read(args: &Args) -> anyhow::Result<Table> {
    let Some(path) = &args.run.data else { return Ok(data::breast_cancer()?) };
    let target = args.target.as_deref().context("--target is needed with --data: the column to predict")?;
    let csv = Csv::open(path).class_target(target).categorical(args.categorical.iter().map(String::as_str));
    Ok(csv.allow_missing().read()?.one_hot()?)
}

/// The table with missing values filled and features standardised, by the statistics of the training rows alone.
fn prepared(table: &Table, training_rows: &[usize]) -> Result<Table> {
    let filled = Imputer::fit(table, training_rows, Fill::Median)?.apply(table.clone())?;
    Standardizer::fit(&filled, training_rows)?.apply(filled)
}

type Step = SupervisedStep<Mlp, CrossEntropy>;

fn fit(
    args: &Args,
    out: &Path,
    train: Subset<Table>,
    test: Option<Subset<Table>>,
) -> anyhow::Result<glassbox::train::Fitted<Step>> {
    let run = RunArgs { out: out.to_path_buf(), ..args.run.clone() };
    let (in_features, out_features) = (train.dataset().num_features(), train.dataset().class_names().len());
    let params = ParamStore::new(Seed(run.seed), &device(&run.device)?);
    // A few hundred rows: a small network, held back by dropout, weight decay and label smoothing.
    let config = MlpConfig { in_features, hidden: vec![32], out_features, dropout: 0.5, ..Default::default() };
    let model = Mlp::new(config, params.root())?;
    let loss = CrossEntropy::default().label_smoothing(0.1);
    let step = SupervisedStep::new(model, loss, AdamW::new(&params, run.lr)?.weight_decay(1.0))
        .schedule(OneCycle::new(run.lr))
        .metric(Accuracy::default());
    let loader = DataLoader::new(train, run.batch_size).shuffle(Seed(run.seed).child("order"));
    let quiet = RunArgs { quiet: true, ..run };
    common::finished(quiet.trainer(args)?.fit(step, loader, test.map(|test| DataLoader::new(test, 256)))?)
}
