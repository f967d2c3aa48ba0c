//! Go's text/template, as `--format` takes it. The only module that knows which crate does it.

mod fields;
mod functions;
mod zero;

use std::sync::Arc;

use gotmpl::parse::Parser;
use gotmpl::{Template, TemplateError, Value as Item};
use serde_json::Value;

/// The field of a row that holds its labels, and that templates call: `{{.Label "key"}}`.
pub const METHOD: &str = "Label";

/// What a template is about to be rendered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// An object in the shape of docker's API.
    Object,
    /// The row of a list: `Label` is a method.
    Row,
    /// The headers of a list: any function of a header is the header.
    Headers,
}

/// A template that was read without error.
pub struct Compiled(Template);

/// Reads a template; `\\t` and `\\n` written out are what they stand for, as docker's client has it.
pub fn compile(text: &str, data: Data) -> Result<Compiled, String> {
    read(&text.replace("\\t", "\t").replace("\\n", "\n"), data)
}

/// Reads a template of an object as it is.
pub(crate) fn compile_verbatim(text: &str) -> Result<Compiled, String> {
    read(text, Data::Object)
}

fn read(text: &str, data: Data) -> Result<Compiled, String> {
    let (mut tree, defines) =
        Parser::with_name(Some(""), text, "{{", "}}").and_then(Parser::parse).map_err(|failure| said(&failure))?;
    let mut fields = fields::Fields::new(text, data);
    fields.list(&mut tree)?;
    let mut template = functions::add(Template::new(""), data);
    for mut define in defines {
        fields.list(&mut define.body)?;
        template = template.add_parse_tree(&define.name, define.body);
    }
    template = template.add_parse_tree("", tree);
    Ok(Compiled(fields.add(template)))
}

fn said(failure: &TemplateError) -> String {
    let text = match failure {
        TemplateError::Exec(text) => text.clone(),
        other => other.to_string(),
    };
    if text.starts_with("template: ") {
        return format!("template parsing error: {text}");
    }
    format!("template parsing error: template: {text}")
}

impl Compiled {
    /// What it makes of an object.
    pub fn render(&self, data: &Value) -> Result<String, String> {
        self.execute(&item(data))
    }

    /// What it makes of a list's row.
    pub fn render_row(&self, row: &Value) -> Result<String, String> {
        let mut data = item(row);
        if let Item::Map(fields) = &mut data
            && let Some(label) = Arc::make_mut(fields).get_mut(METHOD)
        {
            *label = functions::label(label.clone());
        }
        self.execute(&data)
    }

    /// What it makes of a list's headers.
    pub fn render_headers(&self, headers: &Value) -> Result<String, String> {
        let mut data = item(headers);
        if let Item::Map(fields) = &mut data {
            Arc::make_mut(fields).insert(METHOD.into(), functions::label_header());
        }
        self.execute(&data)
    }

    fn execute(&self, data: &Item) -> Result<String, String> {
        self.0.execute_template_to_string("", data).map_err(|failure| said(&failure))
    }
}

fn item(value: &Value) -> Item {
    match value {
        Value::Null => Item::Nil,
        Value::Bool(flag) => Item::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => Item::Int(whole),
            (_, Some(whole), _) => Item::Uint(whole),
            (.., float) => Item::Float(float.unwrap_or(0.0)),
        },
        Value::String(text) => Item::String(text.as_str().into()),
        Value::Array(items) => Item::List(items.iter().map(item).collect()),
        Value::Object(fields) => {
            Item::Map(Arc::new(fields.iter().map(|(name, field)| (name.as_str().into(), item(field))).collect()))
        }
    }
}

#[cfg(test)]
mod tests;
