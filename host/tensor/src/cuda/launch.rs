//! What a launch needs, whoever runs it.

use candle_core::Shape;

use crate::{Array, DType, Device, Result};

/// A file of kernels.
#[derive(Debug)]
pub(crate) struct Kernels {
    /// Its path in this crate's `src`.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// What a kernel is given, in the order of its parameters.
#[derive(Clone, Copy)]
pub(crate) enum Argument<'a> {
    /// The first element of an array that is read.
    Read(&'a Array),
    /// The first element of an array that [`empty`] made and nobody else has seen, or whose owner writes
    /// it.
    Write(&'a Array),
    /// No array.
    Null,
    /// The first elements of many arrays, as an array of pointers; some may be missing.
    Many(&'a [Option<&'a Array>]),
    /// A number.
    Int(i32),
    /// A large number.
    Long(i64),
    /// A number.
    Float(f32),
}

impl<'a> Argument<'a> {
    /// An array that may be missing.
    pub fn optional(array: Option<&'a Array>) -> Self {
        array.map_or(Self::Null, Self::Read)
    }

    /// How many elements an array has.
    pub fn count(array: &Array) -> Self {
        Self::Long(array.elem_count() as i64)
    }

    /// A size.
    ///
    /// # Panics
    /// It does not fit.
    pub fn size(size: usize) -> Self {
        Self::Int(i32::try_from(size).expect("a dimension has less than 2^31 elements"))
    }
}

/// Blocks, and threads in each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// In x, y and z.
    pub blocks: [usize; 3],
    /// A multiple of 32.
    pub threads: usize,
}

/// Most threads of a block.
const MOST: usize = 1024;

/// Threads of blocks that go over all elements.
const THREADS: usize = 256;

/// Fewest rows that are worth a block of their own where columns are summed.
const ROWS: usize = 64;

/// Blocks that fill a GPU.
const BLOCKS: usize = 1024;

impl Grid {
    /// A block for each row, with threads for its `width` elements, four of which each takes at a time.
    pub fn rows(rows: usize, width: usize) -> Self {
        let threads = width.div_ceil(4).next_multiple_of(32).min(MOST);
        Self { blocks: [rows, 1, 1], threads }
    }

    /// Blocks for 32 columns each of some matrices, over parts of their rows.
    pub fn columns(matrices: usize, rows: usize, width: usize) -> Self {
        let columns = width.div_ceil(32);
        let filled = BLOCKS.div_ceil(columns * matrices.max(1));
        let parts = rows.div_ceil(ROWS).min(filled).max(1);
        Self { blocks: [columns, parts, matrices], threads: THREADS }
    }

    /// A thread for each piece of work.
    pub fn pieces(pieces: usize) -> Self {
        Self { blocks: [pieces.div_ceil(THREADS), 1, 1], threads: THREADS }
    }
}

/// An array of any content on the device of `like`.
pub(crate) fn empty(shape: impl Into<Shape>, dtype: DType, like: &Device) -> Result<Array> {
    let shape = shape.into();
    if like.is_cpu() {
        return Ok(Array::zeros(shape, dtype, like)?);
    }
    // SAFETY: every element is written by the kernel that it is made for, before anything reads it.
    Ok(unsafe { Array::empty(shape, dtype, like)? })
}

/// Whether the rows of whole arrays, `width` elements long, can be read four elements at a time.
pub(crate) fn is_packed(width: usize, arrays: &[&Array]) -> bool {
    width.is_multiple_of(4)
        && arrays.iter().all(|array| array.layout().start_offset().is_multiple_of(4))
}

/// The name of a kernel for some element types.
pub(crate) fn kernel(name: &str, types: &[DType]) -> String {
    types.iter().fold(name.to_owned(), |name, dtype| name + "_" + dtype.as_str())
}

/// Runs a kernel on the device of the first array among its arguments.
///
/// # Errors
/// The kernels do not compile, or the device failed.
pub(crate) fn launch(
    kernels: &'static Kernels,
    name: &str,
    grid: Grid,
    arguments: &[Argument<'_>],
) -> Result<()> {
    if grid.blocks.contains(&0) {
        return Ok(());
    }
    let array = arguments.iter().find_map(|argument| match argument {
        Argument::Read(array) | Argument::Write(array) => Some(*array),
        Argument::Many(arrays) => arrays.iter().copied().flatten().next(),
        _ => None,
    });
    match array.map(Array::device) {
        #[cfg(feature = "cuda")]
        Some(Device::Cuda(device)) => super::driver::launch(device, kernels, name, grid, arguments),
        #[cfg(test)]
        Some(Device::Cpu) => super::emulated::launch(name, grid, arguments),
        device => {
            let what = format!("the kernel {name} was given arrays on {device:?}");
            Err(candle_core::Error::Msg(what).into())
        }
    }
}
