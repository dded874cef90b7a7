//! Real data sets that come with the crate. Sources and licences: `embedded/README.md`.

use glassbox_core::{Error, Result};

use crate::{Column, ImageDataset, Table, Target};

const NUM_DIGITS: usize = 1797;
const NUM_PATIENTS: usize = 569;

/// Bits of a byte array, lowest first; the format is described in `tools/embed_data.py`.
struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Bits<'_> {
    fn take(&mut self, width: u8) -> Result<u32> {
        let mut value = 0;
        for i in 0..width {
            let byte = self.bytes.get(self.position / 8).ok_or_else(|| Error::format("embedded data", "ends early"))?;
            value |= u32::from(byte >> (self.position % 8) & 1) << i;
            self.position += 1;
        }
        Ok(value)
    }
}

/// Handwritten digits: 1,797 images, (1, 8, 8) with values in [0, 1], ten classes, 174 to 183 images of each.
///
/// In the order of scikit-learn's `load_digits`, whose values 0 to 16 are divided by 16.
/// Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits" (1998), UCI Machine Learning Repository,
/// doi:10.24432/C50P49, CC BY 4.0; this is its test part, written by 13 people who are not in its training part.
///
/// # Errors
/// Never, unless the crate was built from damaged sources.
///
/// ```
/// let digits = glassbox_data::digits()?;
/// assert_eq!((digits.labels().len(), digits.shape()), (1797, (1, 8, 8)));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn digits() -> Result<ImageDataset> {
    let mut bits = Bits { bytes: include_bytes!("embedded/digits.bin"), position: 0 };
    let (mut pixels, mut labels) = (Vec::with_capacity(NUM_DIGITS * 64), Vec::with_capacity(NUM_DIGITS));
    for _ in 0..NUM_DIGITS {
        labels.push(bits.take(4)?);
        for _ in 0..64 {
            pixels.push(if bits.take(1)? == 0 { 0 } else { bits.take(4)? as u8 + 1 });
        }
    }
    ImageDataset::new(pixels, (1, 8, 8), labels, (0..10).map(|d| d.to_string()).collect())?.with_white(16)
}

/// The Wisconsin diagnostic breast-cancer table: 569 patients, 30 measures of cell nuclei (not standardised), classes
/// `malignant` (212) and `benign` (357).
///
/// In the order and with the names of scikit-learn's `load_breast_cancer`, values exact to the last bit.
/// Source: W. Wolberg, O. Mangasarian, N. Street, W. Street, "Breast Cancer Wisconsin (Diagnostic)" (1995), UCI Machine
/// Learning Repository, doi:10.24432/C5DW2B, CC BY 4.0.
///
/// # Errors
/// Never, unless the crate was built from damaged sources.
///
/// ```
/// let table = glassbox_data::breast_cancer()?;
/// assert_eq!((table.num_rows(), table.num_features()), (569, 30));
/// assert_eq!(table.class_names(), ["malignant", "benign"]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn breast_cancer() -> Result<Table> {
    let mut bits = Bits { bytes: include_bytes!("embedded/breast_cancer.bin"), position: 0 };
    let columns = feature_names();
    let mut formats = Vec::with_capacity(columns.len());
    for _ in &columns {
        formats.push((10f64.powi(bits.take(8)? as i32), bits.take(8)? as u8));
    }
    let (mut values, mut labels) = (Vec::with_capacity(NUM_PATIENTS * 30), Vec::with_capacity(NUM_PATIENTS));
    for _ in 0..NUM_PATIENTS {
        labels.push(bits.take(1)?);
        for &(scale, width) in &formats {
            // Both sides are exact, so that the quotient is the double nearest to the decimal number.
            values.push(f64::from(bits.take(width)?) / scale);
        }
    }
    let class_names = vec!["malignant".to_string(), "benign".to_string()];
    let columns = columns.into_iter().map(Column::numeric).collect();
    Table::new(columns, values, "diagnosis", Target::Classes { labels, names: class_names })
}

/// Monthly means of carbon dioxide in the air at Mauna Loa, Hawaii, in parts per million of dry air: May 1974 to December
/// 2025, 620 steps of one channel, `co2`.
///
/// Source: X. Lan, P. Tans, K. W. Thoning, NOAA Global Monitoring Laboratory, gml.noaa.gov/ccgg/trends: a work of the
/// government of the United States, in the public domain; unchanged. It starts with NOAA's own measurements (earlier ones
/// are Scripps's). NOAA interpolated December 1975 and April 1984; from December 2022 to July 2023 it measured at Maunakea.
///
/// # Errors
/// Never, unless the crate was built from damaged sources.
///
/// ```
/// let series = glassbox_data::series::mauna_loa_co2()?;
/// assert_eq!((series.num_steps(), series.values()[0]), (620, 333.19));
/// assert_eq!(series.time(619).as_deref(), Some("2025-12"));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[cfg(feature = "csv")]
pub fn mauna_loa_co2() -> Result<crate::series::TimeSeries> {
    let bytes = include_bytes!("embedded/mauna_loa_co2.bin");
    // Both sides are exact, so that the quotient is the double nearest to the decimal number.
    let values = bytes.chunks_exact(2).map(|b| f64::from(u16::from_le_bytes([b[0], b[1]])) / 100.0).collect();
    crate::series::TimeSeries::new("1974-05", crate::series::Interval::Months(1), vec!["co2".to_string()], values)
}

/// Ten measures, each as mean, standard error and mean of the three worst nuclei.
fn feature_names() -> Vec<String> {
    let measures = [
        "radius",
        "texture",
        "perimeter",
        "area",
        "smoothness",
        "compactness",
        "concavity",
        "concave points",
        "symmetry",
        "fractal dimension",
    ];
    let means = measures.iter().map(|m| format!("mean {m}"));
    let errors = measures.iter().map(|m| format!("{m} error"));
    means.chain(errors).chain(measures.iter().map(|m| format!("worst {m}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values: printed by tools/embed_data.py under scikit-learn 1.9.1.

    #[test]
    fn digits_are_scikit_learns() {
        let digits = digits().unwrap();
        let pixels: Vec<u64> = (0..NUM_DIGITS).flat_map(|i| digits.pixels(i).unwrap()).map(|&p| u64::from(p)).collect();
        assert_eq!((digits.labels().len(), pixels.len()), (1797, 1797 * 64));
        assert_eq!(pixels.iter().sum::<u64>(), 561_718);
        assert_eq!(pixels.iter().zip(1..).map(|(p, i)| i * (p + 1)).sum::<u64>(), 38_845_622_915);
        assert_eq!(digits.labels().iter().zip(1..).map(|(&l, i)| i * u64::from(l)).sum::<u64>(), 7_272_861);
        let first_rows = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0];
        assert_eq!((digits.labels()[0], &digits.pixels(0).unwrap()[..16]), (0, &first_rows[..]));
        let last_rows = [0, 8, 16, 10, 8, 16, 8, 0, 0, 1, 8, 12, 14, 12, 1, 0];
        assert_eq!((digits.labels()[1796], &digits.pixels(1796).unwrap()[48..]), (8, &last_rows[..]));
        assert_eq!(digits.pixels(1797), None);
    }

    #[test]
    fn breast_cancer_is_scikit_learns() {
        let table = breast_cancer().unwrap();
        let values: Vec<f64> = (0..569).flat_map(|i| table.row(i).unwrap()).copied().collect();
        // Depends on every bit of every value and on their order.
        let fingerprint = values.iter().zip(0..).fold(0, |sum, (v, i)| sum ^ v.to_bits().rotate_left(i % 64));
        assert_eq!((values.len(), fingerprint), (569 * 30, 0x97d8_b4ff_394e_8906));
        let Target::Classes { labels, .. } = table.target() else { panic!("classes") };
        assert_eq!((labels.iter().sum::<u32>(), labels[0], labels[568]), (357, 0, 1));
        let first = [17.99, 10.38, 122.8, 1001.0, 0.1184, 0.2776, 0.3001, 0.1471, 0.2419, 0.07871];
        assert_eq!(table.row(0).unwrap()[..10], first);
        let last = [9.456, 30.37, 59.16, 268.6, 0.08996, 0.06444, 0.0, 0.0, 0.2871, 0.07039];
        assert_eq!(table.row(568).unwrap()[20..], last);
        let names: Vec<&str> = [0, 7, 10, 29].map(|i| table.columns()[i].name()).to_vec();
        assert_eq!(names, ["mean radius", "mean concave points", "radius error", "worst fractal dimension"]);
    }

    #[test]
    fn bits_that_end_early_are_an_error() {
        assert_eq!(Bits { bytes: &[0b1010], position: 0 }.take(4).unwrap(), 0b1010);
        assert!(Bits { bytes: &[0], position: 0 }.take(9).is_err());
    }
}
