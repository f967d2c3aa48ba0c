//! `--filter`: different keys all have to hold, values of one key are alternatives, labels all have to hold.

use std::collections::BTreeMap;

/// One `KEY=VALUE` of a `--filter` flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    key: String,
    value: String,
}

/// Reads one `--filter`.
pub fn filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
    Ok(Filter { key: key.trim().to_ascii_lowercase(), value: value.trim().to_owned() })
}

/// All filters of one command.
#[derive(Debug, Clone, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Collects them, refusing keys that the command does not know.
    pub fn new(filters: &[Filter], known: &[&str]) -> Result<Self, String> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for filter in filters {
            if !known.contains(&filter.key.as_str()) {
                return Err(format!("invalid filter '{}'", filter.key));
            }
            all.entry(filter.key.clone()).or_default().push(filter.value.clone());
        }
        Ok(Self(all))
    }

    /// Whether no filter has this key, or one of those that have holds.
    pub fn any(&self, key: &str, holds: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().any(|value| holds(value)))
    }

    /// The values given for a key.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether every `label` filter holds for these labels.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).iter().all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }

    /// The single boolean of a key.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.values(key).first() else { return Ok(None) };
        match super::csv::boolean(value) {
            Some(flag) => Ok(Some(flag)),
            None => Err(format!("invalid filter '{key}={value}'")),
        }
    }

    /// Refuses values of a key that are not among those that exist.
    pub fn check(&self, key: &str, possible: &[&str]) -> Result<(), String> {
        match self.values(key).iter().find(|value| !possible.contains(&value.as_str())) {
            Some(value) => Err(format!("invalid filter '{key}={value}'")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_and_values_are_or() {
        let given = ["name=a", "name=b", "label=x", "label=y=1"].map(|text| filter(text).unwrap());
        let filters = Filters::new(&given, &["name", "label"]).unwrap();
        assert!(filters.any("name", |value| value == "b"));
        assert!(!filters.any("name", |value| value == "c"));
        assert!(filters.any("other", |_| false));
        let labels = BTreeMap::from([("x".to_owned(), String::new()), ("y".to_owned(), "1".to_owned())]);
        assert!(filters.labels("label", &labels));
        assert!(!filters.labels("label", &BTreeMap::new()));
        assert_eq!(Filters::new(&given, &["label"]).unwrap_err(), "invalid filter 'name'");
        assert!(filter("foo").is_err());
    }
}
