//! What became of each key when a file was loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use candle_core::Tensor;

use super::Param;

/// The result of comparing a file's keys with a model's, all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// Where the tensors came from.
    pub source: String,
    /// Names that are in both with the same shape.
    pub matched: Vec<String>,
    /// Names of the model that the source lacks.
    pub missing: Vec<KeyMismatch>,
    /// Names of the source that the model lacks.
    pub unexpected: Vec<KeyMismatch>,
    /// Names that are in both with different shapes.
    pub wrong_shape: Vec<WrongShape>,
}

/// A key without a partner, and the most similar key on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMismatch {
    /// The key.
    pub name: String,
    /// The most similar key of the other side, if any is similar.
    pub nearest: Option<String>,
}

/// A key whose shapes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongShape {
    /// The key.
    pub name: String,
    /// The model's shape.
    pub expected: Vec<usize>,
    /// The source's shape.
    pub got: Vec<usize>,
}

/// Above this similarity (0 to 1, Jaro-Winkler) a key counts as a likely misspelling.
const SIMILAR: f64 = 0.8;

impl LoadReport {
    pub(super) fn compare(source: &str, params: &[Param], tensors: &BTreeMap<String, Tensor>) -> Self {
        let expected: BTreeSet<&str> = params.iter().map(Param::name).collect();
        let mut report = Self {
            source: source.to_string(),
            matched: vec![],
            missing: vec![],
            unexpected: vec![],
            wrong_shape: vec![],
        };
        for param in params {
            let name = param.name().to_string();
            match tensors.get(&name) {
                None => report.missing.push(mismatch(&name, tensors.keys().map(String::as_str))),
                Some(tensor) if tensor.dims() == param.shape().dims() => report.matched.push(name),
                Some(tensor) => report.wrong_shape.push(WrongShape {
                    name,
                    expected: param.shape().dims().to_vec(),
                    got: tensor.dims().to_vec(),
                }),
            }
        }
        let strangers = tensors.keys().filter(|name| !expected.contains(name.as_str()));
        report.unexpected = strangers.map(|name| mismatch(name, expected.iter().copied())).collect();
        report
    }

    /// Whether every key found its partner with the same shape.
    pub fn fits(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.wrong_shape.is_empty()
    }
}

fn mismatch<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> KeyMismatch {
    let scored = others.map(|other| (strsim::jaro_winkler(name, other), other));
    let best = scored.filter(|(score, _)| *score >= SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0));
    KeyMismatch { name: name.to_string(), nearest: best.map(|(_, other)| other.to_string()) }
}

impl fmt::Display for KeyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nearest {
            Some(nearest) => write!(f, "{} (nearest: {nearest})", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fits() {
            return write!(f, "all {} keys of {} fit", self.matched.len(), self.source);
        }
        let count = self.missing.len() + self.unexpected.len() + self.wrong_shape.len();
        write!(f, "{count} keys of {} don't fit: ", self.source)?;
        let list = |keys: &[KeyMismatch]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut parts = vec![];
        if !self.missing.is_empty() {
            parts.push(format!("missing {}", list(&self.missing)));
        }
        if !self.unexpected.is_empty() {
            parts.push(format!("unexpected {}", list(&self.unexpected)));
        }
        parts.extend(self.wrong_shape.iter().map(|w| format!("{} is {:?}, expected {:?}", w.name, w.got, w.expected)));
        write!(f, "{}", parts.join("; "))
    }
}
