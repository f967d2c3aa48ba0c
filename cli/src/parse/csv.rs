//! One line of comma-separated values, as `--mount`, `--publish` and `--network` take them.

pub(crate) use skep_engine::filters::boolean;

/// The fields of one line; `"` quotes a field that holds commas, `""` is a quote within it.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err("parse error: bare \" in non-quoted field".to_owned()),
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if quoted {
        return Err("parse error: extraneous or missing \" in quoted-field".to_owned());
    }
    fields.push(field);
    Ok(fields)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas() {
        assert_eq!(fields("a,\"b,c\"\"d\",").unwrap(), ["a", "b,c\"d", ""]);
        assert!(fields("a,\"b").is_err());
        assert!(fields("a\"b").is_err());
    }
}
