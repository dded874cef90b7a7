//! What a rule found.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::compact;

/// What a rule found: where, since when, by which evidence, and what to try.
///
/// Printed, it is one line for a terminal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's name, such as `dead_relu`.
    pub rule: String,
    /// The layer's path or the parameter's name; none where it concerns the run as a whole.
    pub layer: Option<String>,
    /// The step at which it was found.
    pub step: u64,
    /// What was seen, in a sentence.
    pub evidence: String,
    /// The number behind it.
    #[serde(with = "compact")]
    pub value: f64,
    /// The line that it crossed, in words.
    pub threshold: String,
    /// Who drew the line.
    pub source: String,
    /// What to try.
    pub advice: String,
    /// How sure it is.
    pub certainty: Certainty,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// It is so by definition, whatever it means for the run.
    Certain,
    /// It hurts training in most cases.
    Likely,
    /// Worth a look: healthy runs can show it.
    Possible,
}

impl Finding {
    /// What `rule` saw at `step`.
    pub fn new(rule: &str, step: u64, evidence: impl Into<String>, value: f64) -> Self {
        let (threshold, source, advice) = Default::default();
        let certainty = Certainty::Likely;
        Self {
            rule: rule.into(),
            layer: None,
            step,
            evidence: evidence.into(),
            value,
            threshold,
            source,
            advice,
            certainty,
        }
    }

    /// In the layer at `path`.
    pub fn in_layer(self, path: impl Into<String>) -> Self {
        Self { layer: Some(path.into()), ..self }
    }

    /// The line that was crossed, and who drew it.
    pub fn beyond(self, threshold: impl Into<String>, source: impl Into<String>) -> Self {
        Self { threshold: threshold.into(), source: source.into(), ..self }
    }

    /// What to try.
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..self }
    }

    /// How sure it is.
    pub fn certainty(self, certainty: Certainty) -> Self {
        Self { certainty, ..self }
    }

    /// Whether the other is the same thing, at whatever step.
    pub fn is_same(&self, other: &Self) -> bool {
        self.rule == other.rule && self.layer == other.layer
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}; {}). {}", self.evidence, self.threshold, self.source, self.advice)
    }
}
