//! One training step, and the pieces that more than one workload needs.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Int, Tensor};

/// A whole training step: forward, loss, backward and the optimizer.
pub type Step = Box<dyn FnMut()>;

/// AdamW with the settings that PyTorch's has by default, except the learning rate, which each step is given.
pub fn adamw() -> ModuleOptimizer {
    AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).init()
}

/// A module with its optimizer. The optimizer takes the module and hands back the updated one.
pub struct Trained<M> {
    module: Option<M>,
    optimizer: ModuleOptimizer,
    learning_rate: f64,
}

impl<M: Module> Trained<M> {
    pub fn new(module: M, learning_rate: f64) -> Self {
        Self { module: Some(module), optimizer: adamw(), learning_rate }
    }

    pub fn module(&self) -> &M {
        self.module.as_ref().expect("the module is away only while it is being updated")
    }

    /// Updates the module by the gradients of `loss`. The gradients of other modules are dropped.
    pub fn minimize(&mut self, loss: Tensor<1>) {
        let gradients = GradientsParams::from_grads(loss.backward(), self.module());
        self.module = self.module.take().map(|module| self.optimizer.step(self.learning_rate, module, gradients));
    }
}

/// A step that minimizes `loss` of the module with the learning rate 1e-3.
pub fn supervised<M: Module + 'static>(module: M, loss: impl Fn(&M) -> Tensor<1> + 'static) -> Step {
    let mut trained = Trained::new(module, 1e-3);
    Box::new(move || trained.minimize(loss(trained.module())))
}

/// Cross-entropy of logits `[batch, classes]` against class numbers `[batch]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let loss = CrossEntropyLossConfig::new().init(&logits.device());
    loss.forward(logits, targets)
}

/// Cross-entropy over all positions: logits `[batch, length, classes]`, targets `[batch, length]`.
pub fn token_loss(logits: Tensor<3>, targets: Tensor<2, Int>) -> Tensor<1> {
    cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1))
}

/// Numbers from the standard normal distribution.
pub fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// Whole numbers from 0 up to `below`, without it.
pub fn integers<const D: usize>(shape: [usize; D], below: usize, device: &Device) -> Tensor<D, Int> {
    Tensor::<D>::random(shape, Distribution::Uniform(0.0, below as f64), device).int().clamp(0, below as i64 - 1)
}
