//! What is in a file of weights, whoever wrote it.

use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Error, Result};

use crate::record::stats::{Histogram, Moments, share, with_values};
use crate::report::{Figure, Gallery, HeatMap, Palette, Picture, Section, grouped, table};
use crate::rules::number;

/// A safetensors file.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The file's name.
    pub name: String,
    /// Its tensors, by name.
    pub tensors: Vec<TensorInfo>,
    pictures: Vec<Figure>,
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type.
    pub dtype: DType,
    /// Its moments and range.
    pub moments: Moments,
    /// The share of elements that are exactly 0.
    pub zeros: f64,
    /// How its values are distributed.
    pub histogram: Histogram,
}

/// Pictures of weights at most.
const PICTURES: usize = 12;

/// Reads the safetensors file at `path`.
///
/// ```
/// use candle_core::Device;
/// use glassbox_core::{Linear, ParamStore, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// Linear::new(3, 2, params.root().pp("fc"))?;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("model.safetensors");
/// params.save(&path)?;
/// let inspected = glassbox_lens::inspect::file(&path)?;
/// println!("{inspected}");
/// assert_eq!(inspected.tensors[1].shape, [2, 3]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
///
/// # Errors
/// The file cannot be read, or is no whole safetensors file.
pub fn file(path: &Path) -> Result<Inspected> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let broken = |e: candle_core::Error| Error::format(path.display(), format!("not a whole safetensors file: {e}"));
    let mut all: Vec<(String, Tensor)> =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(broken)?.into_iter().collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let tensors = all.iter().map(|(name, tensor)| info(name, tensor)).collect::<Result<Vec<_>>>()?;
    let pictures = all.iter().filter_map(|(name, tensor)| picture(name, tensor).transpose()).take(PICTURES);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Inspected { name, tensors, pictures: pictures.collect::<Result<_>>()? })
}

fn info(name: &str, tensor: &Tensor) -> Result<TensorInfo> {
    let read = |values: &[f32]| {
        let moments = Moments::of(values);
        (moments, share(values, |x| x == 0.0), Histogram::of(values, &moments))
    };
    let (moments, zeros, histogram) = with_values(tensor, read)?;
    let (name, shape, dtype) = (name.to_string(), tensor.dims().to_vec(), tensor.dtype());
    Ok(TensorInfo { name, shape, dtype, moments, zeros, histogram })
}

/// Rows and columns of a matrix that are shown at most.
const SIDE: usize = 96;

fn picture(name: &str, tensor: &Tensor) -> Result<Option<Figure>> {
    match *tensor.dims() {
        [out, input, height, width] if height > 1 && width > 1 => filters(name, tensor, [out, input, height, width]),
        [rows, columns] if rows > 1 && columns > 1 => matrix(name, tensor, rows, columns).map(Some),
        _ => Ok(None),
    }
}

fn filters(name: &str, tensor: &Tensor, [_, input, height, width]: [usize; 4]) -> Result<Option<Figure>> {
    let values = with_values(tensor, <[f32]>::to_vec)?;
    let size = height * width;
    let channels = if input == 3 { 3 } else { 1 };
    let filter = |filter: &[f32]| Picture {
        caption: String::new(),
        dims: [channels, height, width],
        values: filter[..channels * size].to_vec(),
    };
    let pictures: Vec<Picture> = values.chunks(input * size).take(32).map(filter).collect();
    let bound: f64 = values.iter().fold(0f32, |bound, x| bound.max(x.abs())).into();
    let label = format!("{} filters of {name}", pictures.len());
    let range = Some((-bound, bound));
    let gallery = Gallery { label, pictures, columns: 8, palette: Palette::Diverging, range, headings: vec![] };
    let figure = Figure::new(Section::Learned, name, gallery.svg())
        .what("The first filters, over all three colours or the first input channel; red is positive, blue negative.");
    Ok(Some(figure))
}

fn matrix(name: &str, tensor: &Tensor, rows: usize, columns: usize) -> Result<Figure> {
    let (shown, across) = (rows.min(SIDE), columns.min(SIDE));
    let corner = tensor.narrow(0, 0, shown)?.narrow(1, 0, across)?;
    let values = with_values(&corner, <[f32]>::to_vec)?;
    let bound: f64 = values.iter().filter(|x| x.is_finite()).fold(0f32, |bound, x| bound.max(x.abs())).into();
    let map = HeatMap {
        label: format!("The first {shown} rows and {across} columns of {name}"),
        rows: vec![String::new(); shown],
        values,
        x: (0.0, across as f64, "column".into()),
        unit: "value".into(),
        range: Some((-bound, bound)),
        palette: Palette::Diverging,
        log: false,
    };
    let what =
        format!("The first {shown} of {rows} rows and {across} of {columns} columns; red is positive, blue negative.");
    let figure = Figure::new(Section::Learned, name, map.svg()).what(what);
    Ok(figure.healthy(
        "No row or column of a single colour, unless sparsity is meant; structure where something was learned.",
    ))
}

impl Inspected {
    /// Number of elements of all tensors.
    pub fn num_elements(&self) -> usize {
        self.tensors.iter().map(|t| t.shape.iter().product::<usize>()).sum()
    }

    /// Figures for a [`Report`](crate::Report).
    pub fn figures(&self) -> Vec<Figure> {
        let head =
            ["Tensor", "Shape", "Type", "Mean", "Deviation", "Smallest", "Largest", "Norm", "Zeros", "Not finite"];
        let rows: Vec<Vec<String>> = self.tensors.iter().map(TensorInfo::row).collect();
        let table = Figure::new(Section::Data, "Tensors", table("Tensors of the file", &head, &rows))
            .what(format!("{} tensors with {} elements.", self.tensors.len(), grouped(self.num_elements())))
            .healthy("No element that is not finite, and no tensor of zeros but biases.")
            .wide();
        std::iter::once(table).chain(self.pictures.iter().cloned()).collect()
    }
}

impl TensorInfo {
    fn row(&self) -> Vec<String> {
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let m = &self.moments;
        let mut row = vec![self.name.clone(), shape.join(" × "), self.dtype.as_str().to_string()];
        row.extend([m.mean(), m.std(), m.min, m.max, m.norm(), self.zeros].map(number));
        row.push(m.non_finite.to_string());
        row
    }
}

impl fmt::Display for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["tensor", "shape", "type", "mean", "std", "min", "max", "norm", "zeros", "non-finite"];
        let mut rows = vec![head.map(String::from).to_vec()];
        rows.extend(self.tensors.iter().map(TensorInfo::row));
        let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(c, (cell, &width))| match c {
                0..3 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        write!(f, "{} tensors, {} elements", self.tensors.len(), grouped(self.num_elements()))
    }
}
