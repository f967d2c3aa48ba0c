//! How to find out whether a container works: of images and of containers.

use serde::{Deserialize, Deserializer, Serialize};

/// A health check, as images and docker's API have it. Times in nanoseconds; 0 is the default.
///
/// It is also read with the names of its fields, in which records were written once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", script]`; empty takes the image's.
    #[serde(rename = "Test", alias = "test", deserialize_with = "null_as_default")]
    pub test: Vec<String>,
    /// Between two probes (30 s).
    #[serde(rename = "Interval", alias = "interval_ns", deserialize_with = "null_as_default")]
    pub interval_ns: i64,
    /// Until a probe has failed (30 s).
    #[serde(rename = "Timeout", alias = "timeout_ns", deserialize_with = "null_as_default")]
    pub timeout_ns: i64,
    /// Failures this soon after the start do not count (0 s).
    #[serde(rename = "StartPeriod", alias = "start_period_ns", deserialize_with = "null_as_default")]
    pub start_period_ns: i64,
    /// Between two probes during the start period (5 s).
    #[serde(rename = "StartInterval", alias = "start_interval_ns", deserialize_with = "null_as_default")]
    pub start_interval_ns: i64,
    /// Failures in a row until unhealthy (3).
    #[serde(rename = "Retries", alias = "retries", deserialize_with = "null_as_default")]
    pub retries: i64,
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_docker_and_older_records_write_it() {
        let check = HealthCheck { test: vec!["CMD".to_owned(), "x".to_owned()], retries: 5, ..HealthCheck::default() };
        let docker = r#"{"Test":["CMD","x"],"Interval":0,"Timeout":0,"StartPeriod":0,"StartInterval":0,"Retries":5}"#;
        assert_eq!(serde_json::to_string(&check).unwrap(), docker);
        assert_eq!(serde_json::from_str::<HealthCheck>(docker).unwrap(), check);
        let older = r#"{"test":["CMD","x"],"interval_ns":0,"timeout_ns":0,"retries":5}"#;
        assert_eq!(serde_json::from_str::<HealthCheck>(older).unwrap(), check);
        let nulls = r#"{"Test":["CMD","x"],"Interval":null,"Retries":5,"Other":1}"#;
        assert_eq!(serde_json::from_str::<HealthCheck>(nulls).unwrap(), check);
    }
}
