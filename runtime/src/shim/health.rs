//! What health checks conclude. Pure; the probes themselves are run by the shim.

use std::time::Duration;

use crate::records::config::HealthCheck;
use crate::records::state::{Health, HealthResult, HealthStatus};

/// How many probes are kept.
const LOG_MAX: usize = 5;

fn nanoseconds(value: i64) -> Duration {
    Duration::from_nanos(value.max(0).unsigned_abs())
}

impl Health {
    /// Before the first probe.
    pub(crate) fn starting() -> Self {
        Self { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() }
    }

    /// Takes in one probe; says whether the conclusion changed.
    pub(crate) fn record(&mut self, check: &HealthCheck, result: HealthResult, uptime: Duration) -> bool {
        let before = self.status;
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else {
            let starting = self.status == HealthStatus::Starting && uptime < nanoseconds(check.start_period_ns);
            if !starting {
                self.failing_streak += 1;
                if i64::from(self.failing_streak) >= check.retries {
                    self.status = HealthStatus::Unhealthy;
                }
            }
        }
        self.log.push(result);
        if self.log.len() > LOG_MAX {
            self.log.remove(0);
        }
        before != self.status
    }

    /// How long until the next probe.
    pub(crate) fn next_probe(&self, check: &HealthCheck, uptime: Duration) -> Duration {
        let starting = self.status == HealthStatus::Starting && uptime < nanoseconds(check.start_period_ns);
        let interval = nanoseconds(if starting { check.start_interval_ns } else { check.interval_ns });
        interval.max(Duration::from_millis(1))
    }
}

/// How long a probe may take.
pub(crate) fn timeout(check: &HealthCheck) -> Duration {
    nanoseconds(check.timeout_ns)
}

/// The program of a probe.
pub(crate) fn arguments(check: &HealthCheck) -> Vec<String> {
    match check.test.split_first() {
        Some((kind, rest)) if kind == "CMD-SHELL" => vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")],
        Some((_, rest)) => rest.to_vec(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn check() -> HealthCheck {
        HealthCheck {
            test: vec!["CMD-SHELL".to_owned(), "true".to_owned()],
            interval_ns: 30_000_000_000,
            timeout_ns: 1_000_000_000,
            start_period_ns: 10_000_000_000,
            start_interval_ns: 1_000_000_000,
            retries: 2,
        }
    }

    fn result(exit_code: i32) -> HealthResult {
        HealthResult { start: Timestamp::UNIX_EPOCH, end: Timestamp::UNIX_EPOCH, exit_code, output: String::new() }
    }

    #[test]
    fn failures_count_after_the_start_period_only() {
        let (check, mut health) = (check(), Health::starting());
        let (early, late) = (Duration::from_secs(1), Duration::from_secs(11));
        assert!(!health.record(&check, result(1), early));
        assert_eq!(health.failing_streak, 0);
        assert_eq!(health.next_probe(&check, early), Duration::from_secs(1));
        assert!(!health.record(&check, result(1), late));
        assert!(health.record(&check, result(1), late));
        assert_eq!(health.status, HealthStatus::Unhealthy);
        assert!(health.record(&check, result(0), late));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        assert_eq!(health.next_probe(&check, early), Duration::from_secs(30));
    }

    #[test]
    fn five_results_are_kept() {
        let (check, mut health) = (check(), Health::starting());
        for code in 0..9 {
            health.record(&check, result(code), Duration::from_secs(60));
        }
        assert_eq!(health.log.iter().map(|r| r.exit_code).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_shell_is_put_before_scripts() {
        assert_eq!(arguments(&check()), ["/bin/sh", "-c", "true"]);
        let exec = HealthCheck { test: vec!["CMD".to_owned(), "/bin/x".to_owned(), "-y".to_owned()], ..check() };
        assert_eq!(arguments(&exec), ["/bin/x", "-y"]);
    }
}
