//! Random parts of a dataset, group by group: a plain split has one group, a stratified one a group for each class.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Dataset, Subset};
use crate::{Error, Result, Seed};

/// The training and the test part of one fold of a cross-validation.
pub type Fold<D> = (Subset<D>, Subset<D>);

/// The class of the sample at `index`, which `purpose` needs.
pub(super) fn class_of<D: Dataset>(dataset: &D, index: usize, purpose: &str) -> Result<usize> {
    let missing = || Error::invalid(format!("sample {index}"), format!("a class, for {purpose}"), "none");
    dataset.class(index)?.ok_or_else(missing)
}

/// The indices of each class's samples, by class.
pub(super) fn samples_by_class<D: Dataset>(dataset: &D) -> Result<Vec<Vec<usize>>> {
    let mut classes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..dataset.len() {
        classes.entry(class_of(dataset, index, "a stratified split")?).or_default().push(index);
    }
    Ok(classes.into_values().collect())
}

/// Shuffles every group, each with a stream of its own.
fn shuffle(groups: &mut [Vec<usize>], seed: Seed) {
    for (group, stream) in groups.iter_mut().zip(0..) {
        seed.child("split").index(stream).rng().shuffle(group);
    }
}

/// `fraction` of every group, and the rest.
pub(super) fn split<D: Dataset>(
    dataset: D,
    mut groups: Vec<Vec<usize>>,
    fraction: f64,
    seed: Seed,
) -> Result<(Subset<D>, Subset<D>)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::invalid("fraction of the split", "a number between 0 and 1", fraction));
    }
    shuffle(&mut groups, seed);
    let sizes = largest_remainders(&groups.iter().map(Vec::len).collect::<Vec<_>>(), fraction);
    let (mut first, mut second) = (vec![], vec![]);
    for (group, size) in groups.iter().zip(sizes) {
        let (chosen, rest) = group.split_at(size);
        first.extend_from_slice(chosen);
        second.extend_from_slice(rest);
    }
    if first.is_empty() || second.is_empty() {
        let expected = "at least one sample in each part";
        return Err(Error::invalid("split", expected, format!("{} and {}", first.len(), second.len())));
    }
    parts(&Arc::new(dataset), first, second)
}

/// `fraction` of each size, rounded so that they sum to `fraction` of the sum, rounded to the nearest: all are rounded
/// down, then those with the largest remainders (the first among equals) get one more each.
fn largest_remainders(sizes: &[usize], fraction: f64) -> Vec<usize> {
    let shares: Vec<f64> = sizes.iter().map(|&size| size as f64 * fraction).collect();
    let mut rounded: Vec<usize> = shares.iter().map(|share| share.floor() as usize).collect();
    let total = (sizes.iter().sum::<usize>() as f64 * fraction).round() as usize;
    let missing = total.saturating_sub(rounded.iter().sum());
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by(|&a, &b| shares[b].fract().total_cmp(&shares[a].fract()));
    by_remainder.into_iter().take(missing).for_each(|group| rounded[group] += 1);
    rounded
}

/// Deals the samples of one group after the other to the folds in turn, so that neither the folds' sizes nor any group's
/// share of them differ by more than one.
pub(super) fn k_folds<D: Dataset>(
    dataset: D,
    mut groups: Vec<Vec<usize>>,
    k: usize,
    seed: Seed,
) -> Result<Vec<Fold<D>>> {
    if k < 2 || k > dataset.len() {
        return Err(Error::invalid("k of the folds", format!("2 to {} (the number of samples)", dataset.len()), k));
    }
    shuffle(&mut groups, seed);
    let order = groups.concat();
    let dataset = Arc::new(dataset);
    let fold = |fold| {
        let (test, train): (Vec<_>, Vec<_>) = order.iter().enumerate().partition(|(dealt, _)| dealt % k == fold);
        let indices = |part: Vec<(usize, &usize)>| part.into_iter().map(|(_, &index)| index).collect();
        parts(&dataset, indices(train), indices(test))
    };
    (0..k).map(fold).collect()
}

/// Two subsets in the dataset's order.
fn parts<D: Dataset>(
    dataset: &Arc<D>,
    mut first: Vec<usize>,
    mut second: Vec<usize>,
) -> Result<(Subset<D>, Subset<D>)> {
    first.sort_unstable();
    second.sort_unstable();
    Ok((Subset::new(Arc::clone(dataset), first)?, Subset::new(Arc::clone(dataset), second)?))
}
