//! Positions: fixed ones, and how they are resized to the grid of the images at hand.

use hssl_plugin_api::nn::{FirstAxis, sin_cos_positions};
use hssl_plugin_api::{Init, Op, ResizeMode, Result, Tensor};

use crate::config::{PosEmbedResize, Sizes};

/// Sines and cosines for patches, 0 for class and register tokens.
pub fn fixed(sizes: &Sizes, first: FirstAxis) -> Init {
    let mut positions = vec![0.0; sizes.placed * sizes.width];
    positions.extend(sin_cos_positions([sizes.grid(); 2], sizes.width, first));
    Init::Values(positions)
}

/// `pos_embed` (1, P + n*n, C) for a grid of `rows` x `columns`: (1, P + rows*columns, C). The
/// positions of class and register tokens, `placed` = P of them, stay as they are.
pub fn for_grid(
    pos_embed: &Tensor,
    placed: usize,
    built: usize,
    [rows, columns]: [usize; 2],
    resize: PosEmbedResize,
    training: bool,
) -> Result<Tensor> {
    if rows == built && columns == built {
        return Ok(pos_embed.clone());
    }
    let (_, tokens, width) = pos_embed.dims3()?;
    let patches = pos_embed.narrow(1, placed, tokens - placed)?;
    let patches = patches.reshape((1, built, built, width))?;
    let dino = match resize {
        PosEmbedResize::Dino => true,
        PosEmbedResize::Timm => false,
        PosEmbedResize::Auto => training,
    };
    // DINO guards the output size against rounding by adding 0.1 to the number of cells; PyTorch
    // then samples with that scale, so it shows in the numbers.
    let scale = |cells: usize| if dino { (cells as f64 + 0.1) / built as f64 } else { 0.0 };
    let op = Op::Resize {
        output: [rows, columns],
        mode: ResizeMode::Bicubic,
        align_corners: false,
        antialias: !dino,
        scale_h: scale(rows),
        scale_w: scale(columns),
    };
    let patches = patches.with_optional(&op, &[], &[])?.reshape((1, rows * columns, width))?;
    if placed == 0 {
        return Ok(patches);
    }
    Tensor::cat(&[&pos_embed.narrow(1, 0, placed)?, &patches], 1)
}
