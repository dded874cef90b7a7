//! The page around the figures: one file, which asks for no other.

use std::fmt::Write;

use super::figure::{Figure, Section};
use super::svg::escape;
use crate::rules::{Certainty, Finding, number};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A page of figures.
pub(crate) struct Page {
    pub title: String,
    /// The numbers at its top: what, and how much.
    pub numbers: Vec<(String, String)>,
    pub figures: Vec<Figure>,
    /// What the last section says; none where the page has no diagnosis.
    pub findings: Option<Vec<Finding>>,
}

impl Page {
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
             style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
             <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>{title}</h1>\n\
             <button id=\"theme\" type=\"button\" aria-label=\"Switch between light and dark\">◐</button>\n"
        );
        html += "<ul class=\"numbers\">\n";
        for (name, value) in &self.numbers {
            let _ = writeln!(html, "<li><b>{}</b><span>{}</span></li>", escape(value), escape(name));
        }
        html += "</ul>\n</header>\n";
        html += &self.navigation();
        html += "<main>\n";
        for section in self.sections() {
            html += &self.section(section);
        }
        let _ = write!(
            html,
            "</main>\n<footer>Made by Glassbox {}. This file is complete: it asks for nothing from anywhere.</footer>\n\
             <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        );
        html
    }

    fn sections(&self) -> Vec<Section> {
        let has = |section: &Section| {
            self.figures.iter().any(|f| f.section == *section) || (*section == Section::Next && self.findings.is_some())
        };
        Section::ALL.into_iter().filter(has).collect()
    }

    fn navigation(&self) -> String {
        let item = |section: Section| format!("<li><a href=\"#{}\">{}</a></li>", section.id(), section.title());
        let items: Vec<String> = self.sections().into_iter().map(item).collect();
        format!("<nav aria-label=\"Sections\">\n<ul>\n{}\n</ul>\n</nav>\n", items.join("\n"))
    }

    fn section(&self, section: Section) -> String {
        let id = section.id();
        let mut html = format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>\n", section.title());
        if let Some(findings) = self.findings.as_ref().filter(|_| section == Section::Next) {
            html += &list(findings);
        }
        let figures: Vec<String> = self.figures.iter().filter(|f| f.section == section).map(Figure::html).collect();
        if !figures.is_empty() {
            let _ = writeln!(html, "<div class=\"figures\">\n{}</div>", figures.join(""));
        }
        html + "</section>\n"
    }
}

fn list(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "<p class=\"well\">No rule found anything to object to. What is left is to measure: more data, another \
                seed, a larger network.</p>\n"
            .into();
    }
    let mut html = String::from("<ul class=\"findings\">\n");
    for finding in findings {
        let (class, sure) = match finding.certainty {
            Certainty::Certain => ("certain", "certain"),
            Certainty::Likely => ("likely", "likely to hurt"),
            Certainty::Possible => ("possible", "worth a look"),
        };
        let place =
            finding.layer.as_ref().map(|layer| format!(" in <code>{}</code>", escape(layer))).unwrap_or_default();
        let value = if finding.value.is_finite() {
            format!("value {}; ", escape(&number(finding.value)))
        } else {
            String::new()
        };
        let _ = writeln!(
            html,
            "<li class=\"{class}\"><b>{}</b><p>{}</p><small>{}{place}, step {}; {sure}; {value}threshold: {}; source: {}</small></li>",
            escape(&capitalised(&finding.evidence)),
            escape(&finding.advice),
            escape(&finding.rule.replace('_', " ")),
            finding.step,
            escape(&finding.threshold),
            escape(&finding.source),
        );
    }
    html + "</ul>\n"
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A table as HTML: its heading, and rows of as many cells. Scrolls sideways where it is wide.
pub(crate) fn table(label: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = String>| -> String {
        cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(&cell))).collect()
    };
    let head = cells("th scope=\"col\"", &mut head.iter().map(|cell| (*cell).to_string()));
    let head = head.replace("</th scope=\"col\">", "</th>");
    let rows: String = rows.iter().map(|row| format!("<tr>{}</tr>\n", cells("td", &mut row.iter().cloned()))).collect();
    format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\"><table><thead><tr>{head}</tr></thead>\
         <tbody>\n{rows}</tbody></table></div>",
        escape(label)
    )
}
