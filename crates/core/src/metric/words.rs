//! What the metrics of texts share.

use std::collections::BTreeMap;

/// As Python splits text at white space, which it takes four separators for that Unicode does not.
pub(super) fn split_whitespace(text: &str) -> impl Iterator<Item = &str> {
    let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Each run of `order` items and how often it comes.
pub(super) fn ngrams<T: Ord>(items: &[T], order: usize) -> BTreeMap<&[T], usize> {
    let mut counts = BTreeMap::new();
    items.windows(order).for_each(|ngram| *counts.entry(ngram).or_insert(0) += 1);
    counts
}

/// How many n-grams of `found` are in `wanted`, each counted at most as often as there.
pub(super) fn overlap<T: Ord>(found: &BTreeMap<&[T], usize>, wanted: &BTreeMap<&[T], usize>) -> usize {
    found.iter().map(|(ngram, &count)| count.min(wanted.get(ngram).copied().unwrap_or(0))).sum()
}
