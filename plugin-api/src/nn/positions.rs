//! Positions that are not learned.

/// Which axis of a grid the first half of the channels tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstAxis {
    /// The column (MAE).
    Columns,
    /// The row (MoCo v3).
    Rows,
}

/// Sines and cosines (rows * columns, C) of a grid's positions, row by row: half of the channels for each
/// axis, and of each half sin(p w_j) and then cos(p w_j) with w_j = 10000^(-j / (C/4)). C must be a
/// multiple of 4; channels beyond that are 0.
pub fn sin_cos_positions([rows, columns]: [usize; 2], width: usize, first: FirstAxis) -> Vec<f64> {
    let quarter = width / 4;
    let mut positions = Vec::with_capacity(rows * columns * width);
    for row in 0..rows {
        for column in 0..columns {
            let axes = match first {
                FirstAxis::Columns => [column, row],
                FirstAxis::Rows => [row, column],
            };
            for position in axes {
                let angle = |j: usize| position as f64 * 1e4f64.powf(-(j as f64) / quarter as f64);
                positions.extend((0..quarter).map(|j| angle(j).sin()));
                positions.extend((0..quarter).map(|j| angle(j).cos()));
            }
            positions.extend((4 * quarter..width).map(|_| 0.0));
        }
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::{FirstAxis, sin_cos_positions};

    #[test]
    fn the_worked_example() {
        // 8 channels, 2 x 2 cells: row 0, column 1.
        let expected = [0.841471, 0.01, 0.540302, 0.99995, 0.0, 0.0, 1.0, 1.0];
        let close = |found: &[f64], expected: &[f64]| {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        let positions = sin_cos_positions([2, 2], 8, FirstAxis::Columns);
        assert!(close(&positions[8..16], &expected), "{positions:?}");
        // The other axis first: the halves change places.
        let positions = sin_cos_positions([2, 2], 8, FirstAxis::Rows);
        assert!(close(&positions[8..16], &[&expected[4..], &expected[..4]].concat()));
    }
}
