//! Squares of 8 x 8 words, transposed in registers: element by element, packing would take as long as
//! a short product.

use std::arch::x86_64::*;

/// Rows and columns of a square.
pub(super) const SIDE: usize = 8;

/// Columns for rows.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn turn(rows: [__m256; SIDE]) -> [__m256; SIDE] {
    let [a, b, c, d, e, f, g, h] = rows;
    // In each half of a register: pairs of rows, then quarters of the square.
    let pairs = [(a, b), (c, d), (e, f), (g, h)];
    let [(ab, ab2), (cd, cd2), (ef, ef2), (gh, gh2)] =
        pairs.map(|(a, b)| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)));
    let quarter = |low: __m256, high: __m256| {
        (_mm256_shuffle_ps::<0x44>(low, high), _mm256_shuffle_ps::<0xee>(low, high))
    };
    let (upper0, upper1) = quarter(ab, cd);
    let (upper2, upper3) = quarter(ab2, cd2);
    let (lower0, lower1) = quarter(ef, gh);
    let (lower2, lower3) = quarter(ef2, gh2);
    let halves = [(upper0, lower0), (upper1, lower1), (upper2, lower2), (upper3, lower3)];
    let [c0, c1, c2, c3] = halves.map(|(a, b)| _mm256_permute2f128_ps::<0x20>(a, b));
    let [c4, c5, c6, c7] = halves.map(|(a, b)| _mm256_permute2f128_ps::<0x31>(a, b));
    [c0, c1, c2, c3, c4, c5, c6, c7]
}

/// Copies the 8 lines of 8 that start `from_step` apart, as 8 columns, to lines `to_step` apart.
///
/// # Safety
/// The processor has AVX, and the lines lie in what may be read and written.
#[target_feature(enable = "avx")]
pub(super) unsafe fn copy_turned(to: *mut f32, to_step: usize, from: *const f32, from_step: usize) {
    // SAFETY: as the caller says.
    unsafe {
        let rows = std::array::from_fn(|row| _mm256_loadu_ps(from.add(row * from_step)));
        for (row, line) in turn(rows).into_iter().enumerate() {
            _mm256_storeu_ps(to.add(row * to_step), line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_as_lines() {
        if !is_x86_feature_detected!("avx") {
            return;
        }
        let from: Vec<f32> = (0..8 * 11).map(|i| i as f32).collect();
        let mut to = vec![-1.0f32; 8 * 9];
        // SAFETY: AVX is there; 8 lines of 8, 11 and 9 apart.
        unsafe { copy_turned(to.as_mut_ptr(), 9, from.as_ptr(), 11) };
        for (row, line) in to.chunks_exact(9).enumerate() {
            assert_eq!(line[8], -1.0);
            for (column, value) in line[..8].iter().enumerate() {
                assert_eq!(*value, (column * 11 + row) as f32);
            }
        }
    }
}
