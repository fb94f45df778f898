//! Registers of AVX-512 with bf16: loads, stores, rounding.

use std::arch::x86_64::*;

use half::bf16;

/// Lanes of a register.
pub(super) const LANES: usize = 16;

/// Whether the processor has them.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

/// Registers of f32 or bf16, 16 elements at a time.
pub trait Lanes: Copy {
    /// Whether the bits in memory are bf16 already.
    const IS_BF16: bool;
    /// Up to 16 elements, rounded to bf16 (and what is below the normal numbers to 0); zeros where the
    /// mask has none.
    ///
    /// # Safety
    /// The elements of the mask are there, and the processor has AVX-512 with bf16.
    unsafe fn load_bits(from: *const Self, mask: u16) -> __m256i;
    /// Up to 16 elements as f32.
    ///
    /// # Safety
    /// As of `load_bits`.
    unsafe fn load_wide(from: *const Self, mask: u16) -> __m512;
    /// Rounds and writes up to 16 sums.
    ///
    /// # Safety
    /// As of `load_bits`.
    unsafe fn store(to: *mut Self, mask: u16, sums: __m512);
}

impl Lanes for f32 {
    const IS_BF16: bool = false;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn load_bits(from: *const Self, mask: u16) -> __m256i {
        // SAFETY: as the caller says; the types differ in name only.
        unsafe { std::mem::transmute(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from))) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn load_wide(from: *const Self, mask: u16) -> __m512 {
        // SAFETY: as the caller says.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn store(to: *mut Self, mask: u16, sums: __m512) {
        // SAFETY: as the caller says.
        unsafe { _mm512_mask_storeu_ps(to, mask, sums) }
    }
}

impl Lanes for bf16 {
    const IS_BF16: bool = true;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn load_bits(from: *const Self, mask: u16) -> __m256i {
        // SAFETY: as the caller says.
        unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn load_wide(from: *const Self, mask: u16) -> __m512 {
        // SAFETY: as the caller says.
        let bits = unsafe { Self::load_bits(from, mask) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn store(to: *mut Self, mask: u16, sums: __m512) {
        // SAFETY: as the caller says; the types differ in name only.
        unsafe {
            let bits: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(sums));
            _mm256_mask_storeu_epi16(to.cast(), mask, bits);
        }
    }
}

/// Rounds the numbers of a row, at most as many as there are slots.
///
/// # Safety
/// The processor has AVX-512 with bf16.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
pub(super) unsafe fn round_row(slots: &mut [bf16], row: &[f32]) {
    let len = slots.len().min(row.len());
    for at in (0..len).step_by(LANES) {
        let mask = lowest(len - at);
        // SAFETY: the mask ends with the shorter of the two.
        unsafe {
            bf16::store(
                slots.as_mut_ptr().add(at),
                mask,
                f32::load_wide(row.as_ptr().add(at), mask),
            );
        }
    }
}

/// Rounds `len` numbers of each row to places `stride` apart.
///
/// # Safety
/// The processor has AVX-512 with bf16.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
pub(super) unsafe fn round_blocks(
    slots: &mut [bf16],
    stride: usize,
    rows: &[[f32; LANES]],
    len: usize,
) {
    let mask = lowest(len.min(LANES));
    for (slots, row) in slots.chunks_mut(stride).zip(rows) {
        let slots = &mut slots[..len];
        // SAFETY: the mask ends with the slots.
        unsafe { bf16::store(slots.as_mut_ptr(), mask, f32::load_wide(row.as_ptr(), mask)) };
    }
}

/// The lowest `count` lanes.
#[inline(always)]
pub(super) fn lowest(count: usize) -> u16 {
    if count >= LANES { u16::MAX } else { (1 << count) - 1 }
}
