//! Figures of one's own, and figures outside a report.

use super::{Curve, Figure, Gallery, HeatMap, LineChart, Palette, Picture, Section};

const STYLE: &str = include_str!("style.css");

impl Figure {
    /// Curves over a common axis, each a name with its points: a figure of one's own for
    /// [`Lens::figure`](crate::Lens::figure), or for a document.
    ///
    /// ```
    /// use glassbox_lens::{Figure, Section};
    /// let parabola = (0..=20).map(|i| f64::from(i) / 10.0 - 1.0).map(|x| (x, x * x)).collect();
    /// let figure = Figure::curves(Section::Run, "A parabola", ("x", "y"), vec![("x²".into(), parabola)]);
    /// assert!(figure.body().contains("<svg") && figure.svg().unwrap().starts_with("<svg xmlns"));
    /// ```
    pub fn curves(section: Section, title: &str, (x, y): (&str, &str), curves: Vec<(String, Vec<(f64, f64)>)>) -> Self {
        Self::chart(section, title, (x, y), curves, false)
    }

    /// [`curves`](Self::curves) over a logarithmic vertical axis; values that are not above 0 are left out.
    pub fn log_curves(
        section: Section,
        title: &str,
        (x, y): (&str, &str),
        curves: Vec<(String, Vec<(f64, f64)>)>,
    ) -> Self {
        Self::chart(section, title, (x, y), curves, true)
    }

    fn chart(
        section: Section,
        title: &str,
        (x, y): (&str, &str),
        curves: Vec<(String, Vec<(f64, f64)>)>,
        log: bool,
    ) -> Self {
        let names: Vec<&str> = curves.iter().map(|(name, _)| name.as_str()).collect();
        let label = format!("{title}: {} against {x}, of {}", y, names.join(", "));
        let curves = curves.into_iter().map(|(name, points)| Curve::new(name, points)).collect();
        let chart = LineChart { label, x: x.into(), y: y.into(), curves, log, ..LineChart::default() };
        Self::new(section, title, chart.svg())
    }

    /// A matrix as colours: a name for each row, `values` row-major, columns from `first` to `last` of an axis.
    pub fn matrix(
        section: Section,
        title: &str,
        rows: Vec<String>,
        values: Vec<f32>,
        (first, last, axis): (f64, f64, &str),
        unit: &str,
    ) -> Self {
        let label = format!("{title}: {unit} in {} rows over {axis}", rows.len());
        let (x, unit) = ((first, last, axis.into()), unit.into());
        let map = HeatMap { label, rows, values, x, unit, range: None, palette: Palette::Viridis, log: false };
        Self::new(section, title, map.svg())
    }

    /// Pictures of (height, width) side by side, `columns` in a row, each with a caption; black is the lowest value of each.
    pub fn pictures(
        section: Section,
        title: &str,
        (height, width): (usize, usize),
        pictures: Vec<(String, Vec<f32>)>,
        columns: usize,
    ) -> Self {
        let label = format!("{title}: {} pictures", pictures.len());
        let picture = |(caption, values)| Picture { caption, dims: [1, height, width], values };
        let pictures = pictures.into_iter().map(picture).collect();
        let gallery = Gallery { label, pictures, columns, palette: Palette::Grey, range: None, headings: vec![] };
        Self::new(section, title, gallery.svg())
    }

    /// The drawing as a file of its own, light or dark as its reader prefers; none where the figure is a table.
    pub fn svg(&self) -> Option<String> {
        let body = self.body().strip_prefix("<svg")?;
        // The variables of the page, and what is said of drawings.
        let variables = STYLE.split("* { box-sizing").next().unwrap_or_default();
        let drawings: Vec<&str> = STYLE.lines().filter(|line| line.starts_with("svg ")).collect();
        let (open, rest) = body.split_once('>')?;
        Some(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\"{open}><style>\n{variables}svg {{ background: var(--card) }}\n{}\n\
             </style>{rest}\n",
            drawings.join("\n")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_ones_own_are_drawn() {
        let lines = vec![("a".to_string(), vec![(0.0, 1.0), (1.0, 2.0)]), ("<b>".to_string(), vec![(0.0, 3.0)])];
        let figure = Figure::curves(Section::Run, "T & U", ("x", "y"), lines);
        let svg = figure.svg().unwrap();
        assert!(svg.contains("T &amp; U: y against x, of a, &lt;b&gt;") && svg.contains("--s0:"), "{svg}");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        let matrix = Figure::matrix(Section::Data, "m", vec!["r".into()], vec![0.0, 1.0], (0.0, 1.0, "c"), "u");
        assert!(matrix.svg().unwrap().contains("data:image/png"));
        let pictures = Figure::pictures(Section::Data, "p", (1, 2), vec![("one".into(), vec![0.0, 1.0])], 4);
        assert!(pictures.body().contains(">one<"));
    }

    #[test]
    fn a_table_is_no_drawing() {
        assert_eq!(Figure::new(Section::Data, "t", super::super::table("t", &["a"], &[])).svg(), None);
    }
}
