//! What a list is narrowed to: different keys all have to hold, values of one key are alternatives, labels all have to
//! hold.
//!
//! Read from `--filter` by the command line, and from the `filters` parameter of docker's API, of which both forms are
//! read: `{"name": ["web"]}` and `{"name": {"web": true}}`. Every list checks the keys that it knows; **what cannot be
//! read is an error, never an empty list**.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// All filters of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Adds one.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().push(value.into());
    }

    /// Has this value for a key, and no other.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), vec![value.into()]);
    }

    /// Refuses keys that the request does not know.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    pub fn accept(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Error::bad_argument(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// Whether no filter has this key, or one of those that have holds.
    pub fn any(&self, key: &str, holds: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().any(|value| holds(value)))
    }

    /// The values given for a key.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether every filter of this key holds for these labels.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).iter().all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Whether `label` holds for these labels and `label!`, if it is given, does not.
    pub(crate) fn labels_wanted(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels("label", labels) && (self.values("label!").is_empty() || !self.labels("label!", labels))
    }

    /// The names that a key lets through: the very name, or what a regular expression matches, as docker has it. Every
    /// list of named objects uses it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] when a value is not a regular expression.
    pub fn names(&self, key: &str) -> Result<Names> {
        let read = |value: &String| match Regex::new(value) {
            Ok(pattern) => Ok((value.clone(), pattern)),
            Err(_) => Err(invalid(key, value)),
        };
        Ok(Names(self.0.get(key).map(|values| values.iter().map(read).collect()).transpose()?))
    }

    /// The single boolean of a key.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] when it is none.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.values(key).first().map(|value| boolean(value).ok_or_else(|| invalid(key, value))).transpose()
    }

    /// Refuses values of a key that are not among those that exist.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    pub fn check(&self, key: &str, possible: &[&str]) -> Result<()> {
        self.check_each(key, |value| possible.contains(&value))
    }

    /// Refuses values of a key that cannot be read.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    pub(crate) fn check_each(&self, key: &str, readable: impl Fn(&str) -> bool) -> Result<()> {
        match self.values(key).iter().find(|value| !readable(value)) {
            Some(value) => Err(invalid(key, value)),
            None => Ok(()),
        }
    }
}

fn invalid(key: &str, value: &str) -> Error {
    Error::bad_argument(format!("invalid filter '{key}={value}'"))
}

/// Go's words for yes and no (`strconv.ParseBool`).
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What [`Filters::names`] lets through.
#[derive(Debug, Clone)]
pub struct Names(Option<Vec<(String, Regex)>>);

impl Names {
    /// Whether no name is asked for, or this one is.
    pub fn has(&self, name: &str) -> bool {
        self.has_any(&[name])
    }

    /// Whether no name is asked for, or one of these, by which the same object goes, is.
    pub fn has_any(&self, names: &[&str]) -> bool {
        let is_meant =
            |name: &&str| self.0.iter().flatten().any(|(exact, pattern)| exact == name || pattern.is_match(name));
        self.0.is_none() || names.iter().any(is_meant)
    }
}

impl Serialize for Filters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Filters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            List(Vec<String>),
            Set(BTreeMap<String, bool>),
        }
        let read: BTreeMap<String, Values> = Deserialize::deserialize(deserializer)?;
        let values = |values: Values| match values {
            Values::List(list) => list,
            Values::Set(set) => set.into_iter().filter(|(_, wanted)| *wanted).map(|(value, _)| value).collect(),
        };
        Ok(Self(read.into_iter().map(|(key, given)| (key, values(given))).collect()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn filters(given: &[(&str, &str)]) -> Filters {
        let mut filters = Filters::default();
        for (key, value) in given {
            filters.add(*key, *value);
        }
        filters
    }

    #[test]
    fn keys_are_and_values_are_or() {
        let filters = filters(&[("name", "a"), ("name", "b"), ("label", "x"), ("label", "y=1")]);
        assert!(filters.any("name", |value| value == "b"));
        assert!(!filters.any("name", |value| value == "c"));
        assert!(filters.any("other", |_| false));
        let labels = BTreeMap::from([("x".to_owned(), String::new()), ("y".to_owned(), "1".to_owned())]);
        assert!(filters.labels("label", &labels));
        assert!(!filters.labels("label", &BTreeMap::new()));
        filters.accept(&["name", "label"]).unwrap();
        let refused = filters.accept(&["label"]).unwrap_err();
        assert_eq!((refused.to_string().as_str(), refused.kind()), ("invalid filter 'name'", ErrorKind::BadArgument));
    }

    #[test]
    fn names_are_regular_expressions() {
        let has = |wanted: &str, name: &str| filters(&[("name", wanted)]).names("name").unwrap().has(name);
        for (wanted, name, expected) in [
            ("^web$", "web", true),
            ("^web$", "web2", false),
            ("^web$", "myweb", false),
            ("web", "myweb2", true),
            ("^web", "web2", true),
            ("web$", "web2", false),
            ("w.b", "wub", true),
            ("^(web|db)$", "db", true),
            ("^(web|db)$", "db2", false),
        ] {
            assert_eq!(has(wanted, name), expected, "{wanted} {name}");
        }
        assert!(filters(&[("name", "^/web$")]).names("name").unwrap().has_any(&["web", "/web"]));
        assert!(Filters::default().names("name").unwrap().has("web"));
        assert!(filters(&[("name", "x"), ("name", "^web$")]).names("name").unwrap().has("web"));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let refused = filters(&[("name", "we[b")]).names("name").unwrap_err();
        assert_eq!(
            (refused.to_string().as_str(), refused.kind()),
            ("invalid filter 'name=we[b'", ErrorKind::BadArgument)
        );
        assert!(filters(&[("dangling", "maybe")]).flag("dangling").is_err());
        assert!(filters(&[("status", "foo")]).check("status", &["running"]).is_err());
    }

    #[test]
    fn both_forms_of_the_api_are_read() {
        let expected = filters(&[("label", "a=b"), ("status", "running")]);
        for text in [
            r#"{"label":["a=b"],"status":["running"]}"#,
            r#"{"label":{"a=b":true,"c":false},"status":{"running":true}}"#,
        ] {
            assert_eq!(serde_json::from_str::<Filters>(text).unwrap(), expected, "{text}");
        }
        assert_eq!(serde_json::to_string(&expected).unwrap(), r#"{"label":["a=b"],"status":["running"]}"#);
    }
}
