//! Memory for results.

use bytemuck::Pod;

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
