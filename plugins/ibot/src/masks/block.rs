//! Blocks of patches, as BEiT and iBOT hide them.

use hssl_plugin_api::Result;

use super::Draws;

/// Tries to place one block.
const ATTEMPTS: usize = 10;
/// Height over width is between this and its inverse.
const NARROWEST: f64 = 0.3;

/// Hides rectangles of patches of a `[rows, columns]` grid until `ratio` of it is hidden, or until a
/// rectangle finds no place; so it hides less than `ratio` on average.
pub fn block_mask(draws: &mut Draws<'_>, grid: [usize; 2], ratio: f64) -> Result<Vec<u8>> {
    let mut mask = vec![0; grid[0] * grid[1]];
    let budget = ratio * mask.len() as f64;
    let mut hidden = 0;
    while (hidden as f64) < budget {
        match hide_block(draws, &mut mask, grid, budget - hidden as f64)? {
            0 => break,
            more => hidden += more,
        }
    }
    Ok(mask)
}

/// Hides one block, which may overlap others, of at most `room` more patches; returns how many.
fn hide_block(
    draws: &mut Draws<'_>,
    mask: &mut [u8],
    [rows, columns]: [usize; 2],
    room: f64,
) -> Result<usize> {
    let smallest = (rows.min(columns) / 3).pow(2) as f64;
    for _ in 0..ATTEMPTS {
        // `smallest` may be the larger of the two, near the end.
        let area = draws.between(smallest, room)?;
        let aspect = draws.between(NARROWEST.ln(), -NARROWEST.ln())?.exp();
        let height = (area * aspect).sqrt().round_ties_even() as usize;
        let width = (area / aspect).sqrt().round_ties_even() as usize;
        if height >= rows || width >= columns {
            continue;
        }
        let (top, left) = (draws.below(rows - height + 1)?, draws.below(columns - width + 1)?);
        let cells = (top..top + height)
            .flat_map(|row| (left..left + width).map(move |column| row * columns + column));
        let fresh: Vec<usize> = cells.filter(|cell| mask[*cell] == 0).collect();
        if !fresh.is_empty() && fresh.len() as f64 <= room {
            fresh.iter().for_each(|cell| mask[*cell] = 1);
            return Ok(fresh.len());
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::draws::tests::draws;
    use super::*;

    fn count(mask: &[u8]) -> usize {
        mask.iter().filter(|m| **m == 1).count()
    }

    #[test]
    fn a_mask_stays_within_its_budget_and_comes_near_it() {
        let mut draws = draws(2);
        let mut shares = 0.0;
        for round in 0..2000 {
            let ratio = 0.1 + 0.4 * f64::from(round) / 2000.0;
            let hidden = count(&block_mask(&mut draws, [14, 14], ratio).unwrap()) as f64;
            assert!(hidden > 0.0 && hidden <= ratio * 196.0, "{hidden} of {}", ratio * 196.0);
            shares += hidden / (ratio * 196.0) / 2000.0;
        }
        // Budgets are real numbers, and a last block may find no place.
        assert!((0.85..1.0).contains(&shares), "{shares}");
    }

    #[test]
    fn the_first_block_is_a_rectangle_of_allowed_size_and_shape() {
        let mut draws = draws(3);
        let (mut tall, mut wide) = (0, 0);
        for _ in 0..2000 {
            let mut mask = vec![0; 196];
            let hidden = hide_block(&mut draws, &mut mask, [14, 14], 60.0).unwrap();
            let rows: Vec<usize> = (0..196).filter(|i| mask[*i] == 1).map(|i| i / 14).collect();
            let columns: Vec<usize> = (0..196).filter(|i| mask[*i] == 1).map(|i| i % 14).collect();
            let extent = |of: &[usize]| of.iter().max().unwrap() - of.iter().min().unwrap() + 1;
            let (height, width) = (extent(&rows), extent(&columns));
            assert_eq!(height * width, hidden, "a full rectangle");
            assert!(height < 14 && width < 14);
            // Rounding moves each side by at most a half.
            assert!(hidden <= 60 && (height as f64 + 0.5) * (width as f64 + 0.5) >= 16.0);
            let aspect = (height as f64 - 0.5) / (width as f64 + 0.5);
            assert!(aspect <= 1.0 / NARROWEST, "{height} x {width}");
            tall += usize::from(height > width);
            wide += usize::from(width > height);
        }
        assert!(tall.abs_diff(wide) < 200, "{tall} tall and {wide} wide ones");
    }

    #[test]
    fn nothing_is_hidden_where_no_block_fits() {
        assert_eq!(count(&block_mask(&mut draws(4), [14, 14], 0.0).unwrap()), 0);
        // A block must be smaller than the grid in both directions.
        assert_eq!(count(&block_mask(&mut draws(4), [1, 1], 0.5).unwrap()), 0);
    }

    #[test]
    fn a_block_reaches_every_corner() {
        let mut draws = draws(5);
        let mut hit = [false; 4];
        for _ in 0..500 {
            let mask = block_mask(&mut draws, [6, 9], 0.3).unwrap();
            for (corner, cell) in [0, 8, 45, 53].into_iter().enumerate() {
                hit[corner] |= mask[cell] == 1;
            }
        }
        assert_eq!(hit, [true; 4]);
    }
}
