//! Curves, bars and points.

use super::svg::{Anchor, Canvas, LINE, WIDTH, fitted, ticks, width_of};
use crate::rules::number;

/// A curve and its name.
pub(crate) struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points }
    }
}

/// Curves over a common axis.
#[derive(Default)]
pub(crate) struct LineChart {
    pub label: String,
    pub x: String,
    pub y: String,
    pub curves: Vec<Curve>,
    /// Whether the vertical axis is logarithmic; values that are not positive are then left out.
    pub log: bool,
    /// Heights that are marked, with what they mean.
    pub marks: Vec<(f64, String)>,
    /// Whether points are drawn without lines between them.
    pub points_only: bool,
}

/// Points of a curve that are drawn at most.
const POINTS: usize = 240;
const LEFT: f64 = 46.0;
const RIGHT: f64 = WIDTH - 8.0;
const HEIGHT: f64 = 150.0;

impl LineChart {
    pub fn svg(&self) -> String {
        let curves: Vec<_> =
            self.curves.iter().enumerate().map(|(i, curve)| (i % 6, curve, self.thinned(&curve.points))).collect();
        let legend = self.legend_rows();
        let top = 8.0 + LINE * legend.len() as f64 + LINE;
        let mut canvas = Canvas::new(top + HEIGHT + 36.0, &self.label);
        for (row, entries) in legend.iter().enumerate() {
            for (index, name, x) in entries {
                let y = 12.0 + LINE * row as f64;
                canvas.line((*x, y - 4.0), (x + 18.0, y - 4.0), &format!("curve s{}", index % 6));
                canvas.text(x + 22.0, y, name, Anchor::Start, "small");
            }
        }
        let all = || curves.iter().flat_map(|(_, _, points)| points.iter().copied());
        let Some(frame) = Frame::around(all(), &self.marks, self.log, top) else {
            canvas.text(WIDTH / 2.0, top + HEIGHT / 2.0, "nothing recorded", Anchor::Middle, "faint");
            return canvas.finish();
        };
        canvas.text(4.0, top - 5.0, &self.y, Anchor::Start, "faint small");
        frame.axes(&mut canvas, &self.x, self.log);
        for (height, name) in &self.marks {
            let y = frame.y(self.level(*height));
            if (top..=top + HEIGHT).contains(&y) {
                canvas.line((LEFT, y), (RIGHT, y), "mark");
                canvas.text(RIGHT - 2.0, y - 3.0, name, Anchor::End, "faint small");
            }
        }
        for (class, _, points) in &curves {
            let placed: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (frame.x(x), frame.y(y))).collect();
            if self.points_only || placed.len() == 1 {
                placed.iter().for_each(|&point| canvas.circle(point, 2.2, &format!("dot s{class}")));
            } else {
                canvas.polyline(&placed, &format!("curve s{class}"));
            }
        }
        canvas.finish()
    }

    fn level(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }

    /// Points as they are drawn: means of neighbours where there are many.
    fn thinned(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let levels: Vec<(f64, f64)> =
            points.iter().map(|&(x, y)| (x, self.level(y))).filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        let each = levels.len().div_ceil(POINTS).max(1);
        let mean = |part: &[(f64, f64)]| {
            let count = part.len() as f64;
            (part.iter().map(|p| p.0).sum::<f64>() / count, part.iter().map(|p| p.1).sum::<f64>() / count)
        };
        levels.chunks(each).map(mean).collect()
    }

    /// Names with their places, in rows.
    fn legend_rows(&self) -> Vec<Vec<(usize, String, f64)>> {
        let mut rows: Vec<Vec<(usize, String, f64)>> = vec![];
        if self.curves.len() < 2 {
            return rows;
        }
        let mut x = WIDTH;
        for (i, curve) in self.curves.iter().enumerate() {
            let name = fitted(&curve.name, 150.0);
            let needed = 32.0 + width_of(&name);
            if x + needed > WIDTH {
                rows.push(vec![]);
                x = 4.0;
            }
            if let Some(row) = rows.last_mut() {
                row.push((i, name, x));
            }
            x += needed;
        }
        rows
    }
}

/// From values to places.
struct Frame {
    low: (f64, f64),
    high: (f64, f64),
    top: f64,
}

impl Frame {
    fn around(points: impl Iterator<Item = (f64, f64)>, marks: &[(f64, String)], log: bool, top: f64) -> Option<Self> {
        let infinite = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut xs, mut ys) = (infinite, infinite);
        let widen = |range: &mut (f64, f64), value: f64| *range = (range.0.min(value), range.1.max(value));
        for (x, y) in points {
            widen(&mut xs, x);
            widen(&mut ys, y);
        }
        if !(xs.0 <= xs.1 && ys.0 <= ys.1) {
            return None;
        }
        // A mark is shown where it is not too far away to leave the curves their room.
        for (mark, _) in marks {
            let mark = if log { mark.log10() } else { *mark };
            let span = (ys.1 - ys.0).max(1e-12);
            if mark.is_finite() && mark > ys.0 - span && mark < ys.1 + span {
                widen(&mut ys, mark);
            }
        }
        let margin = |(low, high): (f64, f64), share: f64| {
            let margin = if high > low { share * (high - low) } else { 0.5 * low.abs().max(1e-6) };
            (low - margin, high + margin)
        };
        let ((x0, x1), (y0, y1)) = (margin(xs, 0.0), margin(ys, 0.05));
        Some(Self { low: (x0, y0), high: (x1, y1), top })
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (value - self.low.0) / (self.high.0 - self.low.0)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + HEIGHT * (self.high.1 - value) / (self.high.1 - self.low.1)
    }

    fn axes(&self, canvas: &mut Canvas, x_name: &str, log: bool) {
        let bottom = self.top + HEIGHT;
        for (value, label) in self.value_ticks(log) {
            let y = self.y(value);
            canvas.line((LEFT, y), (RIGHT, y), "grid");
            canvas.text(LEFT - 4.0, y + 4.0, &label, Anchor::End, "faint small");
        }
        for tick in ticks(self.low.0, self.high.0, 4) {
            let x = self.x(tick);
            canvas.line((x, bottom), (x, bottom + 4.0), "axis");
            let anchor = if x > RIGHT - 14.0 { Anchor::End } else { Anchor::Middle };
            canvas.text(x, bottom + 16.0, &number(tick), anchor, "faint small");
        }
        canvas.line((LEFT, bottom), (RIGHT, bottom), "axis");
        canvas.text((LEFT + RIGHT) / 2.0, bottom + 31.0, x_name, Anchor::Middle, "faint small");
    }

    fn value_ticks(&self, log: bool) -> Vec<(f64, String)> {
        let (low, high) = (self.low.1, self.high.1);
        if !log {
            return ticks(low, high, 4).into_iter().map(|tick| (tick, number(tick))).collect();
        }
        if high - low < 1.5 {
            // Less than two decades: plain values, at their logarithms.
            let plain = ticks(10f64.powf(low), 10f64.powf(high), 4).into_iter().filter(|&tick| tick > 0.0);
            return plain.map(|tick| (tick.log10(), number(tick))).collect();
        }
        let every = ((high - low) / 5.0).ceil().max(1.0);
        let decades = ticks(low, high, ((high - low) / every).ceil() as usize);
        decades.into_iter().filter(|d| d.fract() == 0.0).map(|d| (d, power_of_ten(d))).collect()
    }
}

fn power_of_ten(exponent: f64) -> String {
    match exponent as i32 {
        -2..=3 => number(10f64.powf(exponent)),
        exponent => format!("1e{exponent}"),
    }
}

/// Bars side by side, each with its name.
pub(crate) struct BarChart {
    pub label: String,
    pub bars: Vec<(String, f64)>,
    /// What the bars are compared with, and its name.
    pub mark: Option<(f64, String)>,
    /// What a value is called, such as `samples`.
    pub unit: String,
}

const ROW: f64 = 16.0;
const NAMES: f64 = 104.0;

impl BarChart {
    /// Lying bars: names stay readable.
    pub fn svg(&self) -> String {
        let values = || self.bars.iter().map(|bar| bar.1).chain(self.mark.iter().map(|mark| mark.0));
        let highest = values().filter(|v| v.is_finite()).fold(0.0, f64::max);
        let room = WIDTH - NAMES - 56.0;
        let width = |value: f64| if highest > 0.0 { (value / highest).max(0.0) * room } else { 0.0 };
        let mark = f64::from(u8::from(self.mark.is_some())) * LINE;
        let mut canvas = Canvas::new(8.0 + ROW * self.bars.len() as f64 + mark, &self.label);
        for (i, (name, value)) in self.bars.iter().enumerate() {
            let y = 4.0 + ROW * i as f64;
            canvas.text(NAMES - 6.0, y + 11.0, &fitted(name, NAMES - 10.0), Anchor::End, "small");
            let tooltip = format!("{name}: {} {}", number(*value), self.unit);
            canvas.rect([NAMES, y + 2.0, width(*value).max(0.5), ROW - 5.0], "bar", &tooltip);
            canvas.text(NAMES + width(*value) + 4.0, y + 11.0, &number(*value), Anchor::Start, "faint small");
        }
        if let Some((value, name)) = &self.mark {
            let (x, bottom) = (NAMES + width(*value), 4.0 + ROW * self.bars.len() as f64);
            canvas.line((x, 2.0), (x, bottom), "mark");
            let anchor = if x > WIDTH / 2.0 { Anchor::End } else { Anchor::Start };
            canvas.text(x, bottom + 11.0, name, anchor, "faint small");
        }
        canvas.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_from_edge_to_edge() {
        let chart = LineChart {
            label: "loss".into(),
            curves: vec![Curve::new("a", vec![(0.0, 1.0), (10.0, 3.0)]), Curve::new("b", vec![(5.0, f64::NAN)])],
            ..LineChart::default()
        };
        let svg = chart.svg();
        assert!(svg.contains("points=\"46.0,") && svg.contains(" 352.0,"), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn empty_and_constant_charts_are_drawn() {
        let empty = LineChart { label: "x".into(), ..LineChart::default() };
        assert!(empty.svg().contains("nothing recorded"));
        let flat = LineChart { curves: vec![Curve::new("a", vec![(1.0, 0.0), (2.0, 0.0)])], ..LineChart::default() };
        assert!(!flat.svg().contains("NaN") && !flat.svg().contains("inf"), "{}", flat.svg());
        let log = LineChart {
            log: true,
            curves: vec![Curve::new("a", vec![(1.0, 1e-6), (2.0, 0.0), (3.0, 1e3)])],
            ..LineChart::default()
        };
        assert!(log.svg().contains("1e-6") || log.svg().contains("1e-4"), "{}", log.svg());
    }
}
