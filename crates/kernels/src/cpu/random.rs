//! Random decisions from a counter: dropout whose mask is computed again wherever it is needed, never stored.
//!
//! Elements are grouped into rows. A row's 64-bit key comes from the seed and the row's number; an element's 32 bits come
//! from two rounds of an integer mix of its place in the row, with half of the key before each. Everything is made of
//! 32-bit operations, so loops over [`Kept::factor`] become vector instructions.

use super::Element;
use crate::Result;

/// Which elements dropout keeps, as a function of the seed and the element's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    seed: u64,
    /// An element is dropped where its 32 random bits are below this.
    threshold: u32,
    /// What the kept ones are multiplied by: 1 / (1 − probability), or 0 where none is kept.
    scale: f64,
}

impl Dropout {
    /// Drops each element with `probability`, on behalf of `name`.
    ///
    /// # Errors
    /// Where the probability is not in [0, 1].
    pub fn new(name: &str, probability: f64, seed: u64) -> Result<Self> {
        if !(0.0..=1.0).contains(&probability) {
            candle_core::bail!("{name}: expected a dropout probability from 0 to 1, got {probability}");
        }
        let threshold = (probability * 2f64.powi(32)) as u32;
        let scale = if probability < 1.0 { 1.0 / (1.0 - probability) } else { 0.0 };
        Ok(Self { seed, threshold, scale })
    }

    /// The decisions of row number `row`.
    #[inline(always)]
    pub fn row<T: Element>(&self, row: u64) -> Kept<T> {
        let key = mix64(self.seed ^ mix64(row.wrapping_add(0x9E37_79B9_7F4A_7C15)));
        Kept {
            before: key as u32,
            between: (key >> 32) as u32,
            threshold: self.threshold,
            scale: T::from_f64(self.scale),
        }
    }
}

/// The decisions of one row.
#[derive(Clone, Copy)]
pub(crate) struct Kept<T> {
    before: u32,
    between: u32,
    threshold: u32,
    scale: T,
}

impl<T: Element> Kept<T> {
    /// What element `index` of the row is multiplied by: 0, or 1 / (1 − probability).
    #[inline(always)]
    pub fn factor(&self, index: u32) -> T {
        let bits = mix32(mix32(index ^ self.before).wrapping_add(self.between));
        if bits < self.threshold { T::zero() } else { self.scale }
    }
}

/// A bijection that spreads every input bit over all output bits (the finalizer of splitmix64; Steele et al. 2014).
#[inline(always)]
fn mix64(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The same for 32 bits, with the constants of C. Wellons' search for low bias ("lowbias32", 2018).
#[inline(always)]
fn mix32(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: u64 = 256;
    const ROW_LEN: u32 = 1024;

    /// 1 for a kept element, 0 for a dropped one, row by row.
    fn kept(dropout: Dropout) -> Vec<f64> {
        let factors = (0..ROWS).flat_map(|row| {
            let row = dropout.row::<f32>(row);
            (0..ROW_LEN).map(move |i| row.factor(i))
        });
        factors.map(|factor| f64::from(u8::from(factor > 0.0))).collect()
    }

    /// The mean of `count` draws that are 1 with probability `p` is within five standard deviations of it.
    fn assert_share(got: f64, p: f64, count: usize) {
        let deviation = (p * (1.0 - p) / count as f64).sqrt();
        assert!((got - p).abs() <= 5.0 * deviation, "share {got} of {count}, expected {p} ± {deviation}");
    }

    fn share(agree: impl Iterator<Item = bool>) -> (f64, usize) {
        let (mut hits, mut count) = (0, 0);
        for hit in agree {
            hits += usize::from(hit);
            count += 1;
        }
        (hits as f64 / count as f64, count)
    }

    #[test]
    fn keeps_the_expected_share_and_scales_it_to_mean_one() {
        for p in [0.0, 0.1, 0.5, 0.9, 1.0] {
            let dropout = Dropout::new("test", p, 7).unwrap();
            let kept = kept(dropout);
            assert_share(kept.iter().sum::<f64>() / kept.len() as f64, 1.0 - p, kept.len());
            let largest = (0..ROW_LEN).map(|i| dropout.row::<f64>(3).factor(i)).fold(0.0, f64::max);
            assert_eq!(largest, if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 });
        }
    }

    /// At probability one half, two independent decisions agree half of the time.
    #[test]
    fn neighbours_rows_and_seeds_are_independent() {
        let draws = |seed| kept(Dropout::new("test", 0.5, seed).unwrap());
        let (first, second) = (draws(1), draws(2));
        for distance in [1, 2, 16, 64, 1023, 1024, 1025, 4096] {
            let (got, count) = share(first.iter().zip(&first[distance..]).map(|(a, b)| a == b));
            assert_share(got, 0.5, count);
        }
        let (got, count) = share(first.iter().zip(&second).map(|(a, b)| a == b));
        assert_share(got, 0.5, count);
        for column in [0, 1, 513] {
            let (got, count) = share(first.iter().skip(column).step_by(ROW_LEN as usize).map(|&x| x == 1.0));
            assert_share(got, 0.5, count);
        }
    }

    /// Fixed for ever: a run that is resumed with a later version draws the same.
    #[test]
    fn the_same_bits_everywhere() {
        let row = Dropout::new("test", 0.5, 42).unwrap().row::<f32>(3);
        let bits = (0..32).fold(0u32, |bits, i| bits << 1 | u32::from(row.factor(i) > 0.0));
        assert_eq!(bits, 0xacd1_a3a4);
    }

    #[test]
    fn impossible_probabilities_are_named() {
        for p in [-0.1, 1.5, f64::NAN] {
            let error = Dropout::new("attention", p, 0).unwrap_err().to_string();
            assert!(error.contains("attention: expected a dropout probability from 0 to 1"), "{error}");
        }
    }
}
