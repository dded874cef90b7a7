//! A figure of the report, with what a reader needs to understand it.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::svg::escape;

/// Where in the report a figure stands. The sections follow the network: from the data to what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// What it learns from.
    Data,
    /// Before the first step.
    BeforeTraining,
    /// Losses and scores over the steps.
    Run,
    /// Inside each layer.
    Layers,
    /// What it learned.
    Learned,
    /// Where it fails.
    Failures,
    /// What to do next.
    Next,
}

impl Section {
    /// Every section, in order.
    pub const ALL: [Self; 7] =
        [Self::Data, Self::BeforeTraining, Self::Run, Self::Layers, Self::Learned, Self::Failures, Self::Next];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Data => "Data",
            Self::BeforeTraining => "Before training",
            Self::Run => "The run",
            Self::Layers => "Inside each layer",
            Self::Learned => "What it learned",
            Self::Failures => "Where it fails",
            Self::Next => "What to do next",
        }
    }

    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::BeforeTraining => "before",
            Self::Run => "run",
            Self::Layers => "layers",
            Self::Learned => "learned",
            Self::Failures => "failures",
            Self::Next => "next",
        }
    }
}

/// A figure of the report: a drawing or a table, and what it says.
///
/// The body is HTML that this crate made: everything that came from outside in it is escaped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Where it stands.
    pub section: Section,
    /// Its heading.
    pub title: String,
    /// What it is, in a sentence.
    pub what: String,
    /// What healthy looks like.
    pub healthy: String,
    /// The formula, where there is one.
    pub formula: String,
    /// Where the idea comes from.
    pub source: String,
    /// Whether it takes the whole width of the page.
    pub wide: bool,
    body: String,
}

impl Figure {
    pub(crate) fn new(section: Section, title: impl Into<String>, body: String) -> Self {
        let (what, healthy, formula, source) = Default::default();
        Self { section, title: title.into(), what, healthy, formula, source, wide: false, body }
    }

    /// What it is, in a sentence.
    pub fn what(self, what: impl Into<String>) -> Self {
        Self { what: what.into(), ..self }
    }

    /// What healthy looks like.
    pub fn healthy(self, healthy: impl Into<String>) -> Self {
        Self { healthy: healthy.into(), ..self }
    }

    /// The formula.
    pub fn formula(self, formula: impl Into<String>) -> Self {
        Self { formula: formula.into(), ..self }
    }

    /// Where the idea comes from.
    pub fn source(self, source: impl Into<String>) -> Self {
        Self { source: source.into(), ..self }
    }

    /// The same over the whole width of the page.
    pub fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// The same in another section.
    pub fn in_section(self, section: Section) -> Self {
        Self { section, ..self }
    }

    /// The drawing or table alone.
    pub fn body(&self) -> &str {
        &self.body
    }

    pub(crate) fn html(&self) -> String {
        let class = if self.wide { " class=\"wide\"" } else { "" };
        let mut html = format!("<figure{class}>\n<h3>{}</h3>\n{}\n<figcaption>\n", escape(&self.title), self.body);
        let _ = writeln!(html, "<p>{}</p>", escape(&self.what));
        let parts = [("Healthy", &self.healthy), ("Formula", &self.formula), ("Source", &self.source)];
        let given: Vec<_> = parts.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        if !given.is_empty() {
            html += "<dl>";
            for (name, text) in given {
                let text = if name == "Formula" { format!("<code>{}</code>", escape(text)) } else { escape(text) };
                let _ = write!(html, "<dt>{name}</dt><dd>{text}</dd>");
            }
            html += "</dl>\n";
        }
        html + "</figcaption>\n</figure>\n"
    }
}
