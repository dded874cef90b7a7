//! A score that asks whether a sample is of its class.

use candle_core::Tensor;
use glassbox_core::{Init, Param, Pass, Result, Site, TensorExt, VarBuilder};
use glassbox_kernels::embedding::embedding;

use super::{ScaledLinear, WeightScale, expect_count, expect_labels};
use crate::input_gradient::{InputGradient, Pullback};

/// The head of a projection discriminator (Miyato and Koyama 2018, arXiv 1802.05637): score = w · h + b + e\[class\] · h, h a
/// sample's features.
///
/// Parameters: the spectrally normalised `linear`, and `embedding.weight` (num_classes, num_features), initially uniform
/// within ± 1/√num_features. The embedding is not normalised.
///
/// # Shapes
/// Features (batch, num_features) and classes (batch), u32, to scores (batch, 1).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_gan::ProjectionHead;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let head = ProjectionHead::new(16, 10, params.root())?;
/// let (features, classes) = (Tensor::ones((2, 16), DType::F32, &Device::Cpu)?, Tensor::new(&[3u32, 0], &Device::Cpu)?);
/// assert_eq!(head.forward(&features, Some(&classes), &Pass::eval())?.dims(), [2, 1]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ProjectionHead {
    linear: ScaledLinear,
    embedding: Param,
    num_features: usize,
    site: Site,
}

impl ProjectionHead {
    /// A head for features of `num_features` and `num_classes` classes.
    ///
    /// # Errors
    /// A number of 0; parameters of the same name and another shape exist.
    pub fn new(num_features: usize, num_classes: usize, vb: VarBuilder) -> Result<Self> {
        Self::with_scale(num_features, num_classes, WeightScale::SPECTRAL, vb)
    }

    /// The same, with the linear weight scaled in another way.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_scale(num_features: usize, num_classes: usize, scale: WeightScale, vb: VarBuilder) -> Result<Self> {
        expect_count("num_classes", num_classes).map_err(|e| e.at(vb.path()))?;
        let linear = ScaledLinear::new(num_features, 1, scale, vb.pp("linear"))?;
        let init = Init::UniformFan(num_features);
        let embedding = vb.pp("embedding").param("weight", (num_classes, num_features), init)?;
        Ok(Self { linear, embedding, num_features, site: Site::new(vb.path(), "ProjectionHead") })
    }

    /// The scores of features under their classes.
    ///
    /// # Errors
    /// Features of another number; no classes, or not one for each sample; a class out of range.
    pub fn forward(&self, features: &Tensor, classes: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.forward_with_pullback(features, classes, pass).map(|(scores, _)| scores)
    }

    /// The scores, and the map from their gradient to that of the features.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with_pullback(
        &self,
        features: &Tensor,
        classes: Option<&Tensor>,
        pass: &Pass,
    ) -> Result<(Tensor, Pullback)> {
        let (scores, of_linear) = self.linear.forward_with_pullback(features, pass)?;
        let directions = self.directions(features, classes, pass).map_err(|e| e.at(self.site.path()))?;
        let scores = self.site.run(features, pass, || Ok((scores + (features * &directions)?.sum_keepdim(1)?)?))?;
        let pullback = move |g: &Tensor| Ok((of_linear(g)? + directions.broadcast_mul(g)?)?);
        Ok((scores, Box::new(pullback)))
    }

    fn directions(&self, features: &Tensor, classes: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        features.expect_rank(2, "(batch, num_features)")?;
        features.expect_last_dim(self.num_features, "num_features")?;
        let classes = expect_labels("projection head", classes, features.dim(0)?)?;
        Ok(embedding(&self.embedding.get(pass), classes, None)?)
    }
}
