//! Noise with a learned strength.

use candle_core::Tensor;
use glassbox_core::{Init, Layer, Param, Pass, Result, Site, TensorExt, VarBuilder};

/// Adds normal noise, the same for all channels of a position: y = x + noise_strength · n (Karras et al. 2018, arXiv
/// 1812.04948).
///
/// Parameter: `noise_strength` (1), initially 0. The noise comes from the pass, in evaluation too: there it is the same in
/// every pass.
///
/// # Shapes
/// (batch, channels, height, width) to the same.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_gan::NoiseInjection;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let maps = Tensor::ones((2, 3, 4, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(NoiseInjection::new(params.root())?.forward(&maps, &Pass::eval())?.sum_all()?.to_scalar::<f32>()?, 96.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct NoiseInjection {
    strength: Param,
    site: Site,
}

impl NoiseInjection {
    /// Noise for maps of any number of channels.
    ///
    /// # Errors
    /// A parameter of the same name and another shape exists.
    pub fn new(vb: VarBuilder) -> Result<Self> {
        Ok(Self { strength: vb.param("noise_strength", 1, Init::Zeros)?, site: Site::new(vb.path(), "NoiseInjection") })
    }
}

impl Layer for NoiseInjection {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            xs.expect_rank(4, "(batch, channels, height, width)")?;
            let (batch, _, height, width) = xs.dims4()?;
            let shape = (batch, 1, height, width);
            let noise = pass.rng().normal_tensor(shape, 0.0, 1.0, xs.dtype(), xs.device())?;
            Ok(xs.broadcast_add(&noise.broadcast_mul(&self.strength.get(pass).reshape((1, 1, 1, 1))?)?)?)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
