//! The swarm's times, which are nanoseconds since 1970, 0 for never.

use jiff::Timestamp;

/// A time from nanoseconds since 1970; `None` for 0.
pub fn timestamp(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds != 0).then(|| Timestamp::from_nanosecond(nanoseconds.into()).ok()).flatten()
}

/// As docker's JSON has it: nanoseconds, in UTC; never is the year 1.
pub fn rfc3339(time: Option<Timestamp>) -> String {
    match time {
        Some(time) => format!("{time:.9}"),
        None => "0001-01-01T00:00:00Z".to_owned(),
    }
}
