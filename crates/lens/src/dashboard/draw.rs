//! One frame: where the run stands, its loss, its scores, its layers, what was found.

use glassbox_core::train::Run;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Cell, Chart, Dataset, Gauge, GraphType, Paragraph, Row, Table, Widget, Wrap};

use crate::record::stats::Histogram;
use crate::record::{LayerInfo, LayerVitals, Record, Vitals};
use crate::report::grouped;
use crate::rules::{number, percent};

/// Where the run stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Status {
    pub name: String,
    pub step: u64,
    pub total_steps: Option<u64>,
    pub epoch: u64,
    pub total_epochs: Option<u64>,
    pub seconds: f64,
}

impl Status {
    pub fn of(run: &Run) -> Self {
        let progress = &run.progress;
        Self {
            name: run.dir.path().display().to_string(),
            step: progress.step,
            total_steps: progress.total_steps,
            epoch: progress.epoch,
            total_epochs: run.total_epochs,
            seconds: run.seconds,
        }
    }

    fn share(&self) -> f64 {
        let total = self.total_steps.filter(|&total| total > 0);
        total.map_or(0.0, |total| (self.step as f64 / total as f64).clamp(0.0, 1.0))
    }

    fn text(&self) -> String {
        let of = |total: Option<u64>| total.map(|total| format!(" of {}", grouped(total as usize))).unwrap_or_default();
        let share = self.share();
        let left = (share > 0.0).then(|| format!(" · {} left", duration(self.seconds / share * (1.0 - share))));
        format!(
            "step {}{} · epoch {}{} · {}{}",
            grouped(self.step as usize),
            of(self.total_steps),
            self.epoch,
            of(self.total_epochs),
            duration(self.seconds),
            left.unwrap_or_default()
        )
    }
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// The frame for a terminal of the size of `area`.
pub(super) fn frame(status: &Status, record: &Record, area: Rect) -> Buffer {
    let mut buffer = Buffer::empty(area);
    let findings = if record.findings.is_empty() { 3 } else { 7 };
    let [top, middle, layers, bottom] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Percentage(45),
        Constraint::Min(4),
        Constraint::Length(findings),
    ])
    .areas(area);
    let [curves, scores] = Layout::horizontal([Constraint::Min(20), Constraint::Length(34)]).areas(middle);
    Gauge::default()
        .block(Block::bordered().title(format!(" {} ", status.name)))
        .gauge_style(Style::new().fg(Color::Blue))
        .ratio(status.share())
        .label(status.text())
        .render(top, &mut buffer);
    loss(record, curves, &mut buffer);
    score_list(record).render(scores, &mut buffer);
    layer_table(record).render(layers, &mut buffer);
    finding_list(record).render(bottom, &mut buffer);
    buffer
}

/// Points of a curve that are painted at most.
const POINTS: usize = 400;

fn loss(record: &Record, area: Rect, buffer: &mut Buffer) {
    let metrics = &record.metrics;
    let every = metrics.losses.points().len().div_ceil(POINTS).max(1);
    let training: Vec<(f64, f64)> = metrics.losses.points().chunks(every).map(mean).collect();
    let validation: Vec<(f64, f64)> =
        metrics.validations.iter().filter_map(|v| Some((v.step as f64, v.loss()?))).collect();
    let all = || training.iter().chain(&validation);
    let (low, high) = bounds(all().map(|p| p.1));
    let (first, last) = bounds(all().map(|p| p.0));
    let curve = |name: &'static str, colour: Color, points| {
        let dataset = Dataset::default().name(name).marker(Marker::Braille).graph_type(GraphType::Line);
        dataset.style(Style::new().fg(colour)).data(points)
    };
    let axis = |low: f64, high: f64| {
        let axis = Axis::default().style(Style::new().fg(Color::DarkGray)).bounds([low, high]);
        axis.labels([low, (low + high) / 2.0, high].map(number))
    };
    Chart::new(vec![curve("training", Color::Blue, &training), curve("validation", Color::Yellow, &validation)])
        .block(Block::bordered().title(" loss "))
        .x_axis(axis(first, last))
        .y_axis(axis(low, high))
        .render(area, buffer);
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count)
}

/// From the smallest to the largest; never empty.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let widen = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let (low, high) = values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), widen);
    match () {
        () if low < high => (low, high),
        () if low == high => (low - 0.5, high + 0.5),
        () => (0.0, 1.0),
    }
}

fn score_list(record: &Record) -> Paragraph<'static> {
    let metrics = &record.metrics;
    let mut lines = vec![];
    let mut add = |name: &str, value: f64| {
        lines.push(Line::from(vec![
            Span::raw(format!("{:<20}", name.replace('_', " "))),
            Span::styled(number(value), Style::new().add_modifier(Modifier::BOLD)),
        ]));
    };
    if let Some(loss) = metrics.losses.last() {
        add("training loss", loss);
    }
    if let Some(last) = metrics.validations.last() {
        last.scores.iter().for_each(|(name, value)| add(name, *value));
    }
    for (name, series) in &metrics.values {
        series.last().into_iter().for_each(|value| add(name, value));
    }
    Paragraph::new(lines).block(Block::bordered().title(" scores "))
}

fn layer_table(record: &Record) -> Table<'static> {
    let columns = ["layer", "type", "‖g‖", "update", "deviation", "dead", "outputs"];
    let header = Row::new(columns).style(Style::new().add_modifier(Modifier::BOLD));
    let rows: Vec<Row<'static>> = record
        .vitals
        .last()
        .map_or_else(Vec::new, |vitals| record.network.layers.iter().map(|layer| layer_row(layer, vitals)).collect());
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(24),
    ];
    let step = record.vitals.last().map(|vitals| format!(" layers at step {} ", grouped(vitals.step as usize)));
    let title = step.unwrap_or_else(|| " layers ".into());
    Table::new(rows, widths).header(header).block(Block::bordered().title(title))
}

fn layer_row(layer: &LayerInfo, vitals: &Vitals) -> Row<'static> {
    let own = vitals.layers.iter().find(|own| own.path == layer.path);
    // A layer's largest parameter speaks for it; in a run of several networks names begin with the role.
    let of_layer = |name: &str| {
        let plain = name.rsplit_once('/').map_or(name, |(_, plain)| plain);
        plain.strip_prefix(layer.path.as_str()).is_some_and(|rest| rest.starts_with('.'))
    };
    let weight =
        vitals.params.iter().filter(|p| of_layer(&p.name)).max_by(|a, b| a.weight_norm.total_cmp(&b.weight_norm));
    let shown = |value: Option<f64>| Cell::new(value.map(number).unwrap_or_default());
    let dead = own.and_then(|own: &LayerVitals| own.dead.or(own.saturated));
    let alarm = if dead.is_some_and(|share| share > 0.5) { Style::new().fg(Color::Red) } else { Style::new() };
    Row::new([
        Cell::new(layer.path.clone()),
        Cell::new(layer.kind.clone()),
        shown(weight.map(|p| p.gradient_norm)),
        shown(weight.and_then(|p| p.update_ratio)),
        shown(own.map(|own| own.std)),
        Cell::new(dead.map(percent).unwrap_or_default()).style(alarm),
        Cell::new(own.map(|own| bars(&own.histogram)).unwrap_or_default()),
    ])
}

/// The histogram as a line of bars.
fn bars(histogram: &Histogram) -> String {
    let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
    let heights = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    // The root, so that tails are seen.
    let height = |&count: &u16| (f64::from(count) / f64::from(most)).sqrt() * (heights.len() - 1) as f64;
    histogram.counts.iter().map(|count| heights[height(count).ceil() as usize]).collect()
}

fn finding_list(record: &Record) -> Paragraph<'static> {
    let newest = record.findings.iter().rev();
    let mut lines: Vec<Line<'static>> =
        newest.map(|finding| Line::styled(format!("! {finding}"), Style::new().fg(Color::Yellow))).collect();
    if lines.is_empty() {
        lines.push(Line::raw("nothing to object to so far"));
    }
    let title = format!(" findings: {} ", record.findings.len());
    Paragraph::new(lines).wrap(Wrap { trim: true }).block(Block::bordered().title(title))
}

#[cfg(test)]
mod tests {
    use glassbox_core::train::StepReport;

    use super::*;
    use crate::record::{Network, ParamVitals};
    use crate::rules::Finding;

    fn record() -> Record {
        let mut record = Record::default();
        let layer = |path: &str| LayerInfo { path: path.into(), kind: "Relu".into(), shape: vec![2, 3] };
        record.network = Network { layers: vec![layer("fc1"), layer("fc2")], ..Network::default() };
        let histogram = Histogram { low: 0.0, high: 1.0, counts: vec![500, 0, 250, 250] };
        let own = LayerVitals { path: "fc1".into(), dead: Some(0.75), std: 1.5, histogram, ..LayerVitals::default() };
        let weight = ParamVitals { name: "fc1.weight".into(), gradient_norm: 0.25, ..ParamVitals::default() };
        record.vitals.push(Vitals { step: 50, layers: vec![own], params: vec![weight], ..Vitals::default() });
        for step in 1..=1000 {
            let report =
                StepReport { loss: 1.0 / step as f64, samples: 1, values: vec![("learning_rate".into(), 0.1)] };
            record.metrics.push_step(step, &report);
        }
        record.findings.push(Finding::new("dead_relu", 50, "half of it is dead", 0.75));
        record
    }

    fn text(buffer: &Buffer) -> String {
        buffer.content.iter().map(|cell| cell.symbol()).collect()
    }

    #[test]
    fn a_frame_shows_the_run() {
        let status =
            Status { name: "runs/x".into(), step: 1000, total_steps: Some(4000), seconds: 30.0, ..Status::default() };
        let shown = text(&frame(&status, &record(), Rect::new(0, 0, 120, 40)));
        for part in ["runs/x", "step 1,000 of 4,000", "1:30 left", "learning rate", "fc1", "75 %", "0.25", "half of it"]
        {
            assert!(shown.contains(part), "`{part}` in {shown}");
        }
    }

    #[test]
    fn a_frame_fits_every_terminal() {
        let empty = Record::default();
        for (width, height) in [(0, 0), (1, 1), (3, 200), (200, 2), (20, 6), (80, 24), (400, 100)] {
            let area = Rect::new(0, 0, width, height);
            for record in [&record(), &empty] {
                assert_eq!(frame(&Status::default(), record, area).area, area);
            }
        }
    }

    #[test]
    fn histograms_are_bars() {
        assert_eq!(bars(&Histogram { low: 0.0, high: 1.0, counts: vec![0, 1000, 10, 250] }), " █▁▄");
        assert_eq!(bars(&Histogram::default()), "");
    }
}
