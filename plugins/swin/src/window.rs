//! Windows: how a map is cut into them and put together again, and the constants that go with them.

use std::sync::{Mutex, PoisonError};

use hssl_plugin_api::{Params, Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When zeros are added to a map whose sides are no multiples of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// After the cyclic shift, as timm does. The mask is made for the padded map, so some cells of the
    /// last windows then see cells from the opposite side of the map.
    AfterShift,
    /// Before it, as the original program for detection and iBOT do: the border is shifted too, and only
    /// neighbours see each other.
    BeforeShift,
}

/// Added to the scores of cells that a shifted window joins but the map does not.
const APART: f32 = -100.0;
/// Grids whose masks are kept: those of global and local crops, and of an evaluation in between.
const KEPT: usize = 4;

/// The square windows that the blocks of one stage share.
pub struct Windows {
    side: usize,
    shift: usize,
    padding: Padding,
    index: Tensor,
    /// By padded grid, oldest first.
    masks: Mutex<Vec<([usize; 2], Tensor)>>,
}

impl Windows {
    /// Windows of `side` x `side` cells, made for maps of `grid`; others are taken as well. If one
    /// window covers the shorter side of that grid, windows shrink to it and none are shifted.
    pub fn new(
        side: usize,
        grid: [usize; 2],
        padding: Padding,
        params: &Params<'_>,
    ) -> Result<Self> {
        let shorter = grid[0].min(grid[1]);
        let (side, shift) = if shorter <= side { (shorter, 0) } else { (side, side / 2) };
        let index = relative_positions(side);
        let index = params.context().tensor(&index, index.len())?;
        Ok(Self { side, shift, padding, index, masks: Mutex::default() })
    }

    /// Cells per side of a window.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Cells in a window, N.
    pub fn cells(&self) -> usize {
        self.side * self.side
    }

    /// Offsets between two of its cells: rows of the bias table.
    pub fn offsets(&self) -> usize {
        (2 * self.side - 1).pow(2)
    }

    /// Whether blocks can be shifted.
    pub fn can_shift(&self) -> bool {
        self.shift > 0
    }

    /// The bias of each pair of cells, (heads, N, N), from the table (offsets, heads).
    pub fn bias(&self, table: &Tensor) -> Result<Tensor> {
        let (heads, cells) = (table.dim(1)?, self.cells());
        table.t()?.index_select(&self.index, 1)?.reshape((heads, cells, cells))
    }

    /// Rows and columns of windows on a map.
    pub fn count(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        [height.div_ceil(self.side), width.div_ceil(self.side)]
    }

    /// A map (B, H, W, C), shifted or not, to windows (B * windows, N, C), windows row by row.
    pub fn cut(&self, map: &Tensor, shifted: bool) -> Result<Tensor> {
        let (b, height, width, c) = map.dims4()?;
        let [rows, columns] = self.count([height, width]);
        let pads = [0, 0, 0, rows * self.side - height, 0, columns * self.side - width, 0, 0];
        let map = match (shifted, self.padding) {
            (false, _) => map.pad(&pads, 0.0)?,
            (true, Padding::AfterShift) => self.roll(map, -1)?.pad(&pads, 0.0)?,
            (true, Padding::BeforeShift) => self.roll(&map.pad(&pads, 0.0)?, -1)?,
        };
        map.reshape((b, rows, self.side, columns, self.side, c))?
            .permute(&[0, 1, 3, 2, 4, 5])?
            .reshape((b * rows * columns, self.cells(), c))
    }

    /// Back: what [`Windows::cut`] cut, laid out as (B, rows, side, columns, side, C), to the map of
    /// `grid` cells.
    pub fn join(&self, cut: &Tensor, grid: [usize; 2], shifted: bool) -> Result<Tensor> {
        let [height, width] = grid;
        let [rows, columns] = self.count(grid);
        let (b, c) = (cut.dim(0)?, cut.dim(-1)?);
        let map = cut.reshape((b, rows * self.side, columns * self.side, c))?;
        let crop = |map: &Tensor| map.narrow(1, 0, height)?.narrow(2, 0, width);
        match (shifted, self.padding) {
            (false, _) => crop(&map),
            (true, Padding::AfterShift) => self.roll(&crop(&map)?, 1),
            (true, Padding::BeforeShift) => crop(&self.roll(&map, 1)?),
        }
    }

    fn roll(&self, map: &Tensor, direction: i64) -> Result<Tensor> {
        map.roll(&[direction * self.shift as i64; 2], &[1, 2])
    }

    /// What keeps cells apart that only the shift made neighbours: (windows, 1, N, N), 0 or -100.
    pub fn mask(&self, map: &Tensor) -> Result<Tensor> {
        let grid = self.count([map.dim(1)?, map.dim(2)?]);
        let mut masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mask)) = masks.iter().find(|(of, _)| *of == grid) {
            return Ok(mask.clone());
        }
        let cells = self.cells();
        let values = shift_mask(grid, self.side, self.shift);
        let mask = Tensor::from_slice(map.host(), &values, (grid[0] * grid[1], 1, cells, cells))?;
        if masks.len() == KEPT {
            masks.remove(0);
        }
        masks.push((grid, mask.clone()));
        Ok(mask)
    }
}

/// Row of the bias table for each pair of cells of a window: (row offset + side - 1) (2 side - 1) +
/// column offset + side - 1.
fn relative_positions(side: usize) -> Vec<i64> {
    let cells = || (0..side * side).map(|cell| (cell / side, cell % side));
    let offset = |a: usize, b: usize| a + side - 1 - b;
    cells()
        .flat_map(|query| {
            cells().map(move |key| offset(query.0, key.0) * (2 * side - 1) + offset(query.1, key.1))
        })
        .map(|row| row as i64)
        .collect()
}

/// For each of `rows` x `columns` windows of a shifted map, -100 between cells of different regions.
/// Along a side of n cells the regions are [0, n - side), [n - side, n - shift) and [n - shift, n).
fn shift_mask([rows, columns]: [usize; 2], side: usize, shift: usize) -> Vec<f32> {
    let region = |windows: usize, window: usize, cell: usize| match window + 1 == windows {
        false => 0,
        true => 1 + usize::from(cell >= side - shift),
    };
    let mut mask = Vec::with_capacity(rows * columns * side.pow(4));
    for window in 0..rows * columns {
        let regions: Vec<_> = (0..side * side)
            .map(|cell| {
                let row = region(rows, window / columns, cell / side);
                (row, region(columns, window % columns, cell % side))
            })
            .collect();
        for query in &regions {
            mask.extend(regions.iter().map(|key| if query == key { 0.0 } else { APART }));
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_offsets_share_a_row_of_the_table() {
        // Cells of a 2 x 2 window: (0, 0), (0, 1), (1, 0), (1, 1).
        let expected = [4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4];
        assert_eq!(relative_positions(2), expected);
    }

    #[test]
    fn only_the_last_windows_hold_what_wrapped_around() {
        let mask = shift_mask([1, 2], 2, 1);
        let (first, last) = mask.split_at(16);
        // One row of windows: in both, the lower row of cells came from the top.
        let apart = |a: usize, b: usize| if a == b { 0.0 } else { APART };
        for (query, key) in (0..4).flat_map(|query| (0..4).map(move |key| (query, key))) {
            assert_eq!(first[4 * query + key], apart(query / 2, key / 2));
            assert_eq!(last[4 * query + key], apart(query, key));
        }
    }
}
