//! Batch normalisation whose scale and shift depend on the class.

use candle_core::Tensor;
use glassbox_cnn::{BatchNorm2d, BatchNormConfig};
use glassbox_core::{Init, Layer, Param, Pass, Result, Site, VarBuilder};
use glassbox_kernels::embedding::embedding;

use super::{expect_count, expect_labels};

/// Conditional batch normalisation (Dumoulin et al. 2016, arXiv 1610.07629; de Vries et al. 2017, arXiv 1707.00683):
/// y = (x − mean) / √(var + eps) · weight\[class\] + bias\[class\].
///
/// Parameters: `weight`, initially ones, and `bias`, initially zeros, both (num_classes, num_features). Buffers: those of
/// `BatchNorm2d`, which normalises.
///
/// # Shapes
/// Images (batch, num_features, height, width) and classes (batch), u32, to the shape of the images.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_gan::ConditionalBatchNorm2d;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = ConditionalBatchNorm2d::new(3, 10, params.root())?;
/// let (images, classes) = (Tensor::ones((2, 3, 4, 4), DType::F32, &Device::Cpu)?, Tensor::new(&[7u32, 1], &Device::Cpu)?);
/// assert_eq!(layer.forward(&images, Some(&classes), &Pass::train(Seed(1)))?.dims(), [2, 3, 4, 4]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ConditionalBatchNorm2d {
    norm: BatchNorm2d,
    weight: Param,
    bias: Param,
    site: Site,
}

impl ConditionalBatchNorm2d {
    /// Normalisation of `num_features` channels, for `num_classes` classes.
    ///
    /// # Errors
    /// A number of 0; parameters of the same name and another shape exist.
    pub fn new(num_features: usize, num_classes: usize, vb: VarBuilder) -> Result<Self> {
        expect_count("num_classes", num_classes).map_err(|e| e.at(vb.path()))?;
        let config = BatchNormConfig { affine: false, ..Default::default() };
        let norm = BatchNorm2d::new(num_features, config, vb.clone())?;
        let weight = vb.param("weight", (num_classes, num_features), Init::Ones)?;
        let bias = vb.param("bias", (num_classes, num_features), Init::Zeros)?;
        Ok(Self { norm, weight, bias, site: Site::new(vb.path(), "ConditionalBatchNorm2d") })
    }

    /// The images normalised as their classes want it.
    ///
    /// # Errors
    /// Images of another number of channels; no classes, or not one for each image; a class out of range.
    pub fn forward(&self, xs: &Tensor, classes: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let normal = self.norm.forward(xs, pass)?;
        self.site.run(xs, pass, || {
            let (batch, channels, _, _) = xs.dims4()?;
            let classes = expect_labels("conditional batch norm", classes, batch)?;
            let of_class = |param: &Param| embedding(&param.get(pass), classes, None)?.reshape((batch, channels, 1, 1));
            Ok(normal.broadcast_mul(&of_class(&self.weight)?)?.broadcast_add(&of_class(&self.bias)?)?)
        })
    }
}
