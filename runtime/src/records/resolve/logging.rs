//! The log driver's options.
//!
//! Called by `create` (to check) and at each start.

use std::collections::BTreeMap;

use skep_common::human;

use crate::error::{Error, Result};

/// `max-size` and `max-file` of the log.
///
/// # Errors
/// The driver is unknown, or a value is not a number.
pub(crate) fn log_limits(driver: &str, options: &BTreeMap<String, String>) -> Result<(Option<u64>, u32)> {
    if !matches!(driver, "" | "json-file" | "local" | "none") {
        return Err(Error::InvalidConfig(format!(
            "logger: no log driver named '{driver}' is registered (json-file and none are)"
        )));
    }
    let mut limits = (None, 1);
    for (name, value) in options {
        let invalid = || Error::InvalidConfig(format!("invalid log option {name}={value}"));
        match name.as_str() {
            "max-size" if value == "-1" => {}
            "max-size" => limits.0 = Some(parse_size(value).filter(|size| *size > 0).ok_or_else(invalid)?),
            "max-file" => limits.1 = value.parse().ok().filter(|count| *count > 0).ok_or_else(invalid)?,
            "labels" | "labels-regex" | "env" | "env-regex" | "tag" | "compress" | "mode" | "max-buffer-size" => {}
            _ => {
                return Err(Error::InvalidConfig(format!("unknown log opt '{name}' for json-file log driver")));
            }
        }
    }
    Ok(limits)
}

fn parse_size(text: &str) -> Option<u64> {
    u64::try_from(human::parse_binary_size(text).ok()?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::log_limits;

    #[test]
    fn log_options_are_checked() {
        let read = |driver: &str, options: &[(&str, &str)]| {
            let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            log_limits(driver, &options)
        };
        assert_eq!(read("json-file", &[("max-size", "10m"), ("max-file", "3")]).unwrap(), (Some(10 << 20), 3));
        assert_eq!(read("", &[]).unwrap(), (None, 1));
        assert!(read("syslog", &[]).is_err());
        assert!(read("json-file", &[("max-size", "many")]).is_err());
        assert!(read("json-file", &[("max-file", "0")]).is_err());
    }
}
