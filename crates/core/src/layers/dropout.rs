//! Dropout, of elements and of channels.

use candle_core::Tensor;
use glassbox_kernels::dropout::{channel_dropout, dropout};

use crate::{Error, Layer, Pass, Result};

/// In training, sets each element to 0 with probability p and multiplies the others by 1 / (1 − p); else the identity
/// (Srivastava et al. 2014). One random number comes from the pass; it is the seed of the elements' own.
///
/// # Shapes
/// Any; the output has the same.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Dropout, Layer, Pass, Seed};
/// let xs = Tensor::ones(8, DType::F32, &Device::Cpu)?;
/// let dropout = Dropout::new(0.5)?;
/// let ys = dropout.forward(&xs, &Pass::train(Seed(1)))?.to_vec1::<f32>()?;
/// assert!(ys.iter().all(|&y| y == 0.0 || y == 2.0));
/// assert_eq!(dropout.forward(&xs, &Pass::eval())?.to_vec1::<f32>()?, [1.0; 8]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    p: f64,
}

impl Dropout {
    /// Dropout with probability `p` of zero, in [0, 1). PyTorch also takes 1, which leaves nothing to learn from.
    ///
    /// # Errors
    /// `p` outside [0, 1).
    pub fn new(p: f64) -> Result<Self> {
        check(p).map(|()| Self { p })
    }
}

impl Layer for Dropout {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        if !drops(self.p, pass) {
            return Ok(xs.clone());
        }
        let seed = pass.rng().next_u64();
        Ok(dropout(xs, self.p, seed)?)
    }
}

/// In training, sets each channel of each sample to 0 with probability p and multiplies the others by 1 / (1 − p); else
/// the identity (Tompson et al. 2014, arXiv 1411.4280). It is PyTorch's `Dropout1d`, `Dropout2d` and `Dropout3d` in one.
///
/// # Shapes
/// (batch, num_channels, …), of three dimensions or more; the output has the same. PyTorch also takes inputs without the
/// batch dimension.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{ChannelDropout, Layer, Pass, Seed};
/// let xs = Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?;
/// let ys = ChannelDropout::new(0.5)?.forward(&xs, &Pass::train(Seed(1)))?.to_vec3::<f32>()?;
/// assert!(ys.iter().flatten().all(|channel| *channel == [0.0; 4] || *channel == [2.0; 4]));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelDropout {
    p: f64,
}

impl ChannelDropout {
    /// Dropout of channels with probability `p` of zero, in [0, 1).
    ///
    /// # Errors
    /// `p` outside [0, 1).
    pub fn new(p: f64) -> Result<Self> {
        check(p).map(|()| Self { p })
    }
}

impl Layer for ChannelDropout {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        if xs.rank() < 3 {
            let expected = "(batch, num_channels, …) of three dimensions or more";
            return Err(Error::invalid("input", expected, format!("{:?}", xs.dims())));
        }
        if !drops(self.p, pass) {
            return Ok(xs.clone());
        }
        let seed = pass.rng().next_u64();
        Ok(channel_dropout(xs, self.p, seed)?)
    }
}

fn check(p: f64) -> Result<()> {
    if (0.0..1.0).contains(&p) { Ok(()) } else { Err(Error::invalid("dropout probability", "p in [0, 1)", p)) }
}

/// Whether anything is dropped at all.
fn drops(p: f64, pass: &Pass) -> bool {
    pass.is_training() && p > 0.0
}
