//! Measures of generated tables.

use candle_core::Tensor;
use glassbox_core::{Error, Result, TensorExt};

use super::frechet::rows;
use super::nearest_distances;

/// For each column, the Kolmogorov-Smirnov distance of its real and generated values: the largest difference of their
/// distribution functions, 0 to 1. For a column of 0 and 1 it is the difference of the shares.
///
/// # Shapes
/// (rows, columns) each, with the same number of columns.
///
/// # Errors
/// Columns that do not agree, values that are not finite, fewer than two rows.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let (a, b) = (Tensor::new(&[[0f32], [1.0]], &Device::Cpu)?, Tensor::new(&[[1f32], [1.0]], &Device::Cpu)?);
/// assert_eq!(glassbox_gan::measures::marginal_distances(&a, &b)?, [0.5]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn marginal_distances(real: &Tensor, fake: &Tensor) -> Result<Vec<f64>> {
    let (real, fake) = (rows(real)?, rows(fake)?);
    expect_columns(&real, &fake)?;
    let column = |table: &Tensor, j: usize| {
        let mut values = table.narrow(1, j, 1)?.to_f64_vec()?;
        values.sort_by(f64::total_cmp);
        Ok::<_, Error>(values)
    };
    (0..real.dim(1)?).map(|j| Ok(largest_gap(&column(&real, j)?, &column(&fake, j)?))).collect()
}

/// Of sorted values.
fn largest_gap(a: &[f64], b: &[f64]) -> f64 {
    let (mut i, mut j, mut gap) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        i += a[i..].iter().take_while(|&&v| v <= at).count();
        j += b[j..].iter().take_while(|&&v| v <= at).count();
        gap = gap.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    gap
}

/// The mean absolute difference of the correlations of all pairs of columns, 0 to 2. A constant column correlates with
/// nothing.
///
/// # Shapes
/// (rows, columns) each, with the same number of columns.
///
/// # Errors
/// As [`marginal_distances`]; fewer than two columns.
pub fn correlation_distance(real: &Tensor, fake: &Tensor) -> Result<f64> {
    let (real, fake) = (rows(real)?, rows(fake)?);
    expect_columns(&real, &fake)?;
    let columns = real.dim(1)?;
    if columns < 2 {
        return Err(Error::invalid("table", "two columns or more", columns));
    }
    let difference = (correlations(&real)? - correlations(&fake)?)?.abs()?.sum_all()?.to_f64()?;
    Ok(difference / (columns * (columns - 1)) as f64)
}

/// (columns, columns), with zeros on the diagonal.
fn correlations(table: &Tensor) -> Result<Tensor> {
    let centered = table.broadcast_sub(&table.mean_keepdim(0)?)?;
    let lengths = centered.sqr()?.sum_keepdim(0)?.sqrt()?;
    // A constant column stays zero.
    let scaled = centered.broadcast_div(&lengths.maximum(1e-300)?)?;
    let columns = table.dim(1)?;
    let beside = (Tensor::eye(columns, table.dtype(), table.device())? - 1.0)?.neg()?;
    Ok((scaled.t()?.matmul(&scaled)? * beside)?)
}

/// The distance of each generated row to the closest real one, in standardised columns (by the real table's mean and
/// deviation): rows at 0 are copies of training rows.
///
/// # Shapes
/// (rows, columns) each, with the same number of columns.
///
/// # Errors
/// As [`marginal_distances`].
pub fn closest_record_distances(real: &Tensor, fake: &Tensor) -> Result<Vec<f64>> {
    let (real, fake) = (rows(real)?, rows(fake)?);
    expect_columns(&real, &fake)?;
    let mean = real.mean_keepdim(0)?;
    let std = real.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?.sqrt()?;
    // A constant column counts as it is.
    let constant = std.eq(0.0)?.to_dtype(std.dtype())?;
    let std = (std + constant)?;
    let scaled = |table: &Tensor| table.broadcast_sub(&mean)?.broadcast_div(&std);
    Ok(nearest_distances(&scaled(&fake)?, &scaled(&real)?)?.into_iter().map(|(distance, _)| distance).collect())
}

fn expect_columns(real: &Tensor, fake: &Tensor) -> Result<()> {
    if real.dim(1)? == fake.dim(1)? {
        return Ok(());
    }
    Err(Error::invalid("generated table", format!("{} columns", real.dim(1)?), fake.dim(1)?))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn distances_of_small_tables() {
        let real = Tensor::new(&[[0f64, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], &Device::Cpu).unwrap();
        let turned = Tensor::new(&[[0f64, 3.0], [1.0, 2.0], [2.0, 1.0], [3.0, 0.0]], &Device::Cpu).unwrap();
        assert_eq!(marginal_distances(&real, &turned).unwrap(), [0.0, 0.0]);
        assert!((correlation_distance(&real, &turned).unwrap() - 2.0).abs() < 1e-12);
        assert!(correlation_distance(&real, &real).unwrap() < 1e-12);
        assert!(closest_record_distances(&real, &real).unwrap().iter().all(|d| *d < 1e-7));
        let gap = largest_gap(&[0.0, 1.0, 2.0, 3.0], &[1.5, 1.6, 1.7, 1.8]);
        assert!((gap - 0.5).abs() < 1e-12, "{gap}");
        assert!(marginal_distances(&real, &real.narrow(1, 0, 1).unwrap()).is_err());
    }
}
