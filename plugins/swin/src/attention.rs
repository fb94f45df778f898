//! Multi-head self-attention inside windows, with a learned bias for each relative position.

use std::sync::Arc;

use hssl_plugin_api::nn::Linear;
use hssl_plugin_api::{Init, Params, Result, Tensor, refuse};

use crate::window::Windows;

/// softmax(q k^T / sqrt(head_dim) + bias) v per window; of a map that is shifted first in every other
/// block. `qkv` (3C, C), `proj` (C, C) and `relative_position_bias_table` (offsets, heads).
#[derive(Clone)]
pub struct WindowAttention {
    bias_table: Tensor,
    qkv: Linear,
    proj: Linear,
    heads: usize,
    windows: Arc<Windows>,
    shifted: bool,
}

impl WindowAttention {
    /// `shifted`: whether this block moves the windows by half their side, if there are several.
    pub fn new(
        width: usize,
        heads: usize,
        windows: &Arc<Windows>,
        shifted: bool,
        params: &Params<'_>,
    ) -> Result<Self> {
        if heads == 0 || !width.is_multiple_of(heads) {
            refuse!("{}: {heads} heads do not divide the width {width}", params.prefix());
        }
        let table = [windows.offsets(), heads];
        Ok(Self {
            bias_table: params.get("relative_position_bias_table", &table, Init::TRUNC_002)?,
            qkv: Linear::new(width, 3 * width, &params.pp("qkv"))?,
            proj: Linear::new(width, width, &params.pp("proj"))?,
            heads,
            windows: Arc::clone(windows),
            shifted: shifted && windows.can_shift(),
        })
    }

    /// (B, H, W, C) to (B, H, W, C).
    pub fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let (b, height, width, c) = map.dims4()?;
        let (heads, head_dim) = (self.heads, c / self.heads);
        let [rows, columns] = self.windows.count([height, width]);
        let (count, cells) = (rows * columns, self.windows.cells());

        let x = self.windows.cut(map, self.shifted)?;
        let qkv = self.qkv.forward(&x)?.reshape((b * count, cells, 3, heads, head_dim))?;
        let qkv = qkv.permute(&[2, 0, 3, 1, 4])?; // (3, B * windows, heads, N, D)
        let mut bias = self.windows.bias(&self.bias_table)?;
        let (mut batch, mut groups) = (b * count, heads);
        if self.shifted {
            // The mask differs between windows and not between images: windows count as heads, so
            // that one bias (windows * heads, N, N) serves the batch.
            (batch, groups) = (b, count * heads);
            let masked = bias.add(&self.windows.mask(map)?)?;
            bias = masked.reshape((groups, cells, cells))?;
        }
        let part = |i: usize| qkv.index(0, i)?.reshape((batch, groups, cells, head_dim));
        let scale = (head_dim as f64).powf(-0.5);
        let (y, _) = part(0)?.attention(&part(1)?, &part(2)?, Some(&bias), scale, false)?;

        let side = self.windows.side();
        let y = y.transpose(1, 2)?; // (batch, N, groups, D)
        let y = if self.shifted {
            y.reshape((b, side, side, rows, columns, c))?.permute(&[0, 3, 1, 4, 2, 5])?
        } else {
            y.reshape((b, rows, columns, side, side, c))?.permute(&[0, 1, 3, 2, 4, 5])?
        };
        self.proj.forward(&self.windows.join(&y, [height, width], self.shifted)?)
    }
}
