//! What the Fréchet distance needs of linear algebra: eigenvalues of symmetric matrices, by Jacobi rotations in f64.

/// A square matrix in row-major order.
#[derive(Clone)]
pub(super) struct Matrix {
    pub size: usize,
    pub values: Vec<f64>,
}

/// Rounds over all pairs; each squares the size of what is left beside the diagonal, so that ten are many.
const MAX_SWEEPS: usize = 30;

impl Matrix {
    fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.size + column]
    }

    fn transposed(&self) -> Self {
        let n = self.size;
        Self { size: n, values: (0..n * n).map(|i| self.at(i % n, i / n)).collect() }
    }

    pub fn product(&self, other: &Self) -> Self {
        let n = self.size;
        let mut values = vec![0.0; n * n];
        for (row, out) in values.chunks_mut(n.max(1)).enumerate() {
            for k in 0..n {
                let factor = self.at(row, k);
                out.iter_mut().zip(&other.values[k * n..(k + 1) * n]).for_each(|(out, b)| *out += factor * b);
            }
        }
        Self { size: n, values }
    }

    pub fn trace(&self) -> f64 {
        (0..self.size).map(|i| self.at(i, i)).sum()
    }

    /// Eigenvalues, and the matrix whose rows are their vectors, of a symmetric matrix.
    pub fn eigen(mut self) -> (Vec<f64>, Self) {
        let n = self.size;
        let mut vectors = Self { size: n, values: vec![0.0; n * n] };
        (0..n).for_each(|i| vectors.values[i * n + i] = 1.0);
        let total: f64 = self.values.iter().map(|v| v * v).sum();
        for _ in 0..MAX_SWEEPS {
            let beside: f64 = (0..n * n).filter(|i| i / n != i % n).map(|i| self.values[i] * self.values[i]).sum();
            if beside <= 1e-26 * total {
                break;
            }
            for p in 0..n {
                for q in p + 1..n {
                    self.rotate(p, q, &mut vectors);
                }
            }
        }
        ((0..n).map(|i| self.at(i, i)).collect(), vectors)
    }

    /// Turns the plane of `p` and `q` so that their element becomes 0.
    fn rotate(&mut self, p: usize, q: usize, vectors: &mut Self) {
        let (n, apq) = (self.size, self.at(p, q));
        if apq == 0.0 {
            return;
        }
        let theta = (self.at(q, q) - self.at(p, p)) / (2.0 * apq);
        let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
        let c = 1.0 / (t * t + 1.0).sqrt();
        let s = t * c;
        for k in 0..n {
            let (a, b) = (self.at(k, p), self.at(k, q));
            self.values[k * n + p] = c * a - s * b;
            self.values[k * n + q] = s * a + c * b;
        }
        for matrix in [self, vectors] {
            for k in 0..n {
                let (a, b) = (matrix.values[p * n + k], matrix.values[q * n + k]);
                matrix.values[p * n + k] = c * a - s * b;
                matrix.values[q * n + k] = s * a + c * b;
            }
        }
    }

    /// The symmetric root of a symmetric matrix without negative eigenvalues, beyond rounding.
    pub fn root(self) -> Self {
        let (values, vectors) = self.eigen();
        let mut scaled = vectors.clone();
        for (row, value) in scaled.values.chunks_mut(vectors.size.max(1)).zip(values) {
            let root = value.max(0.0).sqrt();
            row.iter_mut().for_each(|v| *v *= root);
        }
        vectors.transposed().product(&scaled)
    }
}

#[cfg(test)]
mod tests {
    use glassbox_core::Seed;

    use super::*;

    #[test]
    fn a_root_squared_is_the_matrix() {
        let mut rng = Seed(1).rng();
        let n = 20;
        let half = Matrix { size: n, values: (0..n * n).map(|_| rng.normal()).collect() };
        let matrix = half.product(&half.transposed());
        let root = matrix.clone().root();
        let squared = root.product(&root);
        let worst = squared.values.iter().zip(&matrix.values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // Values of up to about 60.
        assert!(worst < 1e-11, "{worst}");
        let (values, _) = matrix.clone().eigen();
        assert!((values.iter().sum::<f64>() - matrix.trace()).abs() < 1e-10);
    }
}
