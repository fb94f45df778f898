//! Memory for results.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

/// Bytes of a cache line, and of the widest register.
const LINE: usize = 64;

/// Elements that begin where a cache line does: registers as long as a line never straddle two of them,
/// for which the processor would read twice.
pub struct Aligned<T> {
    buffer: Vec<T>,
    start: usize,
}

impl<T: Pod> Aligned<T> {
    /// All 0.
    pub fn zeroed(len: usize) -> Self {
        Self::inside(vec![T::zeroed(); len + Self::SLACK], len)
    }

    /// As of [`unwritten`].
    pub fn unwritten(len: usize) -> Self {
        Self::inside(unwritten(len + Self::SLACK), len)
    }

    /// Most elements before the first one that begins a line.
    const SLACK: usize = LINE / size_of::<T>();

    fn inside(mut buffer: Vec<T>, len: usize) -> Self {
        let start = buffer.as_ptr().align_offset(LINE).min(Self::SLACK);
        buffer.truncate(start + len);
        Self { buffer, start }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.buffer[self.start..]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.buffer[self.start..]
    }
}

/// `len` elements for a kernel that writes each of them: what they are until then is not said. Clearing
/// them first, by one thread, would cost light kernels a third of their time. Builds with debug
/// assertions put NaN there (-1 for integers), so that tests see an element that was forgotten.
pub fn unwritten<T: Pod>(len: usize) -> Vec<T> {
    if cfg!(debug_assertions) {
        let mut buffer = vec![T::zeroed(); len];
        bytemuck::cast_slice_mut::<T, u8>(&mut buffer).fill(0xFF);
        return buffer;
    }
    allocate(len)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn allocate<T: Pod>(len: usize) -> Vec<T> {
    let mut buffer: Vec<T> = Vec::with_capacity(len);
    // SAFETY: the assembly does nothing, but as far as the compiler can know it has written any bytes
    // to the memory whose address it got; so that these are elements, for any bits are one.
    unsafe {
        std::arch::asm!("/* {0} */", in(reg) buffer.as_mut_ptr(), options(nostack, preserves_flags));
        buffer.set_len(len);
    }
    buffer
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn allocate<T: Pod>(len: usize) -> Vec<T> {
    vec![T::zeroed(); len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_elements_begin_a_line() {
        for len in [0, 1, 5, 64, 1000] {
            let mut floats = Aligned::<f32>::zeroed(len);
            assert_eq!((floats.len(), floats.as_ptr() as usize % LINE), (len, 0));
            assert!(floats.iter().all(|x| *x == 0.0));
            floats.iter_mut().for_each(|x| *x += 1.0);
            let doubles = Aligned::<f64>::unwritten(len);
            assert_eq!((doubles.len(), doubles.as_ptr() as usize % LINE), (len, 0));
        }
    }
}
