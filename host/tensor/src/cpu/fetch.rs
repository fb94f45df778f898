//! Hints to the processor about memory that will be needed: it sees lines that follow each other coming,
//! not those that lie a row of a matrix apart.

/// Bytes that memory hands out at a time.
const LINE: usize = 64;

/// Asks for what will be read soon; any address may be given.
#[inline(always)]
pub fn fetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The same of `len` elements side by side.
#[inline(always)]
pub fn fetch_line<T>(start: *const T, len: usize) {
    for at in (0..len * size_of::<T>()).step_by(LINE) {
        fetch(start.cast::<u8>().wrapping_add(at));
    }
}

/// Asks for what will be written soon; any address may be given.
#[inline(always)]
pub fn fetch_to_write<T>(at: *mut T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which writes nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(at.cast_const().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
