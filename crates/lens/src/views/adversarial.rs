//! What a generator makes: how much of the data it covers, and whether it copies.

use candle_core::Tensor;
use glassbox_core::{Error, Result, Rng, TensorExt};

use crate::report::{Curve, Figure, Gallery, LineChart, Palette, Picture, Section};
use crate::rules::number;

/// Rows of numbers: one sample each.
type Rows = Vec<Vec<f64>>;

fn rows(samples: &Tensor) -> Result<Rows> {
    let width = samples.elem_count() / samples.dim(0)?.max(1);
    Ok(samples.to_f64_vec()?.chunks(width.max(1)).map(<[f64]>::to_vec).collect())
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>()
}

/// For each of `samples`, the index of the nearest of `others` and the Euclidean distance to it: a generator that learned by
/// heart makes samples at distance 0 from the training data.
///
/// # Shapes
/// (count, …), with as many values in each sample.
///
/// # Errors
/// No `others`, or samples of another size.
pub fn nearest_neighbours(samples: &Tensor, others: &Tensor) -> Result<Vec<(usize, f64)>> {
    let (samples, others) = (rows(samples)?, rows(others)?);
    let size = others.first().map(Vec::len);
    if size.is_none() || samples.iter().any(|sample| Some(sample.len()) != size) {
        return Err(Error::invalid("nearest neighbours", "samples of the same size, at least one of each", "others"));
    }
    Ok(samples.iter().map(|sample| nearest(sample, &others)).collect())
}

fn nearest(sample: &[f64], others: &[Vec<f64>]) -> (usize, f64) {
    let distances = others.iter().map(|other| distance(sample, other)).enumerate();
    let (index, square) = distances.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f64::NAN));
    (index, square.sqrt())
}

/// How the samples of a generator fall into bins of the real ones.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeCoverage {
    /// Share of the real samples in each bin.
    pub real: Vec<f64>,
    /// Share of the generated samples in each bin.
    pub generated: Vec<f64>,
    /// Bins whose two shares differ by more than chance: a two-proportion z-test at α = 0.05.
    pub different: Vec<usize>,
    /// Bins with real samples and no generated one.
    pub missing: Vec<usize>,
}

impl ModeCoverage {
    /// The number of statistically different bins over all bins (NDB / K, Richardson and Weiss 2018, arXiv 1805.12462): about
    /// 0.05 for samples of the same distribution.
    pub fn different_share(&self) -> f64 {
        self.different.len() as f64 / self.real.len().max(1) as f64
    }

    /// A figure of the shares.
    pub fn figure(&self) -> Figure {
        let curve = |name: &str, shares: &[f64]| {
            Curve::new(name, shares.iter().enumerate().map(|(bin, share)| (bin as f64, *share)).collect())
        };
        let share = number(self.different_share());
        let chart = LineChart {
            label: format!(
                "Shares of real and generated samples in {} bins; {share} of the bins differ",
                self.real.len()
            ),
            x: "bin".into(),
            y: "share of samples".into(),
            curves: vec![curve("real", &self.real), curve("generated", &self.generated)],
            points_only: true,
            ..LineChart::default()
        };
        Figure::new(Section::Learned, "Modes covered", chart.svg())
            .what(format!(
                "Real samples in clusters, and how many generated ones fall into each: {} bins differ, {} are missed.",
                self.different.len(),
                self.missing.len()
            ))
            .healthy("Points of both kinds close together; about 5 % of the bins differ by chance.")
            .formula("z = (p₁ − p₂) / (p (1 − p) (1/n₁ + 1/n₂))^½, |z| > 1.96")
            .source("Richardson and Weiss 2018")
    }
}

/// z beyond which two shares differ at α = 0.05.
const Z: f64 = 1.959_964;

/// Clusters `real` into `bins` by k-means, and compares how real and generated samples fall into them.
///
/// # Shapes
/// (count, …) both, with as many values in each sample.
///
/// # Errors
/// Fewer real samples than bins, no bins, no generated samples, other sizes.
pub fn mode_coverage(real: &Tensor, generated: &Tensor, bins: usize, rng: &mut Rng) -> Result<ModeCoverage> {
    let (real, generated) = (rows(real)?, rows(generated)?);
    if bins == 0 || real.len() < bins || generated.is_empty() {
        let got = format!("{} real and {} generated samples, {bins} bins", real.len(), generated.len());
        return Err(Error::invalid("mode coverage", "samples of both, at least a real one for each bin", got));
    }
    if generated.iter().any(|sample| sample.len() != real[0].len()) {
        return Err(Error::invalid("mode coverage", format!("samples of {} values", real[0].len()), "others"));
    }
    let centres = k_means(&real, bins, rng);
    let count = |rows: &Rows| {
        let mut counts = vec![0usize; bins];
        rows.iter().for_each(|row| counts[nearest(row, &centres).0] += 1);
        counts
    };
    Ok(compare_bins(&count(&real), &count(&generated)))
}

/// [`mode_coverage`] from counts: how many real and generated samples are in each bin, such as classes that a classifier
/// tells.
pub fn compare_bins(real: &[usize], generated: &[usize]) -> ModeCoverage {
    let total = |counts: &[usize]| counts.iter().sum::<usize>().max(1) as f64;
    let (n, m) = (total(real), total(generated));
    let differ = |(&a, &b): (&usize, &usize)| {
        let (p, q, pooled) = (a as f64 / n, b as f64 / m, (a + b) as f64 / (n + m));
        let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
        deviation > 0.0 && ((p - q) / deviation).abs() > Z
    };
    let pairs = || real.iter().zip(generated).enumerate();
    ModeCoverage {
        real: real.iter().map(|&c| c as f64 / n).collect(),
        generated: generated.iter().map(|&c| c as f64 / m).collect(),
        different: pairs().filter(|(_, pair)| differ(*pair)).map(|(bin, _)| bin).collect(),
        missing: pairs().filter(|(_, pair)| *pair.0 > 0 && *pair.1 == 0).map(|(bin, _)| bin).collect(),
    }
}

/// Rounds of k-means at most.
const ROUNDS: usize = 25;

/// Centres by Lloyd's algorithm, from seeds by k-means++ (Arthur and Vassilvitskii 2007).
fn k_means(rows: &Rows, bins: usize, rng: &mut Rng) -> Rows {
    let mut centres = vec![rows[rng.below(rows.len())].clone()];
    let mut squares: Vec<f64> = rows.iter().map(|row| distance(row, &centres[0])).collect();
    while centres.len() < bins {
        let mut rest = rng.uniform() * squares.iter().sum::<f64>();
        let chosen = squares.iter().position(|square| {
            rest -= square;
            rest <= 0.0
        });
        let centre = rows[chosen.unwrap_or(rows.len() - 1)].clone();
        squares.iter_mut().zip(rows).for_each(|(square, row)| *square = square.min(distance(row, &centre)));
        centres.push(centre);
    }
    for _ in 0..ROUNDS {
        let places: Vec<usize> = rows.iter().map(|row| nearest(row, &centres).0).collect();
        let mut next = vec![(vec![0.0; rows[0].len()], 0usize); bins];
        for (row, &place) in rows.iter().zip(&places) {
            next[place].0.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            next[place].1 += 1;
        }
        let before = centres.clone();
        for (centre, (sum, count)) in centres.iter_mut().zip(next) {
            if count > 0 {
                *centre = sum.into_iter().map(|x| x / count as f64).collect();
            }
        }
        if before == centres {
            break;
        }
    }
    centres
}

/// Pairs of samples that are closer to each other than `distance`: by the birthday paradox, where about half of the batches
/// of n samples have one, the generator's support has about n² different samples (Arora et al. 2018, arXiv 1706.08224).
///
/// # Errors
/// A type that cannot be read.
pub fn birthday_duplicates(samples: &Tensor, distance_below: f64) -> Result<Vec<(usize, usize)>> {
    let rows = rows(samples)?;
    let mut found = vec![];
    for (i, a) in rows.iter().enumerate() {
        let close = rows.iter().enumerate().skip(i + 1).filter(|(_, b)| distance(a, b) < distance_below.powi(2));
        found.extend(close.map(|(j, _)| (i, j)));
    }
    Ok(found)
}

/// A figure of pictures that a generator made; with `nearest`, each beside the nearest training picture.
///
/// # Shapes
/// (count, channels, height, width) of one or three channels.
///
/// # Errors
/// Another shape.
pub fn sample_grid(title: &str, samples: &Tensor, nearest: Option<&Tensor>) -> Result<Figure> {
    let pictures = |tensor: &Tensor| -> Result<Vec<Picture>> {
        let (_, channels, height, width) = tensor.dims4()?;
        if channels != 1 && channels != 3 {
            return Err(Error::invalid("samples", "1 or 3 channels", channels));
        }
        let picture = |row: Vec<f64>| Picture {
            caption: String::new(),
            dims: [channels, height, width],
            values: row.into_iter().map(|x| x as f32).collect(),
        };
        Ok(rows(tensor)?.into_iter().take(64).map(picture).collect())
    };
    let mut shown = pictures(samples)?;
    if let Some(nearest) = nearest {
        shown = shown.into_iter().zip(pictures(nearest)?).flat_map(|(a, b)| [a, b]).collect();
    }
    let label = format!("{} pictures that the generator made", shown.len());
    let gallery = Gallery { label, pictures: shown, columns: 8, palette: Palette::Grey, range: None, headings: vec![] };
    let what = if nearest.is_some() {
        "Generated pictures, each followed by the training picture that is nearest to it."
    } else {
        "Pictures that the generator made from random numbers."
    };
    let figure = Figure::new(Section::Learned, title, gallery.svg())
        .what(what)
        .healthy("All different, and none a copy of its neighbour. The same picture again and again: mode collapse.")
        .source("Goodfellow et al. 2014; Arora et al. 2018");
    Ok(figure)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use glassbox_core::Seed;

    use super::*;

    /// 400 points of eight well separated clusters; `modes` of them.
    fn ring(seed: u64, modes: usize) -> Tensor {
        let mut rng = Seed(seed).rng();
        let point = |rng: &mut Rng| {
            let angle = rng.below(modes) as f64 * std::f64::consts::TAU / 8.0;
            [5.0 * angle.cos() + 0.1 * rng.normal(), 5.0 * angle.sin() + 0.1 * rng.normal()]
        };
        let points: Vec<f64> = (0..400).flat_map(|_| point(&mut rng)).collect();
        Tensor::from_vec(points, (400, 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn lost_modes_are_counted() {
        let coverage = |modes| mode_coverage(&ring(1, 8), &ring(2, modes), 8, &mut Seed(3).rng()).unwrap();
        let whole = coverage(8);
        assert!(whole.missing.is_empty() && whole.different_share() <= 0.25, "{whole:?}");
        let collapsed = coverage(2);
        assert_eq!(collapsed.missing.len(), 6);
        assert_eq!(collapsed.different_share(), 1.0);
        assert!(collapsed.figure().body().contains("<svg"));
    }

    /// The z of 30 of 100 against 45 of 100, by the formula: p = 0.375, z = −0.15 / 0.068465 = −2.19.
    #[test]
    fn shares_differ_by_the_z_test() {
        assert_eq!(compare_bins(&[30, 70], &[45, 55]).different, [0, 1]);
        assert!(compare_bins(&[30, 70], &[40, 60]).different.is_empty(), "z = 1.48");
    }

    #[test]
    fn copies_are_found() {
        let data = Tensor::randn(0f32, 1.0, (20, 3, 4, 4), &Device::Cpu).unwrap();
        let copies = data.narrow(0, 5, 3).unwrap();
        let found = nearest_neighbours(&copies, &data).unwrap();
        assert_eq!(found, [(5, 0.0), (6, 0.0), (7, 0.0)]);
        let both = Tensor::cat(&[&data, &copies], 0).unwrap();
        assert_eq!(birthday_duplicates(&both, 1e-3).unwrap(), [(5, 20), (6, 21), (7, 22)]);
        assert!(nearest_neighbours(&copies, &data.narrow(0, 0, 0).unwrap()).is_err());
        let figure = sample_grid("samples", &copies, Some(&copies)).unwrap();
        assert_eq!(figure.body().matches("<image").count(), 6);
        assert!(sample_grid("x", &Tensor::zeros((1, 2, 4, 4), DType::F32, &Device::Cpu).unwrap(), None).is_err());
    }
}
