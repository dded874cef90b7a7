//! Transposing matrices whose rows lie one after another.

use super::{Element, chunks, simd};

/// Rows and columns that are transposed together: a cache line of f32.
const TILE: usize = 16;
/// Columns that a job transposes: a few cache lines of each row, so that reading them is not a wait for each.
const BAND: usize = 64;

/// Writes the transpose of `from`, rows of `columns` elements, to `to`.
///
/// A product against a matrix that lies transposed has to pack it, in every job, element by element; against one that lies
/// row by row it reads on. The copy pays unless the product has very few rows.
pub(crate) fn transpose_into<T: Element>(from: &[T], columns: usize, to: &mut [T]) {
    let rows = from.len() / columns.max(1);
    if rows == 0 {
        return;
    }
    chunks(to, BAND * rows, |band, to| {
        simd(
            #[inline(always)]
            || transpose_band(from, columns, band * BAND, to),
        );
    });
}

/// The columns from `first` on, as many as `to` has rows.
#[inline(always)]
fn transpose_band<T: Element>(from: &[T], columns: usize, first: usize, to: &mut [T]) {
    let rows = from.len() / columns;
    for row in (0..rows).step_by(TILE) {
        for (i, to) in to.chunks_mut(TILE * rows).enumerate() {
            let column = first + i * TILE;
            if to.len() == TILE * rows && row + TILE <= rows {
                transpose_tile(&from[row * columns + column..], columns, &mut to[row..], rows);
                continue;
            }
            for (column, to) in (column..).zip(to.chunks_exact_mut(rows)) {
                let elements = from[row * columns + column..].iter().step_by(columns);
                to[row..(row + TILE).min(rows)].iter_mut().zip(elements).for_each(|(to, &x)| *to = x);
            }
        }
    }
}

/// A whole tile, by way of registers or the first cache: all of it is read before any of it is written.
#[inline(always)]
fn transpose_tile<T: Element>(from: &[T], columns: usize, to: &mut [T], rows: usize) {
    let mut tile = [[T::zero(); TILE]; TILE];
    for (i, tile) in tile.iter_mut().enumerate() {
        tile.copy_from_slice(&from[i * columns..][..TILE]);
    }
    for j in 0..TILE {
        for (to, row) in to[j * rows..][..TILE].iter_mut().zip(&tile) {
            *to = row[j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole tiles and edges on both sides, one band and several; nothing.
    #[test]
    fn every_element_lands_in_its_column() {
        for (rows, columns) in [(16, 16), (1, 5), (5, 1), (33, 150), (200, 170), (0, 4), (4, 0)] {
            let from: Vec<f64> = (0..rows * columns).map(|i| i as f64).collect();
            let mut to = vec![-1.0; from.len()];
            transpose_into(&from, columns, &mut to);
            assert!((0..from.len()).all(|i| to[i % columns * rows + i / columns] == from[i]), "{rows} x {columns}");
        }
    }
}
