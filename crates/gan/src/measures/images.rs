//! What a classifier says of generated images.

use candle_core::{D, DType, Tensor};
use glassbox_cnn::SmallCnn;
use glassbox_core::train::Score;
use glassbox_core::{Layer, Pass, Result, concat};

use super::{SampleMeasure, frechet_distance, kernel_distance, precision_recall};

/// A [`SampleMeasure`] of images by a classifier that was trained on real ones. With the features that its last layer sees:
///
/// - `frechet`: the [Fréchet distance](frechet_distance), `kernel`: the [kernel distance](kernel_distance);
/// - `precision`, `recall`, `density`, `coverage`: see [`precision_recall`], with k = 5;
///
/// and by its answers:
///
/// - `classes`: how many classes it finds among the generated images;
/// - `agreement`: the share of generated images that it takes for the class that they were made for, where the game is
///   conditional.
///
/// These numbers compare only under the same classifier: keep its weights, and its score, with them.
pub struct ClassifierMeasure {
    classifier: SmallCnn,
    conditional: bool,
    real: Vec<Tensor>,
    fake: Vec<Tensor>,
    answers: Vec<u32>,
    wanted: Vec<u32>,
}

/// Neighbours in the neighbourhoods of precision, recall, density and coverage.
const NEIGHBOURS: usize = 5;
/// Samples that these compare at most: their cost grows with the square.
const MAX_SAMPLES: usize = 2000;

impl ClassifierMeasure {
    /// The measure by `classifier`; in a `conditional` game, with the agreement.
    pub fn new(classifier: SmallCnn, conditional: bool) -> Self {
        let (real, fake, answers, wanted) = Default::default();
        Self { classifier, conditional, real, fake, answers, wanted }
    }

    /// The classes that the classifier finds.
    ///
    /// # Errors
    /// Images that do not suit it.
    pub fn classify(&self, images: &Tensor) -> Result<Vec<u32>> {
        Ok(self.classifier.forward(images, &Pass::eval())?.argmax(D::Minus1)?.to_vec1()?)
    }
}

impl SampleMeasure for ClassifierMeasure {
    fn update(&mut self, real: &Tensor, fake: &Tensor, condition: &Tensor) -> Result<()> {
        let features = |images: &Tensor| Ok(self.classifier.features(images, &Pass::eval())?.detach());
        let pair: Result<(Tensor, Tensor)> = features(real).and_then(|real| Ok((real, features(fake)?)));
        let (real, of_fake) = pair?;
        self.real.push(real);
        self.fake.push(of_fake);
        self.answers.extend(self.classify(fake)?);
        if self.conditional {
            self.wanted.extend(condition.to_dtype(DType::U32)?.to_vec1::<u32>()?);
        }
        Ok(())
    }

    fn scores(&mut self) -> Result<Vec<Score>> {
        let (real, fake) = (concat(&std::mem::take(&mut self.real), 0)?, concat(&std::mem::take(&mut self.fake), 0)?);
        let (mut answers, wanted) = (std::mem::take(&mut self.answers), std::mem::take(&mut self.wanted));
        let agreement = answers.iter().zip(&wanted).filter(|(a, b)| a == b).count() as f64 / wanted.len().max(1) as f64;
        answers.sort_unstable();
        answers.dedup();
        let first = |features: &Tensor| features.narrow(0, 0, MAX_SAMPLES.min(features.dim(0)?));
        let near = precision_recall(&first(&real)?, &first(&fake)?, NEIGHBOURS)?;
        let score = |name: &str, value, higher_is_better| Score { name: name.into(), value, higher_is_better };
        let mut scores = vec![
            score("frechet", frechet_distance(&real, &fake)?, false),
            score("kernel", kernel_distance(&real, &fake)?, false),
            score("precision", near.precision, true),
            score("recall", near.recall, true),
            score("density", near.density, true),
            score("coverage", near.coverage, true),
            score("classes", answers.len() as f64, true),
        ];
        if self.conditional {
            scores.push(score("agreement", agreement, true));
        }
        Ok(scores)
    }
}
