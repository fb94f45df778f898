//! Kernels on the processor, for tests without a GPU.

use std::cell::Cell;
use std::ffi::c_void;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, Layout};

use super::{Argument, Grid};
use crate::{Array, Result, mode};

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread takes arrays in CPU memory for arrays on a GPU.
pub(crate) fn is_on() -> bool {
    ON.get()
}

/// Runs `body` as if CPU memory were a GPU's: kernels of ours are emulated, everything else goes by
/// candle's operations, as there.
pub(crate) fn scope<T>(body: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }
    let _restore = Restore(ON.replace(true));
    mode::scope(mode::Mode { portable: true, ..mode::current() }, body)
}

/// Finds the address of an array's first element.
struct Address(Cell<*mut c_void>);

impl InplaceOp1 for Address {
    fn name(&self) -> &'static str {
        "address"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        macro_rules! address {
            ($($kind:ident)*) => {
                match storage {
                    $(CpuStorage::$kind(elements) => {
                        elements[layout.start_offset()..].as_mut_ptr().cast()
                    })*
                    _ => candle_core::bail!("kernels take no {:?}", storage.dtype()),
                }
            };
        }
        self.0.set(address!(F32 F64 BF16 F16 I64 U32 U8));
        Ok(())
    }
}

pub(super) fn launch(name: &str, grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
    let address = |array: &Array| -> Result<*mut c_void> {
        let address = Address(Cell::new(std::ptr::null_mut()));
        array.inplace_op1(&address)?;
        Ok(address.0.get())
    };
    let mut lists: Vec<Vec<*mut c_void>> = Vec::new();
    let arguments = arguments
        .iter()
        .map(|argument| {
            Ok(match argument {
                Argument::Many(arrays) => {
                    let of =
                        |array: &Option<&Array>| array.map_or(Ok(std::ptr::null_mut()), address);
                    lists.push(arrays.iter().map(of).collect::<Result<_>>()?);
                    let list = lists.last_mut().expect("it was put there");
                    hssl_test_emulator::Argument::Pointer(list.as_mut_ptr().cast())
                }
                Argument::Read(array) | Argument::Write(array) => {
                    hssl_test_emulator::Argument::Pointer(address(array)?)
                }
                Argument::Null => hssl_test_emulator::Argument::Pointer(std::ptr::null_mut()),
                Argument::Int(value) => hssl_test_emulator::Argument::Int(*value),
                Argument::Long(value) => hssl_test_emulator::Argument::Long(*value),
                Argument::Float(value) => hssl_test_emulator::Argument::Float(*value),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    // SAFETY: the arrays live until this returns, and the kernel stays within them.
    unsafe { hssl_test_emulator::launch(name, grid.blocks, grid.threads, &arguments) }
        .map_err(|error| candle_core::Error::Msg(error).into())
}
