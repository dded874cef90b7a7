//! Drawing: the few elements of SVG that the figures need. Coordinates are of a page 360 wide, the width of a phone, so
//! that text stays readable there; on larger screens everything grows together.

use std::fmt::Write;

/// Width of every drawing.
pub(crate) const WIDTH: f64 = 360.0;
/// Height of a line of text.
pub(crate) const LINE: f64 = 14.0;
/// Mean width of a letter.
const LETTER: f64 = 5.9;

/// A drawing.
pub(crate) struct Canvas {
    height: f64,
    label: String,
    body: String,
}

/// Where a text stands relative to its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Canvas {
    /// An empty drawing; `label` is its accessible name.
    pub fn new(height: f64, label: &str) -> Self {
        Self { height, label: label.to_string(), body: String::new() }
    }

    /// The drawing as an element of HTML.
    pub fn finish(self) -> String {
        let (label, height) = (escape(&self.label), self.height.ceil());
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\"><title>{label}</title>\n{}</svg>",
            self.body
        )
    }

    pub fn text(&mut self, x: f64, y: f64, text: &str, anchor: Anchor, class: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>"
        );
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        );
    }

    pub fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &str, tooltip: &str) {
        let _ = write!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\""
        );
        if tooltip.is_empty() {
            self.body += "/>\n";
        } else {
            let _ = writeln!(self.body, "><title>{}</title></rect>", escape(tooltip));
        }
    }

    /// A rectangle in a colour of its own.
    pub fn tile(&mut self, [x, y, width, height]: [f64; 4], [r, g, b]: [u8; 3], tooltip: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"cell\" \
             fill=\"#{r:02x}{g:02x}{b:02x}\"><title>{}</title></rect>",
            escape(tooltip)
        );
    }

    pub fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.body, "<polyline points=\"{}\" class=\"{class}\"/>", points.join(" "));
    }

    pub fn circle(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        let _ = writeln!(self.body, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" class=\"{class}\"/>");
    }

    /// A picture, as a data URI; its pixels stay squares.
    pub fn image(&mut self, [x, y, width, height]: [f64; 4], uri: &str) {
        let _ = writeln!(
            self.body,
            "<image x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" preserveAspectRatio=\"none\" \
             class=\"pixels\" href=\"{uri}\"/>"
        );
    }
}

/// About how wide `text` is.
pub(crate) fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

/// `text` cut in the middle so that it is no wider than `width`: the ends of a layer's path say most.
pub(crate) fn fitted(text: &str, width: f64) -> String {
    let room = (width / LETTER).floor().max(3.0) as usize;
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= room {
        return text.to_string();
    }
    let (head, tail) = ((room - 1) / 3, room - 1 - (room - 1) / 3);
    letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]).collect()
}

/// `text` as it must stand in HTML and SVG, in elements and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(' '),
            letter if letter.is_control() => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Round values from `low` to `high`, about `count` of them.
pub(crate) fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    if !(rough > 0.0 && rough.is_finite()) {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|&s| s >= rough).unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    let ticks = (0..64).map(|i| (first + f64::from(i)) * step).take_while(|&tick| tick <= high + 1e-9 * step);
    // No negative zero in a label.
    ticks.map(|tick| if tick.abs() < 1e-9 * step { 0.0 } else { tick }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(escape("<b a=\"'&'\">\u{7}\n"), "&lt;b a=&quot;&#39;&amp;&#39;&quot;&gt; ");
        let mut canvas = Canvas::new(10.0, "a <script>");
        canvas.text(0.0, 0.0, "</text><script>", Anchor::Start, "x");
        canvas.rect([0.0; 4], "x", "<i>");
        let svg = canvas.finish();
        assert!(!svg.contains("<script>") && !svg.contains("<i>"), "{svg}");
    }

    #[test]
    fn long_paths_keep_their_ends() {
        assert_eq!(fitted("encoder.11.attention.query", 60.0), "enc….query");
        assert_eq!(fitted("fc", 60.0), "fc");
        assert!(fitted("ééééééééééééééééé", 20.0).chars().count() == 3);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(-3.0, 7.0, 4), [0.0, 5.0]);
        assert_eq!(ticks(1.0, 1.0, 4), [1.0]);
        assert_eq!(ticks(f64::NAN, 1.0, 4).len(), 1);
    }
}
