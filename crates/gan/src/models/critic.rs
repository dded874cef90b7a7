//! What the critics of images have in common: features, and heads that read them.

use candle_core::Tensor;
use glassbox_core::{Layer, Linear, Pass, Result, Sequential, VarBuilder};

use crate::input_gradient::{Chain, InputGradient, Pullback};
use crate::{Critic, ProjectionHead, ScaledLinear, Verdict, WeightScale};

/// A critic of images: layers to features, a head to scores, and, for an auxiliary classifier, another to classes.
///
/// Parameters: `body.…`, `head.…`, and `classes.…` where it names classes.
pub struct ImageCritic {
    body: Body,
    head: Head,
    classes: Option<Linear>,
}

/// The layers to the features.
pub(super) enum Body {
    /// With batch normalisation: no input gradient.
    Plain(Sequential),
    Chain(Chain),
}

enum Head {
    Linear(Linear),
    Scaled(ScaledLinear),
    Projection(ProjectionHead),
}

/// How a critic looks at classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClassHead {
    /// It asks whether a sample is of the class that it was made for (Miyato and Koyama 2018).
    #[default]
    Projection,
    /// It names the class of a sample (Odena et al. 2016); the step's `class_weight` says how much that counts.
    Auxiliary,
}

impl ImageCritic {
    /// Heads for `num_features` features of `body`, with weights scaled where `scale` says how.
    pub(super) fn with_heads(
        body: Body,
        num_features: usize,
        classes: Option<(usize, ClassHead)>,
        scale: Option<WeightScale>,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let place = vb.pp("head");
        let head = match (classes, scale) {
            (Some((num_classes, ClassHead::Projection)), scale) => {
                let scale = scale.unwrap_or(WeightScale::EQUALIZED);
                Head::Projection(ProjectionHead::with_scale(num_features, num_classes, scale, place)?)
            }
            (_, Some(scale)) => Head::Scaled(ScaledLinear::new(num_features, 1, scale, place)?),
            (_, None) => Head::Linear(Linear::new(num_features, 1, place)?),
        };
        let classes = match classes {
            Some((num_classes, ClassHead::Auxiliary)) => {
                Some(Linear::new(num_features, num_classes, vb.pp("classes"))?)
            }
            _ => None,
        };
        Ok(Self { body, head, classes })
    }

    fn read(&self, features: &Tensor, condition: Option<&Tensor>, pass: &Pass) -> Result<(Verdict, Pullback)> {
        let (scores, pullback) = match &self.head {
            Head::Linear(head) => head.forward_with_pullback(features, pass)?,
            Head::Scaled(head) => head.forward_with_pullback(features, pass)?,
            Head::Projection(head) => head.forward_with_pullback(features, condition, pass)?,
        };
        let classes = self.classes.as_ref().map(|head| head.forward(features, pass)).transpose()?;
        Ok((Verdict { scores, classes }, pullback))
    }
}

impl Critic for ImageCritic {
    fn judge(&self, samples: &Tensor, condition: Option<&Tensor>, pass: &Pass) -> Result<Verdict> {
        let features = match &self.body {
            Body::Plain(body) => body.forward(samples, pass)?,
            Body::Chain(body) => body.forward(samples, pass)?,
        };
        self.read(&features, condition, pass).map(|(verdict, _)| verdict)
    }

    fn judge_with_gradient(
        &self,
        samples: &Tensor,
        condition: Option<&Tensor>,
        pass: &Pass,
    ) -> Result<(Verdict, Tensor)> {
        let Body::Chain(body) = &self.body else {
            let expected = "a critic without batch normalisation, such as `CriticNorm::Layer`";
            return Err(glassbox_core::Error::invalid("gradient penalty", expected, "one with it"));
        };
        let (features, of_body) = body.forward_with_pullback(samples, pass)?;
        let (verdict, of_head) = self.read(&features, condition, pass)?;
        let gradient = of_body(&of_head(&verdict.scores.ones_like()?)?)?;
        Ok((verdict, gradient))
    }
}
