//! Values over two axes, and pictures side by side.

use super::png::{Palette, colour_picture, picture};
use super::svg::{Anchor, Canvas, LINE, WIDTH, fitted, ticks, width_of};
use crate::rules::number;

/// A matrix as colours: a row for each name, columns over an axis.
pub(crate) struct HeatMap {
    pub label: String,
    /// What a row is, with its name.
    pub rows: Vec<String>,
    /// Row-major, as many in each row.
    pub values: Vec<f32>,
    /// The axis of the columns: where the first and the last stand, and what it is called.
    pub x: (f64, f64, String),
    /// What a colour means; its range, unless it is that of the values.
    pub unit: String,
    pub range: Option<(f64, f64)>,
    pub palette: Palette,
    /// Whether the values are decimal logarithms, so that the key shows powers.
    pub log: bool,
}

const NAMES: f64 = 112.0;
const RIGHT: f64 = WIDTH - 6.0;

impl HeatMap {
    pub fn svg(&self) -> String {
        let (rows, columns) = (self.rows.len(), self.values.len().checked_div(self.rows.len()).unwrap_or(0));
        let height = (16.0 * rows as f64).clamp(16.0, 16.0f64.max(640.0));
        let row_height = height / rows.max(1) as f64;
        let mut canvas = Canvas::new(height + 66.0, &self.label);
        if rows == 0 || columns == 0 {
            canvas.text(WIDTH / 2.0, 30.0, "nothing recorded", Anchor::Middle, "faint");
            return canvas.finish();
        }
        let finite = || self.values.iter().map(|&x| f64::from(x)).filter(|x| x.is_finite());
        let found = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let (low, high) = self.range.unwrap_or(if found.0 <= found.1 { found } else { (0.0, 1.0) });
        let names = if self.rows.iter().all(String::is_empty) { 8.0 } else { NAMES };
        let uri = picture(&self.values, columns, low, high, self.palette);
        canvas.image([names, 4.0, RIGHT - names, height], &uri);
        // As many names as fit.
        let every = (11.0 / row_height).ceil().max(1.0) as usize;
        for (i, name) in self.rows.iter().enumerate().step_by(every) {
            let y = 4.0 + row_height * (i as f64 + 0.5) + 3.5;
            canvas.text(names - 5.0, y, &fitted(name, names - 10.0), Anchor::End, "small");
        }
        self.axis(&mut canvas, names, height + 4.0);
        self.key(&mut canvas, names, height + 42.0, (low, high));
        canvas.finish()
    }

    fn axis(&self, canvas: &mut Canvas, left: f64, y: f64) {
        let (first, last, name) = &self.x;
        let place = |tick: f64| left + (RIGHT - left) * (tick - first) / (last - first).max(1e-12);
        for tick in ticks(*first, *last, 3) {
            let x = place(tick);
            canvas.line((x, y), (x, y + 3.0), "axis");
            let anchor = match () {
                () if x > RIGHT - 14.0 => Anchor::End,
                () if x < left + 10.0 => Anchor::Start,
                () => Anchor::Middle,
            };
            canvas.text(x, y + 14.0, &number(tick), anchor, "faint small");
        }
        canvas.text((left + RIGHT) / 2.0, y + 27.0, name, Anchor::Middle, "faint small");
    }

    /// A bar of the colours, with the values at its ends.
    fn key(&self, canvas: &mut Canvas, left: f64, y: f64, (low, high): (f64, f64)) {
        let value = |x: f64| if self.log { number(10f64.powf(x)) } else { number(x) };
        let (from, to) = (value(low), value(high));
        let colours: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let start = left + width_of(&from) + 6.0;
        canvas.text(left, y + 9.0, &from, Anchor::Start, "faint small");
        canvas.image([start, y, 80.0, 10.0], &picture(&colours, 64, 0.0, 63.0, self.palette));
        let text = format!("{to}  {}", self.unit);
        canvas.text(start + 84.0, y + 9.0, &fitted(&text, WIDTH - start - 84.0), Anchor::Start, "faint small");
    }
}

/// A picture of one or three channels.
pub(crate) struct Picture {
    pub caption: String,
    /// (channels, height, width), of 1 or 3 channels.
    pub dims: [usize; 3],
    pub values: Vec<f32>,
}

/// Pictures side by side.
pub(crate) struct Gallery {
    pub label: String,
    pub pictures: Vec<Picture>,
    /// How many stand in a row.
    pub columns: usize,
    pub palette: Palette,
    /// The range of the colours; none gives each picture its own.
    pub range: Option<(f64, f64)>,
    /// Heading of each row, where there are some.
    pub headings: Vec<String>,
}

impl Gallery {
    pub fn svg(&self) -> String {
        let columns = self.columns.max(1);
        let size = (WIDTH - 4.0) / columns as f64;
        let caption = f64::from(u8::from(self.pictures.iter().any(|p| !p.caption.is_empty()))) * LINE;
        let heading = f64::from(u8::from(!self.headings.is_empty())) * LINE;
        let rows = self.pictures.len().div_ceil(columns);
        let mut canvas = Canvas::new((size + caption + heading) * rows as f64 + 6.0, &self.label);
        for (i, picture) in self.pictures.iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let (x, y) = (2.0 + size * column as f64, 2.0 + (size + caption + heading) * row as f64 + heading);
            if let Some(text) = self.headings.get(row).filter(|_| column == 0) {
                canvas.text(2.0, y - 4.0, &fitted(text, WIDTH), Anchor::Start, "small");
            }
            // The longer side fills the square.
            let [_, height, width] = picture.dims;
            let longer = height.max(width).max(1) as f64;
            let (w, h) = ((size - 4.0) * width as f64 / longer, (size - 4.0) * height as f64 / longer);
            canvas.image([x + (size - 4.0 - w) / 2.0, y, w, h], &self.uri(picture));
            let caption = fitted(&picture.caption, size - 2.0);
            canvas.text(x + size / 2.0, y + size + 8.0, &caption, Anchor::Middle, "small");
        }
        canvas.finish()
    }

    fn uri(&self, shown: &Picture) -> String {
        let finite = || shown.values.iter().copied().filter(|x| x.is_finite());
        let own = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        let (low, high) = self.range.unwrap_or((own.0.into(), own.1.into()));
        let [channels, _, width] = shown.dims;
        match channels {
            3 => colour_picture(&shown.values, width, low as f32, high as f32),
            _ => picture(&shown.values, width, low, high, self.palette),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_without_values_and_with_nan_are_drawn() {
        let map = |rows: Vec<String>, values| HeatMap {
            label: "m".into(),
            rows,
            values,
            x: (1.0, 2.0, "step".into()),
            unit: "norm".into(),
            range: None,
            palette: Palette::Viridis,
            log: true,
        };
        assert!(map(vec![], vec![]).svg().contains("nothing recorded"));
        let svg = map(vec!["a".into()], vec![f32::NAN, 1.0]).svg();
        assert!(svg.contains("data:image/png") && !svg.contains("NaN"), "{svg}");
        assert!(!map(vec!["a".into()], vec![f32::NAN]).svg().contains("NaN"));
    }

    #[test]
    fn a_gallery_has_a_picture_for_each() {
        let pictures = (0..5).map(|i| Picture { caption: format!("<{i}>"), dims: [1, 2, 2], values: vec![0.0; 4] });
        let pictures = pictures.collect();
        let gallery = Gallery {
            label: "g".into(),
            pictures,
            columns: 3,
            palette: Palette::Grey,
            range: None,
            headings: vec!["one".into(), "two".into()],
        };
        let svg = gallery.svg();
        assert_eq!(svg.matches("<image").count(), 5);
        assert!(svg.contains("&lt;4&gt;") && svg.contains(">two<"), "{svg}");
    }
}
