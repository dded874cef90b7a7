//! Float functions written so that loops over them become vector instructions.
//!
//! The standard library's `exp` and its kin are calls, which keep a loop scalar. The f32 versions here are branch-free
//! polynomials, least-squares fits made for this crate, with relative errors below 2e-7 (see the tests). They use no
//! fused multiply-add, so every machine computes the same bits. f64, which serves gradient checks, takes the standard
//! library's.

use super::Element;

/// f32 or f64 with the transcendental functions that the kernels need.
pub(crate) trait Float: Element {
    /// e^x.
    fn exp(self) -> Self;
    /// 2^x for x up to 127, and 0 where that is below the type's normal numbers. Cheaper than [`Float::exp`], and its
    /// results never slow down the arithmetic after it, as subnormal numbers do.
    fn exp2_normal(self) -> Self;
    /// e^x − 1 without cancellation near zero.
    fn exp_m1(self) -> Self;
    /// ln(1 + x) for x in [0, 1].
    fn ln_1p_unit(self) -> Self;
    /// Phi(x), the standard normal distribution function, with relative accuracy in the lower tail.
    fn normal_cdf(self) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn exp(self) -> f32 {
        let (q, a, b) = exp_parts(self);
        (1.0 + q) * a * b
    }

    #[inline(always)]
    #[allow(clippy::approx_constant)] // The coefficients are a fit, of which ln 2 is only the limit.
    fn exp2_normal(self) -> f32 {
        use std::f32::consts::LN_2;
        // NaN fails the comparison, and stays through the product below.
        let x = if self < -126.0 { -126.0 } else { self };
        let shifted = x + ROUND;
        let r = x - (shifted - ROUND);
        let p = horner(r, [1.0, LN_2, 0.240_222_83, 0.055_505_585, 0.009_669_692, 0.001_330_060_5]);
        let power = p * power_of_two(shifted.to_bits() as i32 - ROUND.to_bits() as i32);
        if self < -126.0 { 0.0 } else { power }
    }

    #[inline(always)]
    fn exp_m1(self) -> f32 {
        let (q, a, b) = exp_parts(self);
        // With n = 0 this is q itself, exact near zero.
        q * a * b + (a * b - 1.0)
    }

    #[inline(always)]
    fn ln_1p_unit(self) -> f32 {
        // ln(1 + x) = 2 artanh(s), s = x / (2 + x) in [0, 1/3].
        let s = self / (2.0 + self);
        let z = s * s;
        let p = horner(z, [1.000_000_004_0, 0.333_331_55, 0.200_125_57, 0.139_788_35, 0.140_957_65]);
        2.0 * s * p
    }

    #[inline(always)]
    fn normal_cdf(self) -> f32 {
        // erfc(a) = e^(-a²) t Q(t), t = 1 / (1 + 0.3 a), a = |x| / √2.
        let t = 1.0 / (1.0 + 0.3 * std::f32::consts::FRAC_1_SQRT_2 * self.abs());
        let q = horner(
            t,
            [
                0.169_188,
                0.170_715_29,
                0.148_338_76,
                0.214_927_57,
                -0.094_654_09,
                0.547_724_65,
                -0.512_281_94,
                0.485_564_99,
                -0.129_523_26,
            ],
        );
        let tail = 0.5 * Float::exp(-0.5 * self * self) * t * q;
        if self < 0.0 { tail } else { 1.0 - tail }
    }
}

impl Float for f64 {
    #[inline(always)]
    fn exp(self) -> f64 {
        f64::exp(self)
    }

    #[inline(always)]
    fn exp2_normal(self) -> f64 {
        if self < -1022.0 { 0.0 } else { f64::exp2(self) }
    }

    #[inline(always)]
    fn exp_m1(self) -> f64 {
        f64::exp_m1(self)
    }

    #[inline(always)]
    fn ln_1p_unit(self) -> f64 {
        f64::ln_1p(self)
    }

    #[inline(always)]
    fn normal_cdf(self) -> f64 {
        0.5 * candle_core::cpu::erf::erfc_f64(-self * std::f64::consts::FRAC_1_SQRT_2)
    }
}

/// 1.5 * 2^23: adding it leaves the nearest integer in the low bits of the mantissa.
const ROUND: f32 = 12_582_912.0;

/// `(q, a, b)` with e^x = (1 + q) a b: q = e^r − 1 for the remainder r of x / ln 2, and 2^n in two factors, so that
/// results near both ends of the range are reached without overflow on the way.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, f32, f32) {
    // ln 2 in two parts, the first with few enough bits that n times it is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Beyond these e^x is 0 and infinite. NaN fails both comparisons and stays.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let q = r + r * r * horner(r, [0.5, 0.166_665_77, 0.041_666_375, 0.008_363_205, 0.001_394_115_8]);
    let n = shifted.to_bits() as i32 - ROUND.to_bits() as i32;
    let half = n >> 1;
    (q, power_of_two(half), power_of_two(n - half))
}

/// 2^n for n in the range of normal exponents; anything for others (only NaN leads there).
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// The polynomial with `coefficients` in ascending order, at x.
#[inline(always)]
fn horner<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

#[cfg(test)]
mod tests {
    use super::Float;

    /// The largest error relative to the expected value over `range`.
    fn worst(range: (f32, f32), got: impl Fn(f32) -> f32, want: impl Fn(f64) -> f64) -> f64 {
        (0..=200_000)
            .map(|i| range.0 + (range.1 - range.0) * i as f32 / 200_000.0)
            .filter(|&x| want(x as f64).abs() > 1e-37)
            .map(|x| (got(x) as f64 - want(x as f64)).abs() / want(x as f64).abs())
            .fold(0.0, f64::max)
    }

    fn assert_below(error: f64, limit: f64) {
        assert!(error < limit, "relative error {error}, expected below {limit}");
    }

    #[test]
    fn f32_functions_agree_with_f64() {
        assert_below(worst((-87.0, 88.7), Float::exp, f64::exp), 2e-7);
        assert_below(worst((-126.0, 127.0), Float::exp2_normal, f64::exp2), 2e-7);
        assert_below(worst((-1.0, 0.0), Float::exp2_normal, f64::exp2), 2e-7);
        assert_below(worst((-20.0, 20.0), Float::exp_m1, f64::exp_m1), 3e-7);
        assert_below(worst((-1e-3, 1e-3), Float::exp_m1, f64::exp_m1), 2e-7);
        assert_below(worst((0.0, 1.0), |x| x.ln_1p_unit(), f64::ln_1p), 3e-7);
        // The exponent -x²/2 is rounded before exp, which costs up to x²/2 ulp: 42 ulp at -9.
        assert_below(worst((0.0, 9.0), |x| x.normal_cdf(), f64::normal_cdf), 6e-7);
        assert_below(worst((-2.0, 0.0), |x| x.normal_cdf(), f64::normal_cdf), 1e-6);
        assert_below(worst((-9.0, 0.0), |x| x.normal_cdf(), f64::normal_cdf), 5e-6);
    }

    #[test]
    fn f32_exp_at_the_ends() {
        assert_eq!(Float::exp(0.0f32), 1.0);
        assert_eq!(Float::exp(-104.0f32), 0.0);
        assert_eq!(Float::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Float::exp(89.0f32), f32::INFINITY);
        assert_eq!(Float::exp(f32::INFINITY), f32::INFINITY);
        assert!(Float::exp(f32::NAN).is_nan());
        assert_eq!(Float::exp2_normal(0.0f32), 1.0);
        assert_eq!(Float::exp2_normal(-126.0f32), f32::MIN_POSITIVE);
        assert_eq!(Float::exp2_normal(-126.1f32), 0.0);
        assert_eq!(Float::exp2_normal(f32::NEG_INFINITY), 0.0);
        assert!(Float::exp2_normal(f32::NAN).is_nan() && Float::exp2_normal(-f32::NAN).is_nan());
        assert_eq!(Float::exp_m1(-200.0f32), -1.0);
        assert_eq!(Float::exp_m1(0.0f32), 0.0);
    }
}
