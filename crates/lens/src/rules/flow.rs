//! How gradients and updates go through the network.

use super::{Certainty, Finding, PATIENCE, lasting, number};
use crate::record::{ParamVitals, Record, Vitals};

/// The weights of a step: of two dimensions or more, in the order of the network. Biases and norms are left out, since
/// their size says little; embeddings, since only the rows that a batch uses have a gradient.
fn weights<'a>(record: &'a Record, vitals: &'a Vitals) -> Vec<&'a ParamVitals> {
    vitals.params.iter().filter(|p| is_weight(record, &p.name)).collect()
}

pub(super) fn is_weight(record: &Record, name: &str) -> bool {
    let info = record.network.params.iter().find(|info| info.name == name);
    info.is_some_and(|info| info.shape.len() >= 2 && !info.frozen) && !is_embedding(record, name)
}

/// Whether the parameter belongs to a layer that looks ids up.
pub(super) fn is_embedding(record: &Record, name: &str) -> bool {
    let plain = name.rsplit_once('/').map_or(name, |(_, plain)| plain);
    let path = plain.rsplit_once('.').map_or("", |(path, _)| path);
    record.network.layers.iter().any(|layer| layer.path == path && layer.kind.contains("Embedding"))
}

/// First over last: how much of the gradient of the last weight arrives at the first. None of a run of several networks,
/// where there is no order.
fn ratio(record: &Record, vitals: &Vitals) -> Option<(f64, f64, String)> {
    let weights = weights(record, vitals);
    let (first, last) = (weights.first()?, weights.last()?);
    if weights.len() < 3 || first.name.contains('/') {
        return None;
    }
    Some((first.gradient_norm / last.gradient_norm, first.gradient_norm, first.name.clone()))
}

/// The first weight's gradient is a thousandth of the last one's and tiny itself, step after step.
pub(super) fn vanishing_gradient(record: &Record) -> Vec<Finding> {
    let Some(last) = lasting(record.vitals.iter()) else { return vec![] };
    let ratios: Vec<_> = last.iter().filter_map(|vitals| ratio(record, vitals)).collect();
    let vanished = |(ratio, norm, _): &(f64, f64, String)| *ratio < 1e-3 && *norm < 1e-4;
    let Some((value, norm, name)) = ratios.first() else { return vec![] };
    if ratios.len() < PATIENCE || !ratios.iter().all(vanished) {
        return vec![];
    }
    let evidence =
        format!("the gradient of `{name}` has the norm {}, {} of the last weight's", number(*norm), number(*value));
    vec![
        Finding::new("vanishing_gradient", last[0].step, evidence, *value)
            .in_layer(name)
            .beyond("‖g_first‖ / ‖g_last‖ < 1e-3 and ‖g_first‖ < 1e-4", "AutoTrainer (Zhang et al., ICSE 2021)")
            .advise("Residual connections, normalisation, ReLU in place of sigmoid or tanh, or gates in a recurrence."),
    ]
}

/// The first weight's gradient is many times the last one's and large itself, step after step; or one is not finite.
pub(super) fn exploding_gradient(record: &Record) -> Vec<Finding> {
    const SOURCE: &str = "AutoTrainer (Zhang et al., ICSE 2021)";
    const ADVICE: &str =
        "Clip the gradient's norm, a smaller learning rate, smaller initial weights, or normalisation.";
    let broken = record.vitals.iter().find_map(|v| Some((v.step, v.params.iter().rev().find(|p| p.non_finite > 0)?)));
    if let Some((step, param)) = broken {
        let evidence = format!("{} elements of the gradient of `{}` are not finite", param.non_finite, param.name);
        let finding = Finding::new("exploding_gradient", step, evidence, param.non_finite as f64).in_layer(&param.name);
        return vec![finding.beyond("every element finite", SOURCE).advise(ADVICE).certainty(Certainty::Certain)];
    }
    let Some(last) = lasting(record.vitals.iter()) else { return vec![] };
    let ratios: Vec<_> = last.iter().filter_map(|vitals| ratio(record, vitals)).collect();
    let exploded = |(ratio, norm, _): &(f64, f64, String)| *ratio > 70.0 && *norm > 1.0;
    if ratios.len() == PATIENCE && ratios.iter().all(exploded) {
        let (value, _, name) = &ratios[0];
        let evidence = format!("the gradient of `{name}` is {} times that of the last weight", number(*value));
        let finding = Finding::new("exploding_gradient", last[0].step, evidence, *value).in_layer(name);
        return vec![finding.beyond("‖g_first‖ / ‖g_last‖ > 70 and ‖g_first‖ > 1", SOURCE).advise(ADVICE)];
    }
    huge_gradient(record, &last).into_iter().map(|f| f.beyond("‖g‖ > 100 ‖w‖", SOURCE).advise(ADVICE)).collect()
}

/// A gradient that is a hundred times as large as the weight that it belongs to.
fn huge_gradient(record: &Record, last: &[&Vitals]) -> Option<Finding> {
    let huge = |vitals: &&Vitals| {
        let weights = weights(record, vitals);
        let share = |p: &&ParamVitals| p.gradient_norm / p.weight_norm;
        weights.into_iter().max_by(|a, b| share(a).total_cmp(&share(b))).filter(|p| share(p) > 100.0).cloned()
    };
    let found: Vec<ParamVitals> = last.iter().filter_map(huge).collect();
    let newest = found.first().filter(|_| found.len() == PATIENCE)?;
    let (gradient, weight) = (number(newest.gradient_norm), number(newest.weight_norm));
    let evidence = format!("the gradient of `{}` has the norm {gradient}, its value {weight}", newest.name);
    let value = newest.gradient_norm / newest.weight_norm;
    Some(Finding::new("exploding_gradient", last[0].step, evidence, value).in_layer(&newest.name))
}

/// Update ratios beyond which learning is far too fast or too slow.
const FAST: f64 = 0.1;
const SLOW: f64 = 1e-6;

/// The typical update of a step is more than a tenth of the weights or less than a millionth of them.
pub(super) fn update_ratio(record: &Record) -> Vec<Finding> {
    let Some(last) = lasting(record.vitals.iter().filter(|v| v.params.iter().any(|p| p.update_ratio > Some(0.0))))
    else {
        return vec![];
    };
    let typical: Vec<f64> = last.iter().filter_map(|vitals| median_ratio(record, vitals)).collect();
    if typical.len() < PATIENCE {
        return vec![];
    }
    let all = |holds: fn(f64) -> bool| typical.iter().all(|&ratio| holds(ratio));
    let (speed, advice) = match () {
        () if all(|ratio| ratio > FAST) => ("fast", "A smaller learning rate: a tenth of it, to start with."),
        () if all(|ratio| ratio < SLOW) => ("slow", "A larger learning rate; `preflight` suggests one."),
        () => return vec![],
    };
    let evidence = format!("a step changes the weights by {} of their norm: too {speed}", number(typical[0]));
    vec![
        Finding::new("update_ratio", last[0].step, evidence, typical[0])
            .beyond(format!("about 1e-3 is usual; above {FAST} or below {SLOW:e} is far outside"), "CS231n")
            .advise(advice),
    ]
}

fn median_ratio(record: &Record, vitals: &Vitals) -> Option<f64> {
    let mut ratios: Vec<f64> =
        weights(record, vitals).iter().filter_map(|p| p.update_ratio).filter(|&ratio| ratio > 0.0).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied()
}

/// A trainable parameter that no update moves, while others move.
pub(super) fn weights_stand_still(record: &Record) -> Vec<Finding> {
    let Some(last) = lasting(record.vitals.iter().filter(|v| v.params.iter().any(|p| p.update_ratio > Some(0.0))))
    else {
        return vec![];
    };
    let trainable = record.network.params.iter().filter(|info| !info.frozen && info.shape.len() >= 2);
    let still = trainable.filter_map(|info| {
        let of = |vitals: &&Vitals| vitals.params.iter().find(|p| p.name == info.name).cloned();
        let own: Vec<ParamVitals> = last.iter().filter_map(of).collect();
        let stands = |p: &ParamVitals| p.update_ratio == Some(0.0) || (p.gradient_norm == 0.0 && p.weight_norm > 0.0);
        (own.len() == PATIENCE && own.iter().all(stands)).then(|| {
            let gradient = number(own[0].gradient_norm);
            let evidence = format!("`{}` does not change (its gradient has the norm {gradient})", info.name);
            Finding::new("weights_stand_still", last[0].step, evidence, own[0].gradient_norm)
                .in_layer(&info.name)
                .beyond("an update or a gradient of exactly 0 in 3 recorded steps", "Karpathy 2019")
                .advise(
                    "Where that is meant, `params.freeze` says so; else look for a learning rate of 0 in its group, dead \
                     units behind it, or an operation without a gradient.",
                )
                .certainty(Certainty::Certain)
        })
    });
    still.collect()
}

/// A layer whose outputs no longer differ, though what the network is given does.
pub(super) fn signal_lost(record: &Record) -> Vec<Finding> {
    let found = record.network.layers.iter().filter_map(|layer| {
        let last = lasting(record.layer(&layer.path))?;
        let lost = last.iter().all(|(_, vitals)| vitals.std <= 1e-6 * vitals.mean.abs().max(1e-6));
        let (step, newest) = last.first()?;
        lost.then(|| {
            let evidence = format!(
                "the outputs of `{}` are all {} (deviation {})",
                layer.path,
                number(newest.mean),
                number(newest.std)
            );
            Finding::new("signal_lost", *step, evidence, newest.std)
                .in_layer(&layer.path)
                .beyond("a deviation below a millionth of the mean", "CS231n")
                .advise("Look at the layer before it: weights of 0, dead units, or a bias that outweighs everything.")
        })
    });
    // The first layer is where it began.
    found.take(1).collect()
}
