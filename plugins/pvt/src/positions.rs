//! Learned positions, resized to the grid at hand.

use hssl_plugin_api::{ResizeMode, Result, Tensor};

/// `pos_embed` (1, n*n, C), or (1, 1 + n*n, C) where a class token comes first, for a grid of `rows` x
/// `columns`: bilinear, without antialiasing. The class token's position stays as it is.
pub fn for_grid(
    pos_embed: &Tensor,
    built: usize,
    [rows, columns]: [usize; 2],
    class_token: bool,
) -> Result<Tensor> {
    if rows == built && columns == built {
        return Ok(pos_embed.clone());
    }
    let width = pos_embed.dim(-1)?;
    let class_tokens = usize::from(class_token);
    let map = pos_embed.narrow(1, class_tokens, built * built)?;
    let map = map.reshape((1, built, built, width))?;
    let map = map.resize([rows, columns], ResizeMode::Bilinear, false)?.flatten(1, 2)?;
    if class_token { Tensor::cat(&[&pos_embed.narrow(1, 0, 1)?, &map], 1) } else { Ok(map) }
}
