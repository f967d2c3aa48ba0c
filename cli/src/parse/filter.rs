//! `--filter`: `KEY=VALUE`.

use skep_engine::filters::Filters;

/// One `KEY=VALUE` of a `--filter` flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    key: String,
    value: String,
}

/// Reads one `--filter`.
pub(crate) fn filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
    Ok(Filter { key: key.trim().to_ascii_lowercase(), value: value.trim().to_owned() })
}

/// All filters of one command.
pub(crate) fn all(given: &[Filter]) -> Filters {
    let mut filters = Filters::default();
    for filter in given {
        filters.add(&filter.key, &filter.value);
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keys_and_values() {
        assert_eq!(filter(" Label = a=b "), Ok(Filter { key: "label".to_owned(), value: "a=b".to_owned() }));
        assert!(filter("foo").is_err());
    }
}
