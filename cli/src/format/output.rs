//! Lists and inspections: a table by default, else what `--format` asks for.

use anyhow::{Result, anyhow};
use serde_json::Value;
use skep_engine::template::{self, Data};

use super::table;

/// A column of a list: its header and the field that fills it.
pub(crate) type Column = (&'static str, &'static str);

/// The field of a row that a column of the default table shows and no template knows.
const TABLE_ONLY: &str = "IDAndSelf";

/// A list: columns shown by default, and rows as JSON objects of strings.
pub(crate) struct List<'a> {
    /// The columns of the default table.
    pub columns: &'a [Column],
    /// Headers of fields that are not among the default columns, for `table` templates.
    pub more: &'a [Column],
    /// The rows.
    pub rows: Vec<Value>,
}

impl List<'_> {
    /// Prints it: `-q` prints the `id_field` only.
    pub(crate) fn print(&self, format: Option<&str>, quiet: Option<&str>) -> Result<()> {
        let text = match (quiet, given(format)) {
            (Some(field), None) => self.rows.iter().map(|row| format!("{}\n", cell(row, field))).collect(),
            (_, None | Some("table")) => self.table(),
            (_, Some("json")) => self.sorted_rows().map(|row| format!("{}\n", plain(row))).collect(),
            (_, Some(format)) => match format.strip_prefix("table") {
                Some(rest) if rest.starts_with([' ', '\t']) || rest.starts_with("\\t") => {
                    self.templated_table(rest.trim_start())?
                }
                _ => self.templated(format)?,
            },
        };
        print(&text)
    }

    fn table(&self) -> String {
        let header = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let rows = self.rows.iter().map(|row| self.columns.iter().map(|(_, field)| cell(row, field)).collect());
        table::aligned(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
    }

    /// A list's rows have their fields in the order of the alphabet; what is inspected keeps its own.
    fn sorted_rows(&self) -> impl Iterator<Item = Value> {
        self.rows.iter().cloned().map(|mut row| {
            row.sort_all_objects();
            if let Some(fields) = row.as_object_mut() {
                fields.shift_remove(TABLE_ONLY);
            }
            row
        })
    }

    fn templated(&self, format: &str) -> Result<String> {
        let template = template::compile(format, Data::Row).map_err(|error| anyhow!(error))?;
        let mut text = String::new();
        for row in self.sorted_rows() {
            text.push_str(&template.render_row(&row).map_err(|error| anyhow!(error))?);
            text.push('\n');
        }
        Ok(text)
    }

    fn templated_table(&self, format: &str) -> Result<String> {
        let template = template::compile(format, Data::Headers).map_err(|error| anyhow!(error))?;
        let headers: serde_json::Map<String, Value> = self
            .columns
            .iter()
            .chain(self.more)
            .map(|(title, field)| ((*field).to_owned(), Value::String((*title).to_owned())))
            .collect();
        let header = template.render_headers(&Value::Object(headers)).map_err(|error| anyhow!(error))?;
        Ok(table::from_tabs(&format!("{header}\n{}", self.templated(format)?)))
    }
}

/// What was asked for: an empty format asks for nothing.
pub(crate) fn given(format: Option<&str>) -> Option<&str> {
    format.filter(|format| !format.is_empty())
}

/// A row without its method.
fn plain(mut row: Value) -> Value {
    if let Some(fields) = row.as_object_mut() {
        fields.shift_remove(template::METHOD);
    }
    row
}

fn cell(row: &Value, field: &str) -> String {
    match row.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Prints the objects of an `inspect`: an indented array, or one line each.
pub(crate) fn inspect(objects: &[Value], format: Option<&str>) -> Result<()> {
    let text = match given(format) {
        None => format!("{}\n", indented(&Value::Array(objects.to_vec()))?),
        Some("json") => objects.iter().map(|object| format!("{object}\n")).collect(),
        Some(format) => {
            let template = template::compile(format, Data::Object).map_err(|error| anyhow!(error))?;
            let mut text = String::new();
            for object in objects {
                text.push_str(&template.render(object).map_err(|error| anyhow!(error))?);
                text.push('\n');
            }
            text
        }
    };
    print(&text)
}

/// JSON with docker's four spaces.
pub(crate) fn indented(value: &Value) -> Result<String> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer)?;
    Ok(String::from_utf8(bytes)?)
}

/// Writes to the standard output; a reader who has gone away is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()).and_then(|()| std::io::stdout().lock().flush()) {
        Err(failure) if failure.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Prints a line; a reader who has gone away is no error.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<()> {
    print(&format!("{text}\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list() -> List<'static> {
        List {
            columns: &[("ID", "ID"), ("NAME", "Names")],
            more: &[("SIZE", "Size")],
            rows: vec![json!({"ID": "abc", "Names": "web", "Size": "1kB"})],
        }
    }

    #[test]
    fn tables_have_headers() {
        assert_eq!(list().table(), "ID        NAME\nabc       web\n");
        assert_eq!(list().templated_table("{{.Names}}\\t{{.Size}}").unwrap(), "NAME      SIZE\nweb       1kB\n");
        assert_eq!(list().templated("{{.ID}}").unwrap(), "abc\n");
    }

    #[test]
    fn helpers_of_the_table_are_not_data() {
        let rows = vec![json!({"ID": "abc", "IDAndSelf": "abc *", "Label": {"k": "v"}})];
        let list = List { rows, ..list() };
        assert_eq!(list.templated("{{json .}} {{.Label \"k\"}}").unwrap(), "{\"ID\":\"abc\"} v\n");
        assert!(list.templated("{{.IDAndSelf}}").is_err());
        let rows: Vec<Value> = list.sorted_rows().map(plain).collect();
        assert_eq!(rows, [json!({"ID": "abc"})]);
    }

    #[test]
    fn an_empty_format_is_none() {
        assert_eq!(given(Some("")), None);
        assert_eq!(given(Some("json")), Some("json"));
    }

    #[test]
    fn rows_are_sorted_and_inspections_are_not() {
        let rows = vec![json!({"Names": "web", "ID": "abc"})];
        let text = List { rows, ..list() }.templated("{{json .}}").unwrap();
        assert_eq!(text, "{\"ID\":\"abc\",\"Names\":\"web\"}\n");
        assert_eq!(json!({"Names": "web", "ID": "abc"}).to_string(), "{\"Names\":\"web\",\"ID\":\"abc\"}");
    }

    #[test]
    fn json_is_indented_by_four() {
        assert_eq!(indented(&json!([{"a": 1}])).unwrap(), "[\n    {\n        \"a\": 1\n    }\n]");
    }
}
