//! Training a generator and a critic against each other.

mod augment;
mod health;
mod view;

use candle_core::{Device, Tensor};
use glassbox_core::train::{Progress, Score, Scores, StepReport, Update};
use glassbox_core::{Batch, Error, ParamStore, Pass, Result, Seed, State, TensorExt, TrainStep};

pub use augment::DiffAugment;
use health::Health;
pub use view::InstanceNoise;
use view::View;

use crate::loss::class_loss;
use crate::measures::SampleMeasure;
use crate::penalty::Points;
use crate::{AdversarialLoss, Critic, Generator, Penalty, Verdict};

/// A generator and a critic, trained against each other.
///
/// A step of the trainer is a step of the critic on one batch; every [`critic_steps`](Self::critic_steps)-th is followed by
/// a step of the generator. Both draw latents of their own. Batches hold real samples as `input` and, where the game is
/// [conditional](Self::conditional), what they are to follow as `target`.
///
/// Randomness depends on the run's seed and the step alone, and optimizers, averages and warnings are in the checkpoint, so
/// that a run that is stopped anywhere and resumed ends with the same bits.
///
/// While it trains it watches for what goes wrong, and says so on standard error as it begins and as it ends: samples of a
/// batch that are nearly alike (collapse), a critic that is always right (the generator learns nothing then), scores that
/// grow without bound (divergence). [`on_warning`](Self::on_warning) sends these elsewhere.
///
/// A validation scores the samples that [measures](Self::measure) compare with real ones, and the critic's loss, as
/// `validation_loss`, which says little about the samples. Samples come from the generator's averaged weights where an
/// [average](Update::average_weights) is kept; these are also what is saved in the end.
///
/// ```no_run
/// use candle_core::Device;
/// use glassbox_core::optim::Adam;
/// use glassbox_core::train::Update;
/// use glassbox_core::{Batch, DataLoader, ParamStore, Result, RunDir, Seed, Trainer};
/// use glassbox_gan::{AdversarialLoss, GanStep, MlpCritic, MlpGanConfig, MlpGenerator, Penalty};
///
/// fn train(points: DataLoader<Batch>) -> Result<()> {
///     let (g_params, c_params) = (ParamStore::new(Seed(1), &Device::Cpu), ParamStore::new(Seed(2), &Device::Cpu));
///     let config = MlpGanConfig { sample_size: 2, ..Default::default() };
///     let step = GanStep::new(
///         MlpGenerator::new(config.clone(), g_params.root())?,
///         MlpCritic::new(config, c_params.root())?,
///         AdversarialLoss::Wasserstein,
///         Update::new(Adam::new(&g_params, 1e-4)?.betas(0.0, 0.9)).average_weights(0.999)?,
///         Update::new(Adam::new(&c_params, 1e-4)?.betas(0.0, 0.9)),
///     )
///     .penalty(Penalty::Gradient { weight: 10.0 })
///     .critic_steps(5);
///     Trainer::new(RunDir::new("runs/points")?).steps(20_000).fit(step, points, None)?;
///     Ok(())
/// }
/// ```
pub struct GanStep<G, C> {
    generator: G,
    critic: C,
    loss: AdversarialLoss,
    generator_update: Update,
    critic_update: Update,
    penalty: Option<Penalty>,
    penalty_every: u64,
    clip: Option<f64>,
    critic_steps: u64,
    conditional: bool,
    class_weight: f64,
    view: View,
    health: Health,
    measures: Vec<Box<dyn SampleMeasure>>,
    validated: Validated,
}

/// What a validation has gathered.
#[derive(Default)]
struct Validated {
    batches: u64,
    loss: f64,
    samples: f64,
}

/// Of the samples that a validation draws: always the same latents, so that validations compare.
const VALIDATION: Seed = Seed(0x5eed);

impl<G: Generator, C: Critic> GanStep<G, C> {
    /// The game of `generator` and `critic` with `loss`; each update holds its network's optimizer, with a rate, betas,
    /// schedule and gradient transforms of its own.
    pub fn new(
        generator: G,
        critic: C,
        loss: AdversarialLoss,
        generator_update: Update,
        critic_update: Update,
    ) -> Self {
        Self {
            generator,
            critic,
            loss,
            generator_update,
            critic_update,
            penalty: None,
            penalty_every: 1,
            clip: None,
            critic_steps: 1,
            conditional: false,
            class_weight: 0.0,
            view: View::default(),
            health: Health::new(loss),
            measures: vec![],
            validated: Validated::default(),
        }
    }

    /// Adds `penalty` to the critic's loss.
    pub fn penalty(self, penalty: Penalty) -> Self {
        Self { penalty: Some(penalty), ..self }
    }

    /// Adds the penalty at every `steps`-th step of the critic only, times `steps` (lazy regularisation, Karras et al. 2019,
    /// arXiv 1912.04958: 16 for R1). It enters the same update as the loss, where the paper makes one of its own.
    pub fn penalty_every(self, steps: u64) -> Self {
        Self { penalty_every: steps, ..self }
    }

    /// Cuts the critic's weights to [−limit, limit] after each of its steps: the first Wasserstein GAN, with 0.01.
    pub fn clip_weights(self, limit: f64) -> Self {
        Self { clip: Some(limit), ..self }
    }

    /// So many steps of the critic, each on a batch of its own, to one of the generator; 1 unless said otherwise.
    pub fn critic_steps(self, steps: u64) -> Self {
        Self { critic_steps: steps, ..self }
    }

    /// Hands the batch's `target` to both networks: classes (batch), u32, or whatever they take.
    pub fn conditional(self) -> Self {
        Self { conditional: true, ..self }
    }

    /// Adds `weight` times the cross-entropy of the critic's auxiliary classifier to both losses. The batch's targets are
    /// the classes.
    pub fn class_weight(self, weight: f64) -> Self {
        Self { class_weight: weight, conditional: true, ..self }
    }

    /// Shows the critic `samples` at once, as one sample of so many times the channels or features (PacGAN, Lin et al. 2017,
    /// arXiv 1712.04086): it then sees that samples are alike. The critic must be built for them; what is left of a batch
    /// is not judged.
    pub fn pack(mut self, samples: usize) -> Self {
        self.view.pack = samples;
        self
    }

    /// Augments all that the critic sees, real and generated, by what a gradient passes through.
    pub fn augment(mut self, augment: DiffAugment) -> Self {
        self.view.augment = Some(augment);
        self
    }

    /// Adds noise to all that the critic sees.
    pub fn instance_noise(mut self, noise: InstanceNoise) -> Self {
        self.view.noise = Some(noise);
        self
    }

    /// Validation reads out `measure`, too.
    pub fn measure(mut self, measure: impl SampleMeasure + 'static) -> Self {
        self.measures.push(Box::new(measure));
        self
    }

    /// Hands warnings to `tell` instead of standard error.
    pub fn on_warning(mut self, tell: impl FnMut(&str) + Send + 'static) -> Self {
        self.health.tell_to(Box::new(tell));
        self
    }

    /// The generator.
    pub fn generator(&self) -> &G {
        &self.generator
    }

    /// The critic.
    pub fn critic(&self) -> &C {
        &self.critic
    }

    /// `count` samples from normal latents drawn from `seed`, with the weights that are in the generator.
    ///
    /// # Errors
    /// A condition that does not suit the generator.
    pub fn sample(&self, count: usize, condition: Option<&Tensor>, seed: Seed) -> Result<Tensor> {
        self.generator.generate(&self.latents(count, seed)?, condition, &Pass::eval())
    }

    fn latents(&self, count: usize, seed: Seed) -> Result<Tensor> {
        let params = self.generator_update.params();
        seed.rng().normal_tensor((count, self.generator.latent_size()), 0.0, 1.0, params.dtype(), params.device())
    }

    fn check(&self) -> Result<()> {
        let positive = |what: &str, count: u64| {
            if count > 0 { Ok(()) } else { Err(Error::invalid(what, "1 or more", count)) }
        };
        positive("critic_steps", self.critic_steps)?;
        positive("penalty_every", self.penalty_every)?;
        self.view.check(self.conditional)?;
        if let Some(limit) = self.clip.filter(|limit| !(*limit > 0.0 && limit.is_finite())) {
            return Err(Error::invalid("clip_weights", "a limit above 0", limit));
        }
        if !(self.class_weight >= 0.0 && self.class_weight.is_finite()) {
            return Err(Error::invalid("class_weight", "a finite number of at least 0", self.class_weight));
        }
        self.penalty.map_or(Ok(()), Penalty::check)
    }

    fn condition<'a>(&self, batch: &'a Batch) -> Option<&'a Tensor> {
        self.conditional.then_some(&batch.target)
    }

    /// The weight of the auxiliary classifier's loss, if it counts, and what it is to say.
    fn classes<'a>(&self, batch: &'a Batch) -> Option<(f64, &'a Tensor)> {
        (self.class_weight > 0.0).then_some((self.class_weight, &batch.target))
    }

    fn critic_step(&mut self, batch: &Batch, progress: &Progress) -> Result<Numbers> {
        let seed = progress.seed.child("critic");
        let condition = self.condition(batch);
        let fake = {
            let pass = Pass::train(seed.child("generator")).without_gradients();
            let latents = self.latents(batch.input.dim(0)?, seed.child("latents"))?;
            self.generator.generate(&latents, condition, &pass)?.detach()
        };
        let spread = self.health.is_due(progress.step).then(|| health::spread(&batch.input, &fake)).transpose()?;
        let seen = [("real", &batch.input), ("fake", &fake)]
            .map(|(name, samples)| self.view.of(samples, progress.step, seed.child(name)));
        let [real, fake] = seen;
        let (real, fake) = (real?, fake?);
        let pass = Pass::train(seed.child("pass"));
        let due = self.penalty.filter(|_| progress.step.is_multiple_of(self.penalty_every));
        let (real, fake, penalty) = self.judge(&real, &fake, condition, due, &pass)?;
        let mut loss = self.loss.critic(&real.scores, &fake.scores)?;
        if let Some((weight, labels)) = self.classes(batch) {
            let on_both = (class_loss(&classes_of(&real)?, labels)? + class_loss(&classes_of(&fake)?, labels)?)?;
            loss = (loss + (on_both * weight)?)?;
        }
        let penalty = penalty.map(|penalty| penalty * self.penalty_every as f64).transpose()?;
        let total = penalty.as_ref().map_or(Ok(loss.clone()), |penalty| &loss + penalty)?;
        let loss = loss.to_f64()?;
        let (_, reported) = self.critic_update.step(&total, progress).map_err(|e| named(e, "critic's loss"))?;
        self.clip_critic()?;
        Ok(Numbers {
            critic_loss: loss,
            real_score: mean_score(&real)?,
            fake_score: mean_score(&fake)?,
            penalty: penalty.as_ref().map(TensorExt::to_f64).transpose()?,
            spread,
            reported,
        })
    }

    /// Both verdicts, and the penalty where it is due.
    fn judge(
        &self,
        real: &Tensor,
        fake: &Tensor,
        condition: Option<&Tensor>,
        penalty: Option<Penalty>,
        pass: &Pass,
    ) -> Result<(Verdict, Verdict, Option<Tensor>)> {
        let points = penalty.map(|penalty| penalty.points(real, fake, &mut pass.rng())).transpose()?;
        let (on_real, on_fake) = match &points {
            Some(Points::Judged { real, fake }) => (*real, *fake),
            _ => (false, false),
        };
        let mut gradients = vec![];
        let mut of = |samples: &Tensor, with_gradient: bool| {
            if !with_gradient {
                return self.critic.judge(samples, condition, pass);
            }
            let (verdict, gradient) = self.critic.judge_with_gradient(samples, condition, pass)?;
            gradients.push(gradient);
            Ok(verdict)
        };
        let (real, fake) = (of(real, on_real)?, of(fake, on_fake)?);
        if let Some(Points::Other(points)) = &points {
            gradients.push(self.critic.judge_with_gradient(points, condition, pass)?.1);
        }
        let terms = gradients.iter().filter_map(|gradient| penalty.map(|penalty| penalty.term(gradient)));
        let total = terms.reduce(|a, b| Ok((a? + b?)?)).transpose()?;
        Ok((real, fake, total))
    }

    fn clip_critic(&self) -> Result<()> {
        let Some(limit) = self.clip else { return Ok(()) };
        for param in self.critic_update.params().trainable() {
            param.set(&param.value().clamp(-limit, limit)?)?;
        }
        Ok(())
    }

    /// The generator's loss, and what its update reports.
    fn generator_step(&mut self, batch: &Batch, progress: &Progress) -> Result<Vec<(String, f64)>> {
        let seed = progress.seed.child("generator");
        let condition = self.condition(batch);
        let latents = self.latents(batch.input.dim(0)?, seed.child("latents"))?;
        let fake = self.generator.generate(&latents, condition, &Pass::train(seed.child("pass")))?;
        // The critic is looked through: its own gradients are of no use here.
        let pass = Pass::train(seed.child("critic")).without_gradients();
        let verdict = self.critic.judge(&self.view.of(&fake, progress.step, seed.child("fake"))?, condition, &pass)?;
        let real = if self.loss.compares() {
            let seen = self.view.of(&batch.input, progress.step, seed.child("real"))?;
            Some(self.critic.judge(&seen, condition, &pass)?.scores)
        } else {
            None
        };
        let mut loss = self.loss.generator(&verdict.scores, real.as_ref())?;
        let adversarial = loss.to_f64()?;
        if let Some((weight, labels)) = self.classes(batch) {
            loss = (loss + (class_loss(&classes_of(&verdict)?, labels)? * weight)?)?;
        }
        let extra = self.generator.extra_loss(&fake, &batch.input, condition)?;
        let mut values = vec![("generator_loss".to_string(), adversarial)];
        if let Some(extra) = extra {
            values.push(("extra_loss".into(), extra.to_f64()?));
            loss = (loss + extra)?;
        }
        let (_, reported) = self.generator_update.step(&loss, progress).map_err(|e| named(e, "generator's loss"))?;
        values.extend(reported.into_iter().map(|(name, value)| (format!("generator_{name}"), value)));
        Ok(values)
    }
}

fn mean_score(verdict: &Verdict) -> Result<f64> {
    verdict.scores.detach().mean_all()?.to_f64()
}

fn classes_of(verdict: &Verdict) -> Result<Tensor> {
    let missing =
        || Error::invalid("critic of a loss with classes", "logits of classes (an auxiliary classifier)", "none");
    verdict.classes.clone().ok_or_else(missing)
}

/// The error, with `name` for the loss that is not finite.
fn named(error: Error, name: &str) -> Error {
    match error {
        Error::NonFinite { value, step, last_good, .. } => {
            Error::NonFinite { what: name.into(), value, step, last_good }
        }
        other => other,
    }
}

/// What a step of the critic says of itself.
pub(crate) struct Numbers {
    pub critic_loss: f64,
    pub real_score: f64,
    pub fake_score: f64,
    penalty: Option<f64>,
    /// How far generated samples differ from each other, and real ones.
    pub spread: Option<(f64, f64)>,
    reported: Vec<(String, f64)>,
}

impl Numbers {
    fn values(&self) -> Vec<(String, f64)> {
        let named = [
            ("critic_loss", Some(self.critic_loss)),
            ("real_score", Some(self.real_score)),
            ("fake_score", Some(self.fake_score)),
            ("penalty", self.penalty),
            ("diversity", self.spread.map(|(fake, real)| fake / real.max(1e-12))),
        ];
        let own = named.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?)));
        own.chain(self.reported.iter().map(|(name, value)| (format!("critic_{name}"), *value))).collect()
    }
}

impl<G: Generator, C: Critic> TrainStep for GanStep<G, C> {
    type Batch = Batch;

    fn device(&self) -> Device {
        self.generator_update.params().device().clone()
    }

    fn train(&mut self, batch: &Batch, progress: &Progress) -> Result<StepReport> {
        self.check()?;
        let numbers = self.critic_step(batch, progress)?;
        let mut values = numbers.values();
        if progress.step.is_multiple_of(self.critic_steps) {
            values.extend(self.generator_step(batch, progress)?);
        }
        self.health.observe(&numbers, progress.step);
        Ok(StepReport { loss: numbers.critic_loss, samples: batch.input.dim(0)?, values })
    }

    fn validate(&mut self, batch: &Batch) -> Result<()> {
        let condition = self.condition(batch);
        let count = batch.input.dim(0)?;
        let latents = self.latents(count, VALIDATION.index(self.validated.batches))?;
        let fake = self.generator.generate(&latents, condition, &Pass::eval())?;
        let judge = |samples: &Tensor| {
            let seen = self.view.packed(samples)?;
            Ok::<_, Error>(self.critic.judge(&seen, condition, &Pass::eval())?.scores)
        };
        let loss = self.loss.critic(&judge(&batch.input)?, &judge(&fake)?)?.to_f64()?;
        self.validated.batches += 1;
        self.validated.loss += loss * count as f64;
        self.validated.samples += count as f64;
        self.measures.iter_mut().try_for_each(|measure| measure.update(&batch.input, &fake, &batch.target))
    }

    fn scores(&mut self) -> Result<Scores> {
        let Validated { loss, samples, .. } = std::mem::take(&mut self.validated);
        let value = loss / samples;
        let mut scores = vec![Score { name: "validation_loss".into(), value, higher_is_better: false }];
        for measure in &mut self.measures {
            scores.extend(measure.scores()?);
        }
        Ok(Scores(scores))
    }

    fn exchange_weights(&mut self) -> Result<()> {
        self.generator_update.exchange_weights()?;
        self.critic_update.exchange_weights()
    }

    fn params(&self) -> Vec<(&'static str, ParamStore)> {
        vec![("generator", self.generator_update.params().clone()), ("critic", self.critic_update.params().clone())]
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.nest("generator", self.generator_update.state()?);
        state.nest("critic", self.critic_update.state()?);
        state.nest("health", self.health.state()?);
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.generator_update.load_state(&state.nested("generator"))?;
        self.critic_update.load_state(&state.nested("critic"))?;
        self.health.load_state(&state.nested("health"))
    }
}
