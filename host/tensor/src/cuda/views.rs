//! Batches of images: bytes that become floats where they are used.

use super::{Argument, Grid, empty, files, launch, upload};
use crate::{Array, DType, Device, Result};

/// Views (.., 3, H, W) of bytes on a GPU, each as its channel's table says: a quarter of what floats
/// would take goes there.
///
/// # Errors
/// The bytes do not fill the shape, or the device failed.
pub fn normalised(
    bytes: &[u8],
    shape: &[usize],
    tables: &[[f32; 256]; 3],
    device: &Device,
) -> Result<Array> {
    let x = upload(bytes, shape, device)?;
    let tables = upload(tables.as_flattened(), (3, 256), device)?;
    let y = empty(shape, DType::F32, device)?;
    let plane = shape.iter().rev().take(2).product();
    launch(
        &files::VIEWS,
        "look_up",
        Grid::pieces(x.elem_count()),
        &[
            Argument::Write(&y),
            Argument::Read(&x),
            Argument::Read(&tables),
            Argument::count(&x),
            Argument::size(plane),
        ],
    )?;
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_table() {
        let bytes: Vec<u8> = (0..2 * 3 * 5 * 7).map(|at| (at * 37 % 256) as u8).collect();
        let mut tables = [[0.0; 256]; 3];
        for (channel, table) in tables.iter_mut().enumerate() {
            for (value, entry) in table.iter_mut().enumerate() {
                *entry = (1000 * channel + value) as f32;
            }
        }
        let found = normalised(&bytes, &[2, 3, 5, 7], &tables, &Device::Cpu).unwrap();
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (at, (found, byte)) in found.iter().zip(&bytes).enumerate() {
            assert_eq!(*found, (1000 * (at / 35 % 3)) as f32 + f32::from(*byte));
        }
    }
}
