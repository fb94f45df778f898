//! The allocator of the program: buffers stay with it between steps, because those that go back to the
//! system come back as page faults and zeroed pages (an eighth of a small step's time).

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, versions 2 and 3; the bindings do not name it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Never. What a step has freed the next one asks for again.
const NEVER: std::ffi::c_long = -1;

/// Keeps freed buffers, unless `MIMALLOC_PURGE_DELAY` says otherwise.
pub fn keep_buffers() {
    // SAFETY: the option exists, and any time may be given.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, NEVER) };
}
