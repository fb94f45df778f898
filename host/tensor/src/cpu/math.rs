//! Branch-free f32 functions that the compiler can vectorise inside a loop.

/// e^x to about 1 ulp: x = n ln 2 + r with |r| <= ln 2 / 2, a degree-6 polynomial in r, and n in the
/// exponent bits (Cephes). Saturates to 0 and infinity.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-104.0, 88.8);
    let n = (clamped * std::f32::consts::LOG2_E).round_ties_even();
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_2e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 0.166_666_65;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // Two factors, so that results near the ends of the range neither overflow nor vanish early.
    let half = (n * 0.5).floor();
    let power = |n: f32| f32::from_bits(((n as i32 + 127) << 23) as u32);
    let value = p * power(half) * power(n - half);
    let value = if x > 88.72284 { f32::INFINITY } else { value };
    if x.is_nan() { x } else { value }
}

/// The error function to 5e-7 absolute: a rational approximation on [-4, 4], beyond which f32 rounds to 1.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let x2 = x * x;
    let mut p = -2.726_142_3e-10f32;
    p = p * x2 + 2.770_681_6e-8;
    p = p * x2 - 2.101_024e-6;
    p = p * x2 - 5.692_506_4e-5;
    p = p * x2 - 7.349_906e-4;
    p = p * x2 - 2.954_6e-3;
    p = p * x2 - 1.609_603_8e-2;
    let mut q = -1.456_607_2e-5f32;
    q = q * x2 - 2.133_740_2e-4;
    q = q * x2 - 1.682_827e-3;
    q = q * x2 - 7.373_329e-3;
    q = q * x2 - 1.426_470_5e-2;
    x * p / q
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_agrees_with_the_library() {
        for i in -20_000..20_000 {
            let x = i as f32 * 0.0052;
            let (found, expected) = (super::exp(x), x.exp());
            let tolerance = expected.abs() * 4e-7 + 1e-44;
            assert!(
                found == expected || (found - expected).abs() <= tolerance,
                "exp({x}) = {found}"
            );
        }
        assert_eq!(super::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(super::exp(f32::INFINITY), f32::INFINITY);
        assert!(super::exp(f32::NAN).is_nan());
    }

    #[test]
    fn erf_agrees_with_the_exact_one() {
        for i in -5000..5000 {
            let x = i as f32 * 0.001;
            let expected = candle_core::cpu::erf::erf_f64(f64::from(x)) as f32;
            assert!((super::erf(x) - expected).abs() <= 5e-7, "erf({x}) = {}", super::erf(x));
        }
    }
}
