//! The prefixes that a beam search has kept, each by its parent and last label.

use std::collections::BTreeMap;

/// A prefix: its place in the trie. The empty one is 0.
pub(super) type Prefix = usize;

pub(super) const EMPTY: Prefix = 0;

struct Node {
    parent: Prefix,
    /// The last label, of any but the empty prefix.
    label: u32,
    /// The sum of the scorer's scores of all labels.
    score: f64,
}

/// All prefixes kept so far.
pub(super) struct Trie {
    nodes: Vec<Node>,
    children: BTreeMap<(Prefix, u32), Prefix>,
}

impl Trie {
    /// The empty prefix alone.
    pub fn new() -> Self {
        Self { nodes: vec![Node { parent: EMPTY, label: 0, score: 0.0 }], children: BTreeMap::new() }
    }

    pub fn last_label(&self, prefix: Prefix) -> Option<u32> {
        (prefix != EMPTY).then(|| self.nodes[prefix].label)
    }

    pub fn score(&self, prefix: Prefix) -> f64 {
        self.nodes[prefix].score
    }

    /// `prefix` extended by `label`, if it was kept before.
    pub fn child(&self, prefix: Prefix, label: u32) -> Option<Prefix> {
        self.children.get(&(prefix, label)).copied()
    }

    pub fn insert(&mut self, parent: Prefix, label: u32, score: f64) -> Prefix {
        self.nodes.push(Node { parent, label, score });
        self.children.insert((parent, label), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// The labels of `prefix`.
    pub fn labels(&self, mut prefix: Prefix) -> Vec<u32> {
        let mut labels = vec![];
        while let Some(label) = self.last_label(prefix) {
            labels.push(label);
            prefix = self.nodes[prefix].parent;
        }
        labels.reverse();
        labels
    }
}
