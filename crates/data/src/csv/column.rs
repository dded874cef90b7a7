//! The cells of one column, read as numbers or as categories.

use std::collections::HashMap;

/// How a column's text becomes numbers.
#[derive(Default)]
pub(crate) struct Cells {
    /// None for a column of numbers.
    pub(super) categories: Option<Categories>,
    /// What [`keep`](Self::keep) was given, in order.
    pub(super) kept: Vec<f64>,
}

/// Names and their numbers, in the order in which they were first seen.
pub(super) struct Categories {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
    /// Whether the names were given: no other is allowed, and their order stays.
    closed: bool,
}

impl Cells {
    pub(super) fn categories(vocabulary: Option<&Vec<String>>) -> Self {
        let names = vocabulary.cloned().unwrap_or_default();
        let numbers = names.iter().cloned().zip(0..).collect();
        Self { categories: Some(Categories { numbers, names, closed: vocabulary.is_some() }), kept: Vec::new() }
    }

    pub(super) fn keep(&mut self, value: f64) {
        self.kept.push(value);
    }

    /// The number that `text` stands for, NaN where it is missing.
    pub(crate) fn read(&mut self, text: &str, allow_missing: bool) -> Result<f64, String> {
        let is_missing = ["", "NA", "NaN", "?"].iter().any(|marker| marker.eq_ignore_ascii_case(text));
        match (&mut self.categories, is_missing) {
            (_, true) if allow_missing => Ok(f64::NAN),
            (_, true) => Err(format!("missing value `{text}`")),
            (Some(categories), false) => categories.number(text),
            (None, false) => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value),
                _ => Err(format!("expected a finite number, got `{}`", excerpt(text))),
            },
        }
    }
}

impl Categories {
    fn number(&mut self, text: &str) -> Result<f64, String> {
        if let Some(&number) = self.numbers.get(text) {
            return Ok(f64::from(number));
        }
        if self.closed {
            return Err(format!("`{}` is not among the {} known values", excerpt(text), self.names.len()));
        }
        let number = u32::try_from(self.names.len()).map_err(|_| "more than 2^32 distinct values")?;
        self.numbers.insert(text.to_string(), number);
        self.names.push(text.to_string());
        Ok(f64::from(number))
    }

    /// The place of each number in the sorted order, and the names in that order.
    pub(super) fn sorted(self) -> (Vec<u32>, Vec<String>) {
        let mut names: Vec<(String, u32)> = self.names.into_iter().zip(0..).collect();
        if !self.closed {
            sort_names(&mut names);
        }
        let mut order = vec![0; names.len()];
        for (place, (_, number)) in (0..).zip(&names) {
            order[*number as usize] = place;
        }
        (order, names.into_iter().map(|(name, _)| name).collect())
    }

    /// The place of the number `value`; NaN, which is missing, stays.
    pub(super) fn renumber(order: &[u32], value: f64) -> f64 {
        if value.is_nan() { value } else { order.get(value as usize).map_or(f64::NAN, |&place| f64::from(place)) }
    }
}

/// As numbers where all are integers, else as text: 2 comes before 10.
fn sort_names(names: &mut [(String, u32)]) {
    let integers: Option<Vec<i64>> = names.iter().map(|(name, _)| name.parse().ok()).collect();
    match integers {
        Some(_) => names.sort_by_cached_key(|(name, _)| (name.parse::<i64>().unwrap_or_default(), name.clone())),
        None => names.sort(),
    }
}

/// The first characters of what may be a very long cell.
fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
