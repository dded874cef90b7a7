//! How the run goes: its losses and scores.

use super::{Certainty, Finding, PATIENCE, number, percent};
use crate::record::{Record, Series, Validation};

/// Validations without a new best, the loss rising, the training loss well below.
pub(super) fn overfitting(record: &Record) -> Vec<Finding> {
    let losses: Vec<(&Validation, f64)> =
        record.metrics.validations.iter().filter_map(|v| Some((v, v.loss()?))).collect();
    let Some((best_at, best)) =
        losses.iter().enumerate().map(|(i, (_, loss))| (i, *loss)).min_by(|a, b| a.1.total_cmp(&b.1))
    else {
        return vec![];
    };
    let after = &losses[best_at + 1..];
    let gap =
        |(validation, loss): &(&Validation, f64)| (loss - validation.training_loss) / validation.training_loss.abs();
    // Rising: above the best by a quarter, and each of the last ones above the one before it on average.
    let last = &after[after.len().saturating_sub(PATIENCE)..];
    let rising =
        last.len() == PATIENCE && last.windows(2).filter(|pair| pair[1].1 >= pair[0].1).count() >= PATIENCE - 2;
    let overfits = rising && last.iter().all(|v| gap(v) > 0.1 && v.1 > 1.25 * best);
    let Some(&(newest, loss)) = last.last().filter(|_| overfits) else { return vec![] };
    let evidence = format!(
        "the validation loss is {} and rising since step {} (best {}), the training loss {}",
        number(loss),
        losses[best_at].0.step,
        number(best),
        number(newest.training_loss)
    );
    vec![
        Finding::new("overfitting", newest.step, evidence, gap(&(newest, loss)))
            .beyond(
                "(validation − training) / training > 0.1 in 3 evaluations, and a quarter above the best",
                "SageMaker Debugger, overfit",
            )
            .advise("Early stopping, more data or augmentation, dropout, weight decay, a smaller network."),
    ]
}

/// Validations without a better one after which a run stands still.
const STILL: usize = 10;

/// No better validation in ten, while the loss is far from 0 and the training loss stands still too.
pub(super) fn plateau(record: &Record) -> Vec<Finding> {
    let losses: Vec<f64> = record.metrics.validations.iter().filter_map(Validation::loss).collect();
    let trained: Vec<f64> = record.metrics.validations.iter().map(|v| v.training_loss).collect();
    if losses.len() <= STILL || trained.len() <= STILL {
        return vec![];
    }
    let stands = |values: &[f64]| {
        let (before, last) = values.split_at(values.len() - STILL);
        let best = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        best(last) > best(before) - 1e-3 * best(before).abs()
    };
    let first = trained[0];
    // A run that has learned what it could is at its end, not on a plateau.
    let learned_little = losses[losses.len() - 1] > 0.5 * first;
    if !(stands(&losses) && stands(&trained) && learned_little) {
        return vec![];
    }
    let (step, loss) = (last_step(record), losses[losses.len() - 1]);
    let evidence = format!("{STILL} validations without a better one, at a loss of {}", number(loss));
    vec![
        Finding::new("plateau", step, evidence, loss)
            .beyond(
                format!("no best in {STILL} evaluations, of training or validation"),
                "AutoTrainer (Zhang et al., ICSE 2021)",
            )
            .advise("Another learning rate (lower, or warmed up), a larger network, or better features.")
            .certainty(Certainty::Possible),
    ]
}

/// Training losses that are compared to see whether they swing.
const SWINGS: usize = 20;

/// The loss goes up and down by more than it comes forward.
pub(super) fn oscillation(record: &Record) -> Vec<Finding> {
    let points = record.metrics.losses.points();
    // Whole epochs say more than batches, whose samples differ.
    let Some(means) = means_of_parts(points, SWINGS) else { return vec![] };
    let turns = means.windows(3).filter(|w| (w[1] - w[0]) * (w[2] - w[1]) < 0.0).count();
    let swing = means.windows(2).map(|w| (w[1] - w[0]).abs()).sum::<f64>() / (SWINGS - 1) as f64;
    let level = means.iter().sum::<f64>() / SWINGS as f64;
    let progress = means[0] - means[SWINGS - 1];
    let first = record.metrics.losses.first().unwrap_or(level);
    let swings = turns * 2 > SWINGS && swing > 0.5 * level.abs() && progress < swing && level > 0.5 * first;
    if !swings {
        return vec![];
    }
    let evidence = format!("the loss swings by {} around {}", number(swing), number(level));
    vec![
        Finding::new("oscillation", last_step(record), evidence, swing / level)
            .beyond("alternating peaks of more than half of the mean", "AutoTrainer (Zhang et al., ICSE 2021)")
            .advise("A smaller learning rate, a larger batch, or a clipped gradient."),
    ]
}

/// The loss is many times what it once was, and stays there.
pub(super) fn loss_spikes(record: &Record) -> Vec<Finding> {
    let points = record.metrics.losses.points();
    let Some(means) = means_of_parts(points, SWINGS) else { return vec![] };
    let best = means.iter().copied().fold(f64::INFINITY, f64::min);
    let first = means[0].max(record.metrics.losses.first().unwrap_or(0.0));
    let diverged =
        means.iter().rev().take(PATIENCE).all(|&mean| mean > 2.0 * first && mean > 2.0 * best && best >= 0.0);
    if !diverged {
        return vec![];
    }
    let now = means[SWINGS - 1];
    let evidence = format!("the loss has grown from {} to {}", number(first), number(now));
    vec![
        Finding::new("loss_spikes", last_step(record), evidence, now / first)
            .beyond(
                "twice the loss that it started with",
                "Smith 2017: a loss that grows means a rate that is too high",
            )
            .advise("A smaller learning rate, a warm-up, or a clipped gradient."),
    ]
}

/// Means of the last `parts` equal parts of a series, of 3 points each at least.
fn means_of_parts(points: &[(f64, f64)], parts: usize) -> Option<Vec<f64>> {
    let each = (points.len() / parts).min(50);
    if each < 3 {
        return None;
    }
    let last = &points[points.len() - each * parts..];
    Some(last.chunks(each).map(|part| part.iter().map(|p| p.1).sum::<f64>() / each as f64).collect())
}

/// Epochs after which a classifier should know more than the classes' shares.
const EPOCHS: usize = 3;

/// After some epochs the loss is still that of guessing by the classes' shares.
pub(super) fn no_better_than_chance(record: &Record) -> Vec<Finding> {
    let Some(answers) = record.answers.last() else { return vec![] };
    let total = answers.counts.iter().sum::<u64>() as f64;
    let entropy: f64 = answers.counts.iter().filter(|&&n| n > 0).map(|&n| n as f64 / total).map(|p| -p * p.ln()).sum();
    let validations = &record.metrics.validations;
    let last = &validations[validations.len().saturating_sub(EPOCHS)..];
    let at_chance = |v: &Validation| v.loss().is_some_and(|loss| loss > 0.97 * entropy);
    let enough = record.metrics.epochs.len() >= EPOCHS && last.len() == EPOCHS && entropy > 0.1;
    let Some(loss) = last.last().and_then(Validation::loss).filter(|_| enough && last.iter().all(at_chance)) else {
        return vec![];
    };
    let evidence =
        format!("the validation loss is {}, guessing by the classes' shares gives {}", number(loss), number(entropy));
    vec![
        Finding::new("no_better_than_chance", last_step(record), evidence, loss)
            .beyond("the entropy of the classes' shares, after 3 epochs", "Karpathy 2019 (input-independent baseline)")
            .advise(
                "Are labels and inputs still in the same order? Is the learning rate far off? Does one batch overfit \
                 (`preflight`)?",
            ),
    ]
}

/// The discriminator's loss is near 0 while the generator learns nothing.
pub(super) fn discriminator_wins(record: &Record) -> Vec<Finding> {
    let values = &record.metrics.values;
    let find = |names: [&str; 3]| names.into_iter().find_map(|name| values.get(name));
    let Some(discriminator) = find(["discriminator_loss", "loss_d", "d_loss"]) else { return vec![] };
    let Some(generator) = find(["generator_loss", "loss_g", "g_loss"]) else { return vec![] };
    let low = tail(discriminator).is_some_and(|mean| (0.0..0.02).contains(&mean));
    let Some(lost) = tail(generator).filter(|&mean| low && mean > 4.0) else { return vec![] };
    let evidence = format!(
        "the discriminator's loss is {}, the generator's {}",
        number(discriminator.last().unwrap_or(0.0)),
        number(lost)
    );
    vec![
        Finding::new("discriminator_wins", last_step(record), evidence, lost)
            .in_layer("discriminator")
            .beyond("a discriminator's loss below 0.02, a generator's above 4", "Chintala et al. 2016, GAN hacks")
            .advise("A slower discriminator, smoothed labels, noise on its inputs, or a Wasserstein loss."),
    ]
}

/// The mean of the last fifth of a series of 25 points or more.
fn tail(series: &Series) -> Option<f64> {
    let points = series.points();
    let last = &points[points.len() - points.len() / 5..];
    (points.len() >= 25).then(|| last.iter().map(|p| p.1).sum::<f64>() / last.len() as f64)
}

/// Fewer modes than there are, or hardly any spread among samples, in what the generator reports.
pub(super) fn mode_collapse(record: &Record) -> Vec<Finding> {
    let values = &record.metrics.values;
    let scores = |name: &str| record.metrics.validations.iter().rev().find_map(|v| v.score(name));
    let named = |name: &str| values.get(name).and_then(Series::last).or_else(|| scores(name));
    let Some(share) = named("collapsed_bins").or_else(|| named("modes_missing")) else { return vec![] };
    if share <= 0.5 {
        return vec![];
    }
    let evidence = format!("{} of the bins of real samples have another share among generated ones", percent(share));
    vec![
        Finding::new("mode_collapse", last_step(record), evidence, share)
            .in_layer("generator")
            .beyond("more than half of the bins differ (two-proportion z-test, α = 0.05)", "Richardson and Weiss 2018")
            .advise("A Wasserstein loss with gradient penalty, minibatch statistics, or a slower generator."),
    ]
}

fn last_step(record: &Record) -> u64 {
    let recorded = record.vitals.last().map_or(0, |v| v.step);
    recorded.max(record.metrics.losses.points().last().map_or(0, |p| p.0.round() as u64))
}
