//! The classifier by whose features and answers generated images are measured.

use glassbox::dataset::Dataset;
use glassbox::prelude::*;

use super::RunArgs;

/// Trains a classifier on real images, in the folder `classifier` of the run, which keeps its weights: the classifier, and
/// its accuracy on the images of `test`.
pub fn train<D>(
    run: &RunArgs,
    config: SmallCnnConfig,
    train: D,
    test: D,
    epochs: u64,
) -> anyhow::Result<(SmallCnn, f64)>
where
    D: Dataset<Item = Sample> + 'static,
{
    let run = RunArgs { out: run.out.join("classifier"), epochs, steps: None, quiet: true, ..run.clone() };
    let params = ParamStore::new(Seed(7), &device(&run.device)?);
    let model = SmallCnn::new(config.clone(), params.root())?;
    let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 0.01)?)
        .schedule(OneCycle::new(0.01))
        .metric(Accuracy::default());
    let loader = DataLoader::new(train, 64).shuffle(Seed(7).child("order"));
    let trainer = run.trainer(&"the classifier that measures")?.seed(Seed(7));
    let fitted = super::finished(trainer.fit(step, loader, DataLoader::new(test, 256))?)?;
    let accuracy = fitted.scores.value("accuracy").unwrap_or(f64::NAN);
    // The same parameters once more: the first model stays in the step.
    Ok((SmallCnn::new(config, params.root())?, accuracy))
}
