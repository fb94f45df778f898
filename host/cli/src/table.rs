//! Tables on standard output.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table without frame: what `cut` and `awk` can take apart, and people can read.
pub fn plain<S: ToString>(headings: impl IntoIterator<Item = S>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings.into_iter().map(|heading| heading.to_string()));
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    table
}

/// A table of numbers: the first column names the row, the others are aligned right.
pub fn numbers<S: ToString>(headings: impl IntoIterator<Item = S>) -> Table {
    let mut table = plain(headings);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Writes it to standard output.
pub fn print(table: &Table) {
    for line in table.lines() {
        anstream::println!("{}", line.trim_end());
    }
}

/// `1,281,167`
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn digits_are_grouped_by_three() {
        let numbers = [0, 999, 1000, 1_281_167];
        assert_eq!(numbers.map(super::grouped), ["0", "999", "1,000", "1,281,167"]);
    }
}
