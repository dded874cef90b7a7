//! A drawing of a forecast: what was, the forecast with its interval, and what came, as an SVG that follows the reader's
//! light or dark colour scheme.

use std::fmt::Write;
use std::ops::Range;

/// What is drawn. A step is a whole number; the horizon starts at step `history.len()`.
pub struct Plot {
    pub title: String,
    /// What is measured, with its unit.
    pub values: String,
    /// The step from one value to the next: `1 hour`.
    pub interval: String,
    pub history: Vec<f64>,
    pub truth: Vec<f64>,
    pub forecast: Vec<f64>,
    pub low: Vec<f64>,
    pub high: Vec<f64>,
    /// What the interval is called: `90 % interval`.
    pub band: String,
    /// The time of each step, history and horizon.
    pub times: Vec<String>,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
/// Of the area with the curves.
const LEFT: f64 = 74.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = HEIGHT - 62.0;

const STYLE: &str = r#"<style>
  .page { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d8dee4 }
  .start { stroke: #59636e } .band { fill: #0969da; fill-opacity: 0.16 } .forecast { stroke: #0969da }
  .truth { stroke: #1f2328 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #30363d } .text { fill: #e6edf3 } .faint { fill: #9198a1 } .grid { stroke: #2a3038 }
    .start { stroke: #9198a1 } .band { fill: #4493f8; fill-opacity: 0.25 } .forecast { stroke: #4493f8 }
    .truth { stroke: #e6edf3 }
  }
  polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round }
  text { font: 13px system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }
  .title { font-size: 16px; font-weight: 600 }
</style>"#;

impl Plot {
    /// The drawing, as the text of a file.
    pub fn svg(&self) -> String {
        let scale = Scale::new(self);
        let title = escape(&self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" \
             aria-label=\"{title}\">\n<title>{title}</title>\n{STYLE}\n<rect class=\"page\" x=\"0.5\" y=\"0.5\" \
             width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
            WIDTH - 1.0,
            HEIGHT - 1.0
        );
        svg += &text(LEFT, 32.0, &self.title, "text title", "start");
        svg += &self.legend();
        svg += &self.axes(&scale);
        svg += &self.curves(&scale);
        svg + "</svg>\n"
    }

    fn legend(&self) -> String {
        let y = 58.0;
        let entry = |x: f64, mark: String, name: &str| mark + &text(x + 32.0, y + 4.5, name, "text", "start");
        let stroke =
            |x: f64, class: &str| format!("<polyline class=\"{class}\" points=\"{x},{y} {},{y}\"/>\n", x + 24.0);
        let band =
            format!("<rect class=\"band\" x=\"{}\" y=\"{}\" width=\"24\" height=\"12\"/>\n", LEFT + 236.0, y - 6.0);
        entry(LEFT, stroke(LEFT, "truth"), "measured")
            + &entry(LEFT + 118.0, stroke(LEFT + 118.0, "forecast"), "forecast")
            + &entry(LEFT + 236.0, band, &self.band)
    }

    fn axes(&self, scale: &Scale) -> String {
        let mut svg = String::new();
        for (value, label) in scale.value_ticks() {
            let y = scale.y(value);
            svg += &line((LEFT, y), (RIGHT, y), "grid", "");
            svg += &text(LEFT - 8.0, y + 4.5, &label, "faint", "end");
        }
        let steps = self.times.len();
        // As many as stand beside each other, a letter being 8 wide.
        let longest = self.times.iter().map(|time| short(time).len()).max().unwrap_or(0);
        let labels = ((RIGHT - LEFT) / (8 * longest + 16) as f64).clamp(1.0, 5.0) as usize;
        let every = steps.div_ceil(labels).max(1);
        for (step, time) in self.times.iter().enumerate().skip(every / 2).step_by(every) {
            let x = scale.x(step);
            svg += &line((x, BOTTOM), (x, BOTTOM + 5.0), "start", "");
            svg += &text(x, BOTTOM + 20.0, short(time), "faint", "middle");
        }
        let start = scale.x(self.history.len().saturating_sub(1));
        svg += &line((start, TOP), (start, BOTTOM), "start", "4 4");
        svg += &text(start + 6.0, TOP + 12.0, "forecast from here", "faint", "start");
        let below = format!("time, in steps of {}", self.interval);
        svg += &text((LEFT + RIGHT) / 2.0, HEIGHT - 18.0, &below, "text", "middle");
        let (x, y) = (20.0, (TOP + BOTTOM) / 2.0);
        let turned = text(x, y, &self.values, "text", "middle");
        svg + &turned.replace("<text ", &format!("<text transform=\"rotate(-90 {x} {y})\" "))
    }

    fn curves(&self, scale: &Scale) -> String {
        let horizon = self.history.len()..self.history.len() + self.forecast.len();
        let points = |steps: Range<usize>, values: &mut dyn Iterator<Item = &f64>| {
            let pairs = steps.zip(values).map(|(step, &value)| format!("{:.1},{:.1}", scale.x(step), scale.y(value)));
            pairs.collect::<Vec<_>>()
        };
        let mut band = points(horizon.clone(), &mut self.high.iter());
        band.extend(points(horizon.clone(), &mut self.low.iter()).into_iter().rev());
        // The forecast starts where the history ends.
        let from = self.history.len().saturating_sub(1)..horizon.end;
        let truth = points(0..horizon.end, &mut self.history.iter().chain(&self.truth));
        let forecast = points(from, &mut self.history.last().into_iter().chain(&self.forecast));
        format!(
            "<polygon class=\"band\" points=\"{}\"/>\n<polyline class=\"truth\" points=\"{}\"/>\n\
             <polyline class=\"forecast\" points=\"{}\"/>\n",
            band.join(" "),
            truth.join(" "),
            forecast.join(" ")
        )
    }
}

/// From steps and values to places in the drawing.
struct Scale {
    steps: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn new(plot: &Plot) -> Self {
        let all = [&plot.history, &plot.truth, &plot.low, &plot.high, &plot.forecast];
        let values = || all.into_iter().flatten().copied();
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let margin = if high > low { 0.06 * (high - low) } else { 1.0 };
        Self { steps: plot.times.len().saturating_sub(1).max(1) as f64, low: low - margin, high: high + margin }
    }

    fn x(&self, step: usize) -> f64 {
        LEFT + (RIGHT - LEFT) * step as f64 / self.steps
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * (value - self.low) / (self.high - self.low)
    }

    /// Round values, about five of them, with their labels.
    fn value_ticks(&self) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|&s| s >= rough).unwrap_or(rough);
        let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let first = (self.low / step).ceil();
        let ticks = (0..12).map(|i| (first + f64::from(i)) * step).take_while(|&tick| tick <= self.high);
        ticks.map(|tick| (tick, format!("{tick:.digits$}"))).collect()
    }
}

/// A date and a time of day without its seconds, where these are 0.
fn short(time: &str) -> &str {
    time.strip_suffix(":00").filter(|short| short.len() == "2024-01-31 15:00".len()).unwrap_or(time)
}

fn text(x: f64, y: f64, content: &str, class: &str, anchor: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", escape(content))
}

fn line(from: (f64, f64), to: (f64, f64), class: &str, dashes: &str) -> String {
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"",
        from.0, from.1, to.0, to.1
    );
    if !dashes.is_empty() {
        let _ = write!(svg, " stroke-dasharray=\"{dashes}\"");
    }
    svg + "/>\n"
}

fn escape(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
