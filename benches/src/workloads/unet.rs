//! A U-Net that tells each pixel's class from the other.

use glassbox::prelude::*;

use super::supervised::Supervised;
use super::{Size, ids, normal};

/// Channels at each level, from the top.
const CHANNELS: [usize; 4] = [16, 32, 64, 128];

/// Multiply-adds: what the convolutions, plain and transposed, report.
pub fn workload(size: Size) -> Result<Supervised> {
    let shape = (size.batch.unwrap_or(4), 1, 128, 128);
    let batch = Batch { input: normal("input", shape)?, target: ids("target", 2, shape)?.to_dtype(DType::F32)? };
    Supervised::new(UNet::new, BceWithLogits::default(), batch, size.dtype)
}

/// Down to the middle and back up, each level joined with what it was on the way down.
struct UNet {
    down: Vec<Sequential>,
    middle: Sequential,
    up: Vec<ConvTranspose2d>,
    merge: Vec<Sequential>,
    out: Conv2d,
}

impl UNet {
    fn new(vb: VarBuilder) -> Result<Self> {
        let [top, .., bottom] = CHANNELS;
        let levels = || CHANNELS.windows(2).map(|pair| (pair[0], pair[1]));
        let inputs = [1].into_iter().chain(CHANNELS);
        let double = ConvTranspose2dConfig { stride: 2.into(), ..Default::default() };
        let at = |name: &str, i: usize| vb.pp(name).pp(i);
        Ok(Self {
            down: inputs
                .zip(&CHANNELS[..3])
                .enumerate()
                .map(|(i, (inputs, &outputs))| double_conv(inputs, outputs, at("down", i)))
                .collect::<Result<_>>()?,
            middle: double_conv(bottom / 2, bottom, vb.pp("middle"))?,
            up: levels()
                .rev()
                .enumerate()
                .map(|(i, (above, below))| ConvTranspose2d::new(below, above, 2, double, at("up", i)))
                .collect::<Result<_>>()?,
            merge: levels()
                .rev()
                .enumerate()
                .map(|(i, (above, below))| double_conv(below, above, at("merge", i)))
                .collect::<Result<_>>()?,
            out: Conv2d::new(top, 1, 1, Conv2dConfig::default(), vb.pp("out"))?,
        })
    }
}

impl Layer for UNet {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let pool = MaxPool2d::new(2);
        let (mut xs, mut kept) = (xs.clone(), vec![]);
        for down in &self.down {
            let level = down.forward(&xs, pass)?;
            xs = pool.forward(&level, pass)?;
            kept.push(level);
        }
        xs = self.middle.forward(&xs, pass)?;
        for ((up, merge), level) in self.up.iter().zip(&self.merge).zip(kept.iter().rev()) {
            xs = merge.forward(&concat(&[&up.forward(&xs, pass)?, level], 1)?, pass)?;
        }
        self.out.forward(&xs, pass)
    }
}

fn double_conv(in_channels: usize, out_channels: usize, vb: VarBuilder) -> Result<Sequential> {
    let same = Conv2dConfig { padding: 1.into(), ..Default::default() };
    Sequential::new(vb)
        .add(|vb| Conv2d::new(in_channels, out_channels, 3, same, vb))?
        .add(|vb| BatchNorm2d::new(out_channels, BatchNormConfig::default(), vb))?
        .add(|_| Ok(Activation::Relu))?
        .add(|vb| Conv2d::new(out_channels, out_channels, 3, same, vb))?
        .add(|vb| BatchNorm2d::new(out_channels, BatchNormConfig::default(), vb))?
        .add(|_| Ok(Activation::Relu))
}
