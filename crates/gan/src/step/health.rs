//! What goes wrong in a game, named while it happens.

use candle_core::Tensor;
use glassbox_core::{Result, State, TensorExt};
use serde::{Deserialize, Serialize};

use super::Numbers;
use crate::AdversarialLoss;

/// Watches the numbers of the steps, smoothed over some tens of them.
pub(super) struct Health {
    loss: AdversarialLoss,
    smooth: Smooth,
    tell: Box<dyn FnMut(&str) + Send>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Smooth {
    /// Spread of generated samples over that of real ones.
    diversity: Option<f64>,
    /// Mean score of real samples minus that of generated ones.
    gap: Option<f64>,
    /// Size of the scores.
    size: Option<f64>,
    collapsed: bool,
    critic_wins: bool,
    diverges: bool,
}

/// Steps between two looks at the samples' spread.
const LOOK_EVERY: u64 = 8;
/// Steps before which nothing is said: at the start every generator makes one sample.
const QUIET_STEPS: u64 = 200;
/// Share of the real samples' spread below which generated ones are called alike, and above which they no longer are.
const ALIKE: (f64, f64) = (0.1, 0.2);
/// Difference of mean logits beyond which the critic is always right: probabilities of 0.9975 and more.
const ALWAYS_RIGHT: (f64, f64) = (12.0, 8.0);
/// Size of mean scores that no game in balance reaches.
const UNBOUNDED: (f64, f64) = (1e4, 1e3);

impl Health {
    pub fn new(loss: AdversarialLoss) -> Self {
        let tell = Box::new(|warning: &str| eprintln!("warning: {warning}"));
        Self { loss, smooth: Smooth::default(), tell }
    }

    pub fn tell_to(&mut self, tell: Box<dyn FnMut(&str) + Send>) {
        self.tell = tell;
    }

    /// Whether the samples' spread is wanted at this step.
    pub fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(LOOK_EVERY)
    }

    pub fn observe(&mut self, numbers: &Numbers, step: u64) {
        let Numbers { real_score, fake_score, .. } = *numbers;
        if let Some((fake, real)) = numbers.spread {
            follow(&mut self.smooth.diversity, fake / real.max(1e-12), 0.1);
        }
        follow(&mut self.smooth.gap, real_score - fake_score, 0.02);
        follow(&mut self.smooth.size, real_score.abs().max(fake_score.abs()), 0.02);
        if step < QUIET_STEPS {
            return;
        }
        let Smooth { diversity, gap, size, .. } = self.smooth;
        let (diversity, gap, size) = (diversity.unwrap_or(1.0), gap.unwrap_or(0.0), size.unwrap_or(0.0));
        let collapsed = if self.smooth.collapsed { diversity < ALIKE.1 } else { diversity < ALIKE.0 };
        let logits =
            !matches!(self.loss, AdversarialLoss::Wasserstein | AdversarialLoss::Hinge | AdversarialLoss::LeastSquares);
        let wins = logits && gap > if self.smooth.critic_wins { ALWAYS_RIGHT.1 } else { ALWAYS_RIGHT.0 };
        let diverges = size > if self.smooth.diverges { UNBOUNDED.1 } else { UNBOUNDED.0 };
        self.say(
            step,
            collapsed,
            |s| &mut s.collapsed,
            || {
                format!(
                    "collapse: the samples of a batch differ {:.0} % as much as real ones do; more in docs/gan.md",
                    100.0 * diversity
                )
            },
        );
        self.say(step, wins, |s| &mut s.critic_wins, || {
            format!("the critic wins: its scores lie {gap:.1} apart, and the generator learns little from a critic that is always right")
        });
        self.say(
            step,
            diverges,
            |s| &mut s.diverges,
            || format!("divergence: the critic's scores have grown to {size:.0}; its slope is not bounded"),
        );
    }

    /// Says that something begins or ends.
    fn say(&mut self, step: u64, now: bool, flag: fn(&mut Smooth) -> &mut bool, what: impl FnOnce() -> String) {
        let flag = flag(&mut self.smooth);
        if now == *flag {
            return;
        }
        *flag = now;
        let what = what();
        if now {
            (self.tell)(&format!("step {step}: {what}"));
        } else {
            let name = what.split(':').next().unwrap_or_default().to_string();
            (self.tell)(&format!("step {step}: over again: {name}"));
        }
    }

    pub fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.put("smooth", &self.smooth)?;
        Ok(state)
    }

    pub fn load_state(&mut self, state: &State) -> Result<()> {
        self.smooth = state.value("smooth")?;
        Ok(())
    }
}

fn follow(average: &mut Option<f64>, value: f64, share: f64) {
    *average = Some(average.map_or(value, |average| average + share * (value - average)));
}

/// The mean over the features of their standard deviation in the batch: of generated and of real samples.
pub(super) fn spread(real: &Tensor, fake: &Tensor) -> Result<(f64, f64)> {
    let of = |samples: &Tensor| {
        let rows = samples.detach().flatten_from(1)?;
        let centered = rows.broadcast_sub(&rows.mean_keepdim(0)?)?;
        centered.sqr()?.mean_keepdim(0)?.sqrt()?.mean_all()?.to_f64()
    };
    Ok((of(fake)?, of(real)?))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn numbers(gap: f64, diversity: f64) -> Numbers {
        Numbers {
            critic_loss: 0.0,
            real_score: gap / 2.0,
            fake_score: -gap / 2.0,
            penalty: None,
            spread: Some((diversity, 1.0)),
            reported: vec![],
        }
    }

    #[test]
    fn what_goes_wrong_is_named_once_and_its_end_too() {
        let said = Arc::new(Mutex::new(vec![]));
        let mut health = Health::new(AdversarialLoss::NonSaturating);
        let heard = Arc::clone(&said);
        health.tell_to(Box::new(move |warning| heard.lock().unwrap().push(warning.to_string())));
        (0..400).for_each(|step| health.observe(&numbers(1.0, 0.9), step));
        assert!(said.lock().unwrap().is_empty());
        (400..800).for_each(|step| health.observe(&numbers(30.0, 0.02), step));
        (800..1600).for_each(|step| health.observe(&numbers(1.0, 0.9), step));
        (1600..2400).for_each(|step| health.observe(&numbers(1e6, 0.9), step));
        let said = said.lock().unwrap();
        let starts = ["collapse", "the critic wins", "over again: collapse", "over again: the critic wins"];
        for what in starts {
            assert!(said.iter().any(|s| s.contains(&format!(": {what}"))), "{what}: {said:?}");
        }
        assert_eq!(said.len(), 6, "{said:?}");
        assert!(said.iter().any(|s| s.contains("divergence")), "{said:?}");
    }
}
