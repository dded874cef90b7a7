//! Batch normalisation.

use candle_core::{DType, Tensor};
use glassbox_core::fusion::{Follower, Normalization, Normalizer};
use glassbox_core::{Error, Init, Layer, Param, Pass, Result, Site, VarBuilder};
use glassbox_kernels::norm::{batch_norm_eval, batch_norm_train};

use crate::check::{expect_images, expect_positive, expect_volumes, wrong_input};

/// How a [`BatchNorm1d`], [`BatchNorm2d`] or [`BatchNorm3d`] normalises; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Added to the variance, at least 0. Default 1e-5.
    pub eps: f64,
    /// Share of the newest batch in the running statistics, in [0, 1]; none for the plain mean over all batches so far.
    /// Default 0.1.
    pub momentum: Option<f64>,
    /// Whether a learned `weight` and `bias` follow. Default true.
    pub affine: bool,
    /// Whether running statistics are kept, and used in evaluation. Default true.
    pub track_running_stats: bool,
    /// Initial value of the weight. Default ones.
    pub weight_init: Init,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, momentum: Some(0.1), affine: true, track_running_stats: true, weight_init: Init::Ones }
    }
}

impl BatchNormConfig {
    fn check(&self, num_features: usize) -> Result<()> {
        expect_positive("num_features", &[num_features])?;
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(Error::invalid("eps", "a finite number of at least 0", self.eps));
        }
        match self.momentum {
            Some(momentum) if !(0.0..=1.0).contains(&momentum) => {
                Err(Error::invalid("momentum", "within [0, 1], or none", momentum))
            }
            _ => Ok(()),
        }
    }
}

/// Normalises each channel of images over the batch and the image: `y = (x − mean) / √(var + eps) · weight + bias`.
///
/// In training, mean and (biased) variance are the batch's, gradients flow through them, and the running statistics move
/// towards them: `running = (1 − momentum) · running + momentum · batch`, with the unbiased variance. In evaluation they
/// are the running ones, or the batch's where none are kept. All as PyTorch's `nn.BatchNorm2d`.
///
/// Parameters: `weight` (num_features), initially 1, and `bias` (num_features), initially 0. Buffers: `running_mean`,
/// initially 0, `running_var`, initially 1, and the counter `num_batches_tracked` (i64, scalar).
///
/// # Shapes
/// (batch, num_features, height, width) to the same.
///
/// # References
/// Ioffe and Szegedy 2015, arXiv 1502.03167.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{BatchNorm2d, BatchNormConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed, TensorExt};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = BatchNorm2d::new(3, BatchNormConfig::default(), params.root())?;
/// let images = Tensor::full(5f32, (2, 3, 4, 4), &Device::Cpu)?;
/// layer.forward(&images, &Pass::train(Seed(1)))?;
/// assert_eq!(params.get("running_mean").map(|p| p.value().to_vec1()).transpose()?, Some(vec![0.5f32; 3]));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchNorm2d(BatchNorm);

impl BatchNorm2d {
    /// Normalisation of `num_features` channels.
    ///
    /// # Errors
    /// No features, `eps` or `momentum` out of range, or parameters of the same name and another shape.
    pub fn new(num_features: usize, config: BatchNormConfig, vb: VarBuilder) -> Result<Self> {
        BatchNorm::new(num_features, config, "BatchNorm2d", vb).map(Self)
    }
}

impl Layer for BatchNorm2d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.0.forward(xs, pass, || expect_images(xs, self.0.num_features))
    }

    fn follower(&self) -> Option<Follower<'_>> {
        Some(Follower::BatchNorm(&self.0))
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.0.site)
    }
}

/// Normalises each channel of volumes over the batch and the volume; otherwise as [`BatchNorm2d`].
///
/// # Shapes
/// (batch, num_features, depth, height, width) to the same.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{BatchNorm3d, BatchNormConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = BatchNorm3d::new(3, BatchNormConfig::default(), params.root())?;
/// let clips = Tensor::zeros((2, 3, 4, 5, 6), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&clips, &Pass::train(Seed(1)))?.dims(), clips.dims());
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchNorm3d(BatchNorm);

impl BatchNorm3d {
    /// Normalisation of `num_features` channels.
    ///
    /// # Errors
    /// As [`BatchNorm2d::new`].
    pub fn new(num_features: usize, config: BatchNormConfig, vb: VarBuilder) -> Result<Self> {
        BatchNorm::new(num_features, config, "BatchNorm3d", vb).map(Self)
    }
}

impl Layer for BatchNorm3d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.0.forward(xs, pass, || expect_volumes(xs, self.0.num_features))
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.0.site)
    }
}

/// Normalises each feature over the batch, and over the length where there is one; otherwise as [`BatchNorm2d`].
///
/// # Shapes
/// (batch, num_features) or (batch, num_features, length), to the same.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_cnn::{BatchNorm1d, BatchNormConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = BatchNorm1d::new(2, BatchNormConfig { eps: 0.0, ..Default::default() }, params.root())?;
/// let rows = Tensor::new(&[[1f32, 10.0], [3.0, 30.0]], &Device::Cpu)?;
/// assert_eq!(layer.forward(&rows, &Pass::train(Seed(1)))?.to_vec2::<f32>()?, [[-1.0, -1.0], [1.0, 1.0]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchNorm1d(BatchNorm);

impl BatchNorm1d {
    /// Normalisation of `num_features` features.
    ///
    /// # Errors
    /// As [`BatchNorm2d::new`].
    pub fn new(num_features: usize, config: BatchNormConfig, vb: VarBuilder) -> Result<Self> {
        BatchNorm::new(num_features, config, "BatchNorm1d", vb).map(Self)
    }
}

impl Layer for BatchNorm1d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.0.forward(xs, pass, || match *xs.dims() {
            [_, c] | [_, c, _] if c == self.0.num_features => Ok(()),
            _ => Err(wrong_input(format!("(batch, {0}) or (batch, {0}, length)", self.0.num_features), xs)),
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.0.site)
    }
}

/// What all have in common.
#[derive(Debug)]
struct BatchNorm {
    weight: Option<Param>,
    bias: Option<Param>,
    running: Option<Running>,
    num_features: usize,
    eps: f64,
    site: Site,
}

/// Running statistics, and how they move.
#[derive(Debug)]
struct Running {
    mean: Param,
    var: Param,
    num_batches_tracked: Param,
    momentum: Option<f64>,
}

impl BatchNorm {
    fn new(num_features: usize, config: BatchNormConfig, kind: &'static str, vb: VarBuilder) -> Result<Self> {
        config.check(num_features).map_err(|e| e.at(vb.path()))?;
        let weight = config.affine.then(|| vb.param("weight", num_features, config.weight_init)).transpose()?;
        let bias = config.affine.then(|| vb.param("bias", num_features, Init::Zeros)).transpose()?;
        let tracked = config.track_running_stats;
        let running = tracked.then(|| Running::new(num_features, config.momentum, &vb)).transpose()?;
        Ok(Self { weight, bias, running, num_features, eps: config.eps, site: Site::new(vb.path(), kind) })
    }

    fn forward(&self, xs: &Tensor, pass: &Pass, check_shape: impl FnOnce() -> Result<()>) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            check_shape()?;
            let Normalizer { weight, bias, statistics, eps } = self.normalizer(pass);
            let (weight, bias) = (weight.as_ref(), bias.as_ref());
            if let Some((mean, var)) = statistics {
                return Ok(batch_norm_eval(xs, &mean, &var, weight, bias, eps)?);
            }
            let (ys, mean, var) = batch_norm_train(xs, weight, bias, eps)?;
            self.observe(&mean, &var, xs.elem_count() / self.num_features)?;
            Ok(ys)
        })
    }
}

impl Normalization for BatchNorm {
    fn num_channels(&self) -> usize {
        self.num_features
    }

    fn normalizer(&self, pass: &Pass) -> Normalizer {
        let running = self.running.as_ref().filter(|_| !pass.is_training());
        Normalizer {
            weight: self.weight.as_ref().map(|w| w.get(pass)),
            bias: self.bias.as_ref().map(|b| b.get(pass)),
            statistics: running.map(|running| (running.mean.value(), running.var.value())),
            eps: self.eps,
        }
    }

    fn observe(&self, mean: &Tensor, var: &Tensor, count: usize) -> Result<()> {
        self.running.as_ref().map_or(Ok(()), |running| running.update(mean, var, count))
    }
}

impl Running {
    fn new(num_features: usize, momentum: Option<f64>, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            mean: vb.buffer("running_mean", num_features, Init::Zeros)?,
            var: vb.buffer("running_var", num_features, Init::Ones)?,
            num_batches_tracked: vb.buffer_of("num_batches_tracked", (), Init::Zeros, DType::I64)?,
            momentum,
        })
    }

    /// Takes in the mean and the biased variance of a batch of `count` elements a channel, at least 2.
    fn update(&self, mean: &Tensor, var: &Tensor, count: usize) -> Result<()> {
        let tracked = (self.num_batches_tracked.value() + 1.0)?;
        self.num_batches_tracked.set(&tracked)?;
        let share = match self.momentum {
            Some(momentum) => momentum,
            None => 1.0 / tracked.to_scalar::<i64>()? as f64,
        };
        let unbiased = (var * (count as f64 / (count as f64 - 1.0)))?;
        for (running, batch) in [(&self.mean, mean), (&self.var, &unbiased)] {
            running.set(&((running.value() * (1.0 - share))? + (batch * share)?)?)?;
        }
        Ok(())
    }
}
