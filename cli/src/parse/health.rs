//! `--health-*`, for containers and services alike.

use clap::Args;
use skep_common::{HealthCheck, duration};

/// The flags of a health check.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HealthFlags {
    /// Command to run to check health
    #[arg(long, value_name = "string")]
    pub health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h) (default 30s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds, allow_hyphen_values = true)]
    pub health_interval: Option<i64>,
    /// Consecutive failures needed to report unhealthy (default 3)
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    pub health_retries: Option<i64>,
    /// Time between running the check during the start period (ms|s|m|h) (default 5s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds, allow_hyphen_values = true)]
    pub health_start_interval: Option<i64>,
    /// Start period for the container to initialize before starting health-retries countdown (default 0s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds, allow_hyphen_values = true)]
    pub health_start_period: Option<i64>,
    /// Maximum time to allow one check to run (ms|s|m|h) (default 30s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds, allow_hyphen_values = true)]
    pub health_timeout: Option<i64>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub no_healthcheck: bool,
}

impl HealthFlags {
    /// The check, if any flag is given. What is not given is nought, and inherited.
    pub(crate) fn spec(&self) -> Result<Option<HealthCheck>, String> {
        let any = self.health_cmd.is_some()
            || self.health_retries.is_some()
            || [self.health_interval, self.health_start_interval, self.health_start_period, self.health_timeout]
                .iter()
                .any(Option::is_some);
        if self.no_healthcheck {
            if any {
                return Err("--no-healthcheck conflicts with --health-* options".to_owned());
            }
            return Ok(Some(HealthCheck { test: vec!["NONE".to_owned()], ..HealthCheck::default() }));
        }
        if !any {
            return Ok(None);
        }
        if self.health_retries.is_some_and(|retries| retries < 0) {
            return Err("--health-retries cannot be negative".to_owned());
        }
        let checked = |value: Option<i64>, flag: &str| match value {
            Some(nanos) if nanos > 0 && nanos < 1_000_000 => Err(format!("{flag} cannot be less than 1ms")),
            value => Ok(value.unwrap_or(0)),
        };
        Ok(Some(HealthCheck {
            test: self.health_cmd.iter().flat_map(|command| ["CMD-SHELL".to_owned(), command.clone()]).collect(),
            interval_ns: checked(self.health_interval, "--health-interval")?,
            timeout_ns: checked(self.health_timeout, "--health-timeout")?,
            retries: self.health_retries.unwrap_or(0),
            start_period_ns: checked(self.health_start_period, "--health-start-period")?,
            start_interval_ns: checked(self.health_start_interval, "--health-start-interval")?,
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_check() {
        assert_eq!(HealthFlags::default().spec().unwrap(), None);
        let flags = HealthFlags {
            health_cmd: Some("true".to_owned()),
            health_interval: Some(1_000_000_000),
            ..HealthFlags::default()
        };
        let spec = flags.spec().unwrap().unwrap();
        assert_eq!(spec.test, ["CMD-SHELL", "true"]);
        let conflict = HealthFlags { no_healthcheck: true, ..flags };
        assert_eq!(conflict.spec().unwrap_err(), "--no-healthcheck conflicts with --health-* options");
        let none = HealthFlags { no_healthcheck: true, ..HealthFlags::default() };
        assert_eq!(none.spec().unwrap().unwrap().test, ["NONE"]);
    }
}
