//! Which learning rate suits: rates from tiny to huge, and the loss that each leads to.

use glassbox_core::optim::AdamW;
use glassbox_core::{Gradients, Optimizer, Result, TensorExt};

use super::trial::Trial;

/// The learning-rate range test (Smith 2017, arXiv 1506.01186): training steps at rates that grow from 1e-7 to 10, until the
/// smoothed loss is four times the best one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateRange {
    /// Learning rates.
    pub rates: Vec<f64>,
    /// The smoothed loss at each.
    pub losses: Vec<f64>,
    /// The middle of the longest fall of the loss (fastai's "valley"); none where it never falls.
    pub suggestion: Option<f64>,
}

const FROM: f64 = 1e-7;
const TO: f64 = 10.0;
const SMOOTHING: f64 = 0.9;
const END: f64 = 4.0;

pub(super) fn range(trial: &Trial<'_>, steps: usize) -> Result<RateRange> {
    let mut optimizer = AdamW::new(trial.params, 1.0)?.weight_decay(0.0);
    let (mut rates, mut losses): (Vec<f64>, Vec<f64>) = Default::default();
    let (mut mean, mut best) = (0.0, f64::INFINITY);
    for step in 0..steps {
        let rate = FROM * (TO / FROM).powf(step as f64 / (steps.max(2) - 1) as f64);
        let loss = trial.loss_of(&trial.batch.input)?;
        let value = loss.to_f64()?;
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * value;
        let smoothed = mean / (1.0 - SMOOTHING.powi(step as i32 + 1));
        if !value.is_finite() || (step > 1 && smoothed > END * best) {
            break;
        }
        best = best.min(smoothed);
        rates.push(rate);
        losses.push(smoothed);
        optimizer.step(&Gradients::of(&loss, trial.params)?, rate)?;
    }
    let suggestion = valley(&losses).and_then(|at| rates.get(at).copied());
    Ok(RateRange { rates, losses, suggestion })
}

/// The middle of the longest decreasing subsequence.
fn valley(losses: &[f64]) -> Option<usize> {
    // For each place the longest one that ends there, and where it starts.
    let mut best: Vec<(usize, usize)> = vec![];
    for (i, &loss) in losses.iter().enumerate() {
        let before = (0..i).filter(|&j| losses[j] > loss).map(|j| best[j]).max_by_key(|&(length, _)| length);
        best.push(before.map_or((1, i), |(length, start)| (length + 1, start)));
    }
    let (end, (length, start)) = best.into_iter().enumerate().max_by_key(|(_, (length, _))| *length)?;
    (length > 2).then_some(start + (end - start) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_valley_is_the_middle_of_the_longest_fall() {
        assert_eq!(valley(&[5.0, 5.1, 5.0, 4.0, 3.0, 2.0, 1.0, 6.0, 9.0]), Some(3));
        assert_eq!(valley(&[1.0, 2.0, 3.0]), None);
        assert_eq!(valley(&[]), None);
    }
}
