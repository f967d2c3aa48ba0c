//! The functions docker adds to Go's, and those of Go's that ask for the type of a nil value.

use gotmpl::{Result, Template, TemplateError, Value as Item};
use serde_json::Value;

use super::Data;

type Function = fn(&[Item]) -> Result<Item>;

/// What a template can call: Go's own and docker's.
pub(super) const NAMES: [&str; 27] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery",
];

/// More blanks than any terminal is wide.
const PAD_MAX: i64 = 4096;

/// Gives a template its functions.
pub(super) fn add(template: Template, data: Data) -> Template {
    let functions: [(&str, Function); 10] = [
        ("index", index),
        ("len", len),
        ("pad", pad),
        ("json", json),
        ("join", join),
        ("split", split),
        ("lower", lower),
        ("upper", upper),
        ("title", title),
        ("truncate", truncate),
    ];
    functions.into_iter().fold(template, |template, (name, function)| match data {
        Data::Headers if !matches!(name, "index" | "len" | "pad") => template.func(name, same),
        _ => template.func(name, function),
    })
}

/// The method that finds one label among all.
pub(super) fn label(labels: Item) -> Item {
    Item::Function(std::sync::Arc::new(move |arguments| {
        let [Item::String(name)] = arguments else {
            return fail(format!("wrong number of args for Label: want 1 got {}", arguments.len()));
        };
        Ok(labels.field(name).cloned().unwrap_or_else(|| Item::String("".into())))
    }))
}

/// The column's header of one label: the last part of its name.
pub(super) fn label_header() -> Item {
    Item::Function(std::sync::Arc::new(|arguments| {
        let name = text(arguments, 0)?;
        Ok(string(name.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ")))
    }))
}

/// Fails with these words.
pub(super) fn fail<T>(words: String) -> Result<T> {
    Err(TemplateError::Exec(words))
}

fn value(item: &Item) -> Value {
    match item {
        Item::Nil | Item::Function(_) => Value::Null,
        Item::Bool(flag) => Value::Bool(*flag),
        Item::Int(number) => Value::from(*number),
        Item::Uint(number) => Value::from(*number),
        Item::Float(number) => Value::from(*number),
        Item::String(text) => Value::from(&**text),
        Item::List(items) => Value::Array(items.iter().map(value).collect()),
        Item::Map(fields) => {
            let data = fields.iter().filter(|(_, field)| !matches!(field, Item::Function(_)));
            Value::Object(data.map(|(name, field)| (name.to_string(), value(field))).collect())
        }
    }
}

fn string(text: String) -> Item {
    Item::String(text.into())
}

fn argument(items: &[Item], index: usize) -> Result<&Item> {
    items.get(index).map_or_else(|| fail("too few arguments".to_owned()), Ok)
}

fn text(items: &[Item], index: usize) -> Result<String> {
    argument(items, index).map(ToString::to_string)
}

fn number(items: &[Item], index: usize) -> Result<usize> {
    match argument(items, index)? {
        Item::Int(number) if (0..=PAD_MAX).contains(number) => Ok(usize::try_from(*number).unwrap_or_default()),
        other => fail(format!("expected a number from 0 to {PAD_MAX}, got {other}")),
    }
}

fn same(items: &[Item]) -> Result<Item> {
    argument(items, 0).cloned()
}

/// Go knows the type of what a map does not have: of strings it is the empty one.
fn index(items: &[Item]) -> Result<Item> {
    let mut found = argument(items, 0)?.clone();
    for key in &items[1..] {
        found = match (&found, key) {
            (Item::Nil, Item::String(_)) => Item::String("".into()),
            (Item::Map(fields), Item::String(key)) => match fields.get(key) {
                Some(field) => field.clone(),
                None if fields.values().all(|field| matches!(field, Item::String(_))) => Item::String("".into()),
                None => Item::Nil,
            },
            (Item::Nil, Item::Int(at)) => return fail(format!("error calling index: index out of range: {at}")),
            _ => match found.index(key) {
                Ok(item) => item,
                Err(TemplateError::Exec(words)) => return fail(format!("error calling index: {words}")),
                Err(failure) => return fail(format!("error calling index: {failure}")),
            },
        };
    }
    Ok(found)
}

fn len(items: &[Item]) -> Result<Item> {
    let length = match argument(items, 0)? {
        Item::Nil => 0,
        other => match other.len() {
            Some(length) => length,
            None => return fail(format!("error calling len: len of type {}", other.type_name())),
        },
    };
    Ok(Item::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn json(items: &[Item]) -> Result<Item> {
    Ok(string(value(argument(items, 0)?).to_string()))
}

fn join(items: &[Item]) -> Result<Item> {
    let separator = text(items, 1)?;
    let Item::List(words) = argument(items, 0)? else {
        return Ok(Item::String("".into()));
    };
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    Ok(string(words.join(&separator)))
}

fn split(items: &[Item]) -> Result<Item> {
    let (whole, separator) = (text(items, 0)?, text(items, 1)?);
    if separator.is_empty() {
        return Ok(Item::List(whole.chars().map(|letter| string(letter.to_string())).collect()));
    }
    Ok(Item::List(whole.split(&separator).map(|part| Item::String(part.into())).collect()))
}

fn lower(items: &[Item]) -> Result<Item> {
    Ok(string(text(items, 0)?.to_lowercase()))
}

fn upper(items: &[Item]) -> Result<Item> {
    Ok(string(text(items, 0)?.to_uppercase()))
}

fn title(items: &[Item]) -> Result<Item> {
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
    Ok(string(titled))
}

fn pad(items: &[Item]) -> Result<Item> {
    let whole = text(items, 0)?;
    if whole.is_empty() {
        return Ok(string(whole));
    }
    let (before, after) = (number(items, 1)?, number(items, 2)?);
    Ok(string(format!("{}{whole}{}", " ".repeat(before), " ".repeat(after))))
}

fn truncate(items: &[Item]) -> Result<Item> {
    let limit = number(items, 1)?;
    Ok(string(text(items, 0)?.chars().take(limit).collect()))
}
