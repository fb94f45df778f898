//! Branch-free f32 functions that the compiler can vectorise inside a loop.

/// ln 2 in two parts, of which the first is exact times a small integer.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
const ROUND: f32 = 12_582_912.0;

/// e^x to 1 ulp: x = n ln 2 + r with |r| <= ln 2 / 2, a degree-7 polynomial in r (Cephes), and n in
/// the exponent bits. Goes to 0 through the subnormals and saturates to infinity; NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
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

/// [`exp`] of an x that is at most 0, but for rounding, with numbers below the least normal one as 0:
/// one factor, and multiplies and adds are fused as in [`normal`].
#[inline(always)]
pub fn exp_below(x: f32) -> f32 {
    // Not `max`, which would lose NaN.
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 0.166_666_66);
    p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    let power = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32).wrapping_add(127);
    p * f32::from_bits((power.max(0) << 23) as u32)
}

/// The standard normal distribution: the share Phi below x to 2e-7 absolute, and the density phi at x.
///
/// Both come from one exponential: the share beyond |x| is exp(-x^2 / 2) times a polynomial in |x|
/// (least squares of the product's error, reweighted towards equal errors; constant from 5.2 on, where
/// the share is below 1e-7). Multiplies and adds are fused: fast only where [`super::vectorized`] has
/// chosen instructions that do so.
#[inline(always)]
pub fn normal(x: f32) -> (f32, f32) {
    const INVERSE_ROOT_TAU: f32 = 0.398_942_3;
    // 2^t with t = n + f, |f| <= 1/2: a polynomial in f, and n added to the exponent, which takes
    // 2^-127 to 0.
    let t = (x * x * (-0.5 * std::f32::consts::LOG2_E)).max(-127.0);
    let shifted = t + ROUND;
    let f = t - (shifted - ROUND);
    let mut p = 1.534_581e-4f32;
    p = p.mul_add(f, 1.339_993_8e-3);
    p = p.mul_add(f, 9.618_489e-3);
    p = p.mul_add(f, 5.550_328_8e-2);
    p = p.mul_add(f, 0.240_226_47);
    p = p.mul_add(f, std::f32::consts::LN_2);
    p = p.mul_add(f, 1.0);
    let e = f32::from_bits((shifted.to_bits() << 23).wrapping_add(p.to_bits()));

    let a = if x.abs() > 5.2 { 5.2 } else { x.abs() };
    let mut q = 1.631_694_2e-6f32;
    q = q.mul_add(a, -3.520_785_7e-5);
    q = q.mul_add(a, 3.397_389_7e-4);
    q = q.mul_add(a, -1.974_629_5e-3);
    q = q.mul_add(a, 7.939_395_5e-3);
    q = q.mul_add(a, -2.431_393_6e-2);
    q = q.mul_add(a, 6.115_489e-2);
    q = q.mul_add(a, -0.132_513_8);
    q = q.mul_add(a, 0.249_916_79);
    q = q.mul_add(a, -0.398_936_5);
    q = q.mul_add(a, 0.499_999_94);
    let beyond = q * e;
    (if x > 0.0 { 1.0 - beyond } else { beyond }, INVERSE_ROOT_TAU * e)
}

/// [`normal`] for results that are rounded to bf16: the share to 6e-4 of itself, where that is above 1e-7, an
/// eighth of what rounding may change. A third fewer multiplications.
#[inline(always)]
pub fn normal_brief(x: f32) -> (f32, f32) {
    const INVERSE_ROOT_TAU: f32 = 0.398_942_3;
    let t = (x * x * (-0.5 * std::f32::consts::LOG2_E)).max(-127.0);
    let shifted = t + ROUND;
    let f = t - (shifted - ROUND);
    let mut p = 5.517_160_5e-2f32;
    p = p.mul_add(f, 0.242_611_63);
    p = p.mul_add(f, 0.693_261);
    // Not below 1 at f = 0, or 2^-127 would be no 0.
    p = p.mul_add(f, 1.0);
    let e = f32::from_bits((shifted.to_bits() << 23).wrapping_add(p.to_bits()));

    let a = if x.abs() > 5.2 { 5.2 } else { x.abs() };
    let mut q = -2.159_499_1e-5f32;
    q = q.mul_add(a, 5.012_970_6e-4);
    q = q.mul_add(a, -4.948_840_5e-3);
    q = q.mul_add(a, 2.743_305_5e-2);
    q = q.mul_add(a, -9.588_008e-2);
    q = q.mul_add(a, 0.228_142);
    q = q.mul_add(a, -0.393_504_83);
    q = q.mul_add(a, 0.499_750_17);
    let beyond = q * e;
    (if x > 0.0 { 1.0 - beyond } else { beyond }, INVERSE_ROOT_TAU * e)
}

/// [`normal`] in f64.
pub fn normal_f64(x: f64) -> (f64, f64) {
    let below = 0.5 * (1.0 + candle_core::cpu::erf::erf_f64(x * std::f64::consts::FRAC_1_SQRT_2));
    (below, (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt())
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
    fn exp_below_agrees_with_the_library() {
        for i in -20_000..=0 {
            let x = i as f32 * 0.0052;
            let (found, expected) = (super::exp_below(x), f64::from(x).exp() as f32);
            let tolerance = (expected.abs() * 1.2e-7).max(f32::MIN_POSITIVE);
            assert!((found - expected).abs() <= tolerance, "exp({x}) = {found}, not {expected}");
        }
        assert_eq!(super::exp_below(0.0), 1.0);
        assert_eq!(super::exp_below(f32::NEG_INFINITY), 0.0);
        assert!((super::exp_below(1e-6) - 1.0).abs() < 2e-6);
        assert!(super::exp_below(f32::NAN).is_nan());
    }

    #[test]
    fn normal_agrees_with_the_exact_one() {
        for i in -60_000..60_000 {
            let x = i as f32 * 0.00025;
            let (below, density) = super::normal(x);
            let (exact_below, exact_density) = super::normal_f64(f64::from(x));
            assert!((f64::from(below) - exact_below).abs() <= 2e-7, "Phi({x}) = {below}");
            assert!((f64::from(density) - exact_density).abs() <= 1e-7, "phi({x}) = {density}");
        }
        assert_eq!(super::normal(f32::NEG_INFINITY).0, 0.0);
        assert_eq!(super::normal(f32::INFINITY).0, 1.0);
        assert!(super::normal(f32::NAN).0.is_nan());
    }

    /// GELU of each bf16 number is at most the neighbour of what exact arithmetic rounds to.
    #[test]
    fn the_brief_normal_is_good_for_bf16() {
        let (mut differ, mut count) = (0, 0);
        for bits in 0..=u16::MAX {
            let x = half::bf16::from_bits(bits).to_f32();
            if !(1e-3..=1e30).contains(&x.abs()) {
                continue;
            }
            let exact = f64::from(x) * super::normal_f64(f64::from(x)).0;
            let expected = half::bf16::from_f64(exact);
            let found = half::bf16::from_f32(x * super::normal_brief(x).0);
            if exact.abs() > 1e-6 {
                let apart = found.to_bits().abs_diff(expected.to_bits());
                assert!(apart <= 1, "GELU of {x} is {found}, not {expected}");
                differ += usize::from(apart);
                count += 1;
            } else {
                assert!((f64::from(found.to_f32()) - exact).abs() < 1e-6, "GELU of {x} is {found}");
            }
        }
        assert!(differ * 8 < count, "{differ} of {count} are neighbours");
        for (x, below) in
            [(f32::INFINITY, 1.0), (f32::NEG_INFINITY, 0.0), (40.0, 1.0), (-40.0, 0.0)]
        {
            assert_eq!(super::normal_brief(x), (below, 0.0), "at {x}");
        }
        assert!(super::normal_brief(f32::NAN).0.is_nan());
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
