//! Go's text/template, as `--format` takes it. The only module that knows which crate does it.

use std::collections::HashMap;
use std::str::FromStr;

use gtmpl::{Context, FuncError, Template, Value as Item};
use serde_json::Value;

type Function = fn(&[Item]) -> Result<Item, FuncError>;

/// A template that was read without error.
pub struct Compiled(Template);

/// Reads a template; `\\t` and `\\n` written out are what they stand for, as docker's client has it.
pub fn compile(text: &str) -> Result<Compiled, String> {
    compile_verbatim(&text.replace("\\t", "\t").replace("\\n", "\n"))
}

/// Reads a template as it is.
pub fn compile_verbatim(text: &str) -> Result<Compiled, String> {
    let mut template = Template::default();
    let functions: [(&str, Function); 8] = [
        ("json", json),
        ("join", join),
        ("split", split),
        ("lower", lower),
        ("upper", upper),
        ("title", title),
        ("pad", pad),
        ("truncate", truncate),
    ];
    for (name, function) in functions {
        template.add_func(name, function);
    }
    template.parse(text).map_err(|failure| format!("template parsing error: {failure}"))?;
    Ok(Compiled(template))
}

impl Compiled {
    /// What it makes of an object.
    pub fn render(&self, data: &Value) -> Result<String, String> {
        self.0.render(&Context::from(item(data))).map_err(|failure| format!("template: {failure}"))
    }
}

fn item(value: &Value) -> Item {
    match value {
        Value::Null => Item::Nil,
        Value::Bool(flag) => Item::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => Item::from(whole),
            (_, Some(whole), _) => Item::from(whole),
            (.., float) => Item::from(float.unwrap_or(0.0)),
        },
        Value::String(text) => Item::String(text.clone()),
        Value::Array(items) => Item::Array(items.iter().map(item).collect()),
        Value::Object(fields) => {
            Item::Map(fields.iter().map(|(name, field)| (name.clone(), item(field))).collect::<HashMap<_, _>>())
        }
    }
}

fn value(item: &Item) -> Value {
    match item {
        Item::NoValue | Item::Nil | Item::Function(_) => Value::Null,
        Item::Bool(flag) => Value::Bool(*flag),
        Item::String(text) => Value::String(text.clone()),
        Item::Array(items) => Value::Array(items.iter().map(value).collect()),
        Item::Object(fields) | Item::Map(fields) => {
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), value(field))).collect())
        }
        Item::Number(number) => serde_json::Number::from_str(&number.to_string()).map_or(Value::Null, Value::Number),
    }
}

fn argument(items: &[Item], index: usize) -> Result<&Item, FuncError> {
    items.get(index).ok_or_else(|| FuncError::Generic("too few arguments".to_owned()))
}

fn text(items: &[Item], index: usize) -> Result<String, FuncError> {
    Ok(match argument(items, index)? {
        Item::String(text) => text.clone(),
        other => other.to_string(),
    })
}

fn number(items: &[Item], index: usize) -> Result<usize, FuncError> {
    text(items, index)?.parse().map_err(|_| FuncError::Generic("expected a number".to_owned()))
}

fn json(items: &[Item]) -> Result<Item, FuncError> {
    Ok(Item::String(value(argument(items, 0)?).to_string()))
}

fn join(items: &[Item]) -> Result<Item, FuncError> {
    let separator = text(items, 1)?;
    let Item::Array(words) = argument(items, 0)? else {
        return Ok(Item::String(String::new()));
    };
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    Ok(Item::String(words.join(&separator)))
}

fn split(items: &[Item]) -> Result<Item, FuncError> {
    let (whole, separator) = (text(items, 0)?, text(items, 1)?);
    Ok(Item::Array(whole.split(&separator).map(|part| Item::String(part.to_owned())).collect()))
}

fn lower(items: &[Item]) -> Result<Item, FuncError> {
    Ok(Item::String(text(items, 0)?.to_lowercase()))
}

fn upper(items: &[Item]) -> Result<Item, FuncError> {
    Ok(Item::String(text(items, 0)?.to_uppercase()))
}

fn title(items: &[Item]) -> Result<Item, FuncError> {
    let mut titled = String::new();
    let mut start = true;
    for character in text(items, 0)?.chars() {
        if start {
            titled.extend(character.to_uppercase());
        } else {
            titled.push(character);
        }
        start = character.is_whitespace();
    }
    Ok(Item::String(titled))
}

fn pad(items: &[Item]) -> Result<Item, FuncError> {
    let whole = text(items, 0)?;
    if whole.is_empty() {
        return Ok(Item::String(whole));
    }
    let (before, after) = (number(items, 1)?, number(items, 2)?);
    Ok(Item::String(format!("{}{whole}{}", " ".repeat(before), " ".repeat(after))))
}

fn truncate(items: &[Item]) -> Result<Item, FuncError> {
    let limit = number(items, 1)?;
    Ok(Item::String(text(items, 0)?.chars().take(limit).collect()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(template: &str, data: &Value, expected: &str) {
        assert_eq!(compile(template).unwrap().render(data).unwrap(), expected, "{template}");
    }

    #[test]
    fn renders_what_people_write() {
        let data = json!({
            "State": {"Status": "running", "Pid": 42, "Running": true},
            "Args": ["a", "b"],
            "Config": {"Labels": {"x.y": "1"}},
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
            "Ports": {"80/tcp": [{"HostPort": "8080"}]},
            "Empty": null,
        });
        check("{{.State.Status}} {{.State.Pid}}", &data, "running 42");
        check("{{json .Args}}", &data, "[\"a\",\"b\"]");
        check("{{json .State.Running}}", &data, "true");
        check("{{join .Args \",\"}}", &data, "a,b");
        check("{{index .Config.Labels \"x.y\"}}", &data, "1");
        check("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &data, "172.17.0.2");
        check(
            "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}",
            &data,
            "bridge=172.17.0.2",
        );
        check("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", &data, "8080");
        check("{{upper .State.Status}}{{\"\\t\"}}{{title .State.Status}}", &data, "RUNNING\tRunning");
        check("{{if .State.Running}}up{{else}}down{{end}}", &data, "up");
        check("{{pad .State.Status 1 2}}|", &data, " running  |");
        check("{{truncate .State.Status 3}}", &data, "run");
        check("{{.State.Status}}\\t{{len .Args}}", &data, "running\t2");
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(compile("{{.A").is_err());
        assert!(compile("{{nofunction .A}}").and_then(|t| t.render(&json!({}))).is_err());
    }
}
