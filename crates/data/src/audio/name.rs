//! What a file's name says.

use std::collections::BTreeMap;

use glassbox_core::{Error, Result};

/// A rule for names: text that is always there, and fields in braces.
///
/// A field takes the shortest text, at least one character, up to the next text of the rule; the last one takes the rest.
///
/// ```
/// use glassbox_data::audio::NamePattern;
/// let pattern = NamePattern::new("{class}_{speaker}_{index}")?;
/// assert_eq!(pattern.fields_of("7_george_12").unwrap()["speaker"], "george");
/// assert!(pattern.fields_of("7-george-12").is_none());
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    text: String,
    start: String,
    /// Fields, each with the text that follows it.
    fields: Vec<(String, String)>,
}

impl NamePattern {
    /// Reads a rule such as `{class}_{speaker}_{index}`.
    ///
    /// # Errors
    /// There is no field, one has no name or the name of another, two stand side by side, or a brace has no partner.
    pub fn new(pattern: &str) -> Result<Self> {
        let wrong = |expected: &str| Error::invalid("name pattern", expected, format!("`{pattern}`"));
        let mut parts = pattern.split('{');
        let start = parts.next().unwrap_or_default().to_string();
        let mut fields: Vec<(String, String)> = Vec::new();
        for part in parts {
            let Some((name, text)) = part.split_once('}') else {
                return Err(wrong("a `}` for each `{`"));
            };
            if name.is_empty() || fields.iter().any(|(other, _)| other == name) {
                return Err(wrong("a name of its own for each field"));
            }
            if fields.last().is_some_and(|(_, text)| text.is_empty()) {
                return Err(wrong("text between two fields"));
            }
            fields.push((name.to_string(), text.to_string()));
        }
        if fields.is_empty() {
            return Err(wrong("a field, such as `{class}`"));
        }
        if start.contains('}') || fields.iter().any(|(_, text)| text.contains('}')) {
            return Err(wrong("a `{` for each `}`"));
        }
        Ok(Self { text: pattern.to_string(), start, fields })
    }

    /// The fields of a name by their own names; none where it does not follow the rule.
    pub fn fields_of(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let mut rest = name.strip_prefix(&self.start)?;
        let (last, before) = self.fields.split_last()?;
        let mut found = BTreeMap::new();
        for (field, text) in before {
            // From the second character on: a field is not empty.
            let first = rest.chars().next()?.len_utf8();
            let end = first + rest[first..].find(text)?;
            found.insert(field.clone(), rest[..end].to_string());
            rest = &rest[end + text.len()..];
        }
        let value = rest.strip_suffix(&last.1).filter(|value| !value.is_empty())?;
        found.insert(last.0.clone(), value.to_string());
        Some(found)
    }

    /// Whether there is a field of this name.
    pub fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|(name, _)| name == field)
    }
}

impl std::fmt::Display for NamePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
