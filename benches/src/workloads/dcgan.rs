//! A generator and a critic (DCGAN): one step of each on every batch.

use std::collections::{BTreeMap, VecDeque};

use glassbox::prelude::*;
use glassbox::{Flatten, Rng};

use super::{SEED, Size, Update, Workload, normal, take};

/// Channels of the generator's noise.
const NOISE: usize = 64;

/// Two networks, each with parameters and an optimizer of its own.
pub struct Dcgan {
    generator: Sequential,
    critic: Sequential,
    for_generator: AdamW,
    for_critic: AdamW,
    real: Tensor,
    /// Noise that a check wants in place of fresh noise.
    given: VecDeque<Tensor>,
    rng: Rng,
}

impl Dcgan {
    /// Both networks, and images to learn from.
    pub fn new(size: Size) -> Result<Self> {
        let store = || ParamStore::with_dtype(SEED, size.dtype, &Device::Cpu);
        let (of_generator, of_critic) = (store(), store());
        Ok(Self {
            generator: generator(of_generator.root().pp("generator"))?,
            critic: critic(of_critic.root().pp("critic"))?,
            for_generator: AdamW::new(&of_generator, 2e-4)?,
            for_critic: AdamW::new(&of_critic, 2e-4)?,
            real: normal("real", (size.batch.unwrap_or(64), 1, 32, 32))?,
            given: VecDeque::new(),
            rng: SEED.child("noise").rng(),
        })
    }

    fn noise(&mut self) -> Result<Tensor> {
        match self.given.pop_front() {
            Some(noise) => Ok(noise),
            None => self.rng.normal_tensor((self.samples(), NOISE, 1, 1), 0.0, 1.0, DType::F32, &Device::Cpu),
        }
    }

    /// The critic learns to tell real images from generated ones.
    fn critic_step(&mut self, fake: &Tensor, pass: &Pass) -> Result<Update> {
        let on_real = verdict(&self.critic.forward(&self.real, pass)?, true)?;
        let on_fake = verdict(&self.critic.forward(&fake.detach(), pass)?, false)?;
        Update::of(&(on_real + on_fake)?, &mut self.for_critic)
    }

    /// The generator learns to make images that the critic takes for real ones. The critic stays as it is, and its weights
    /// need no gradient.
    fn generator_step(&mut self, fake: &Tensor, pass: &Pass) -> Result<Update> {
        self.for_critic.params().freeze("*");
        let loss = verdict(&self.critic.forward(fake, pass)?, true)?;
        self.for_critic.params().unfreeze("*");
        Update::of(&loss, &mut self.for_generator)
    }
}

/// The loss of the critic's `logits` where the images are to be told real, or generated.
fn verdict(logits: &Tensor, real: bool) -> Result<Tensor> {
    let targets = if real { logits.ones_like()? } else { logits.zeros_like()? };
    BceWithLogits::default().forward(logits, &targets)
}

impl Workload for Dcgan {
    fn step(&mut self) -> Result<Vec<Update>> {
        let pass = Pass::train(SEED);
        let noise = self.noise()?;
        let fake = self.generator.forward(&noise, &pass)?;
        Ok(vec![self.critic_step(&fake, &pass)?, self.generator_step(&fake, &pass)?])
    }

    fn stores(&self) -> Vec<(&'static str, &ParamStore)> {
        vec![("generator.", self.for_generator.params()), ("critic.", self.for_critic.params())]
    }

    fn take_batch(&mut self, batch: &mut BTreeMap<String, Tensor>) -> anyhow::Result<()> {
        self.real = take(batch, "real")?;
        self.given = (0..3).map(|i| take(batch, &format!("noise.{i}"))).collect::<anyhow::Result<_>>()?;
        Ok(())
    }

    fn samples(&self) -> usize {
        self.real.dims()[0]
    }

    /// 6 · (generator + 2 · critic) for the forwards and backwards on noise, real and generated images, and 4 · critic for
    /// the generator's step, in which the critic's weights have no gradient.
    fn flops(&self) -> Result<f64> {
        let count = |network, optimizer: &AdamW, input: &[usize]| -> Result<f64> {
            let rows = summary(network, optimizer.params(), input)?.rows;
            Ok(rows.iter().map(|row| row.multiply_adds).sum::<u64>() as f64)
        };
        let generator = count(&self.generator, &self.for_generator, &[self.samples(), NOISE, 1, 1])?;
        let critic = count(&self.critic, &self.for_critic, self.real.dims())?;
        Ok(6.0 * (generator + 2.0 * critic) + 4.0 * critic)
    }
}

fn generator(vb: VarBuilder) -> Result<Sequential> {
    let first = ConvTranspose2dConfig { bias: false, ..Default::default() };
    let double = ConvTranspose2dConfig { stride: 2.into(), padding: 1.into(), ..first };
    Sequential::new(vb)
        .add(|vb| ConvTranspose2d::new(NOISE, 128, 4, first, vb))?
        .add(|vb| BatchNorm2d::new(128, BatchNormConfig::default(), vb))?
        .add(|_| Ok(Activation::Relu))?
        .add(|vb| ConvTranspose2d::new(128, 64, 4, double, vb))?
        .add(|vb| BatchNorm2d::new(64, BatchNormConfig::default(), vb))?
        .add(|_| Ok(Activation::Relu))?
        .add(|vb| ConvTranspose2d::new(64, 32, 4, double, vb))?
        .add(|vb| BatchNorm2d::new(32, BatchNormConfig::default(), vb))?
        .add(|_| Ok(Activation::Relu))?
        .add(|vb| ConvTranspose2d::new(32, 1, 4, double, vb))?
        .add(|_| Ok(Activation::Tanh))
}

fn critic(vb: VarBuilder) -> Result<Sequential> {
    let last = Conv2dConfig { bias: false, ..Default::default() };
    let halve = Conv2dConfig { stride: 2.into(), padding: 1.into(), ..last };
    Sequential::new(vb)
        .add(|vb| Conv2d::new(1, 32, 4, halve, vb))?
        .add(|_| Ok(Activation::LeakyRelu(0.2)))?
        .add(|vb| Conv2d::new(32, 64, 4, halve, vb))?
        .add(|vb| BatchNorm2d::new(64, BatchNormConfig::default(), vb))?
        .add(|_| Ok(Activation::LeakyRelu(0.2)))?
        .add(|vb| Conv2d::new(64, 128, 4, halve, vb))?
        .add(|vb| BatchNorm2d::new(128, BatchNormConfig::default(), vb))?
        .add(|_| Ok(Activation::LeakyRelu(0.2)))?
        .add(|vb| Conv2d::new(128, 1, 4, last, vb))?
        .add(|_| Ok(Flatten))
}
