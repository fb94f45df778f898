//! Branch-free f32 functions that the compiler can vectorise inside a loop.

/// e^x to 1 ulp: x = n ln 2 + r with |r| <= ln 2 / 2, a degree-7 polynomial in r (Cephes), and n in
/// the exponent bits. Goes to 0 through the subnormals and saturates to infinity; NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-104.0, 89.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 0.166_666_66;
    p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    // Two factors, so that results near the ends of the range neither overflow nor vanish early.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    p * power(half) * power(n.wrapping_sub(half))
}

/// The error function to 1e-7 absolute: 1 - exp(|x| P(|x|)) with a minimax fit of ln erfc(x) / x on
/// \[0, 4\], beyond which f32 rounds to 1.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let t = x.abs().min(4.0);
    let mut p = -3.144_000_5e-5f32;
    p = p * t + 3.088_013e-4;
    p = p * t - 1.032_398_9e-3;
    p = p * t - 5.369_378e-4;
    p = p * t + 1.958_396_5e-2;
    p = p * t - 0.102_919_616;
    p = p * t - 0.636_597_75;
    p = p * t - 1.128_380_3;
    let magnitude = 1.0 - exp(p * t);
    // `min` drops a NaN.
    if x.is_nan() { x } else { magnitude.copysign(x) }
}

/// The hyperbolic tangent to 2 ulp: an odd polynomial near 0 (Cephes), 1 - 2 / (e^2|x| + 1) beyond.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let square = x * x;
    let mut p = -5.704_988_7e-3f32;
    p = p * square + 2.063_908_8e-2;
    p = p * square - 5.373_971_5e-2;
    p = p * square + 0.133_314_42;
    p = p * square - 0.333_332_8;
    let near = p * square * x + x;
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_agrees_with_the_library() {
        for i in -20_000..20_000 {
            let x = i as f32 * 0.0052;
            let (found, expected) = (super::exp(x), f64::from(x).exp() as f32);
            let tolerance = expected.abs() * 1.2e-7 + 1.5e-45;
            assert!(
                found == expected || (found - expected).abs() <= tolerance,
                "exp({x}) = {found}, not {expected}"
            );
        }
        assert_eq!(super::exp(0.0), 1.0);
        assert_eq!(super::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(super::exp(f32::INFINITY), f32::INFINITY);
        assert!(super::exp(f32::NAN).is_nan());
    }

    #[test]
    fn erf_agrees_with_the_exact_one() {
        for i in -50_000..50_000 {
            let x = i as f32 * 0.0001;
            let expected = candle_core::cpu::erf::erf_f64(f64::from(x)) as f32;
            assert!((super::erf(x) - expected).abs() <= 1.8e-7, "erf({x}) = {}", super::erf(x));
        }
        assert_eq!(super::erf(0.0), 0.0);
        assert_eq!(super::erf(f32::NEG_INFINITY), -1.0);
        assert_eq!(super::erf(f32::INFINITY), 1.0);
        assert!(super::erf(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_agrees_with_the_library() {
        for i in -40_000..40_000 {
            let x = i as f32 * 0.0003;
            let expected = f64::from(x).tanh() as f32;
            let found = super::tanh(x);
            assert!((found - expected).abs() <= expected.abs() * 2.4e-7, "tanh({x}) = {found}");
        }
        assert_eq!(super::tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(super::tanh(f32::INFINITY), 1.0);
        assert!(super::tanh(f32::NAN).is_nan());
    }
}
