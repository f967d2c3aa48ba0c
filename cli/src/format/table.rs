//! Tables as docker lays them out: columns at least 10 wide, 3 spaces between them, the last one ragged.

const WIDTH_MIN: usize = 10;
const PADDING: usize = 3;

/// The lines of a table, each cell but the last padded to its column's width.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let longest = rows.iter().filter(|row| column + 1 < row.len()).map(|row| length(&row[column])).max();
        longest.map_or(0, |longest| (longest + PADDING).max(WIDTH_MIN))
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let padding = widths[column].saturating_sub(length(cell));
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.push('\n');
    }
    text
}

/// Tab-separated lines, aligned.
pub(crate) fn from_tabs(lines: &str) -> String {
    let rows: Vec<Vec<String>> = lines.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    aligned(&rows)
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_as_docker_does() {
        let rows = [["ID", "NAME", "PORTS"], ["abc", "a-longer-name", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "ID        NAME            PORTS\nabc       a-longer-name   \n");
        assert_eq!(from_tabs("a\tb\n"), "a         b\n");
        assert_eq!(aligned(&[]), "");
    }
}
