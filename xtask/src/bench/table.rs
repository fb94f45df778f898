//! What is shown: Markdown, so that it can go into docs/perf as it is.

/// Shows the head of a table.
pub fn head(title: &str, columns: &[&str]) {
    println!("\n{title}\n");
    row(columns);
    row(&columns.iter().map(|_| "---").collect::<Vec<_>>());
}

/// Shows a row.
pub fn row(cells: &[impl AsRef<str>]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    println!("| {} |", cells.join(" | "));
}

/// Smallest, middle and largest of some numbers; between the two middle ones where there are two.
pub fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    [values[0], f64::midpoint(below, above), values[values.len() - 1]]
}

/// How many times as fast one side is: the middle of the turns, and their least and most. Turn by
/// turn, because neighbours met the same machine.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> String {
    let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let [least, middle, most] = spread(ratios);
    format!("{middle:.2} ({least:.2} to {most:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_smallest_middle_largest() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), [1.0, 2.0, 3.0]);
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]), [1.0, 2.5, 4.0]);
        assert_eq!(spread(vec![1.0]), [1.0; 3]);
    }

    #[test]
    fn ratios_are_taken_turn_by_turn() {
        assert_eq!(ratio(&[2.0, 30.0, 4.0], &[1.0, 10.0, 4.0]), "2.00 (1.00 to 3.00)");
    }
}
