//! Go's durations, as docker reads and prints them: `300ms`, `1.5h`, `1m30s`.
//!
//! Not `humantime` or `jiff`: they read and print other texts, and a wrong one is refused in Go's words.

use std::time::Duration;

const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// A second, in nanoseconds.
pub const SECOND_NS: i64 = 1_000_000_000;

/// A duration in nanoseconds; one that is too long is the longest.
pub fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// The duration that so many nanoseconds are, where they are any.
pub fn given(nanoseconds: i64) -> Option<Duration> {
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds.unsigned_abs()))
}

/// Why a text is no duration. In Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is no number, or it is too large.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number stands alone.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// There is no such unit.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// It is less than nothing, where that means nothing.
    #[error("duration cannot be negative")]
    Negative,
}

/// Nanoseconds from text (Go's `time.ParseDuration`).
///
/// # Errors
/// The text is no duration.
pub fn parse_nanoseconds(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let unknown = || DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() };
        let (_, factor) = known.ok_or_else(unknown)?;
        let term = (number * factor).round();
        if term >= i64::MAX as f64 {
            return Err(invalid());
        }
        total = total.checked_add(term as i64).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(sign * total)
}

/// Nanoseconds from text; negative ones are refused.
///
/// # Errors
/// The text is no duration, or a negative one.
pub fn parse_positive_nanoseconds(text: &str) -> Result<i64, DurationError> {
    match parse_nanoseconds(text)? {
        negative if negative < 0 => Err(DurationError::Negative),
        duration => Ok(duration),
    }
}

/// As Go prints a duration: `5s`, `1m30s`, `2160h0m0s`, `1.5s`, `250ms`.
pub fn display(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let nanos = nanoseconds.unsigned_abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let small = |divisor: u64, unit: &str| format!("{sign}{}{unit}", nanos as f64 / divisor as f64);
    if nanos < 1_000 {
        return small(1, "ns");
    }
    if nanos < 1_000_000 {
        return small(1_000, "µs");
    }
    if nanos < 1_000_000_000 {
        return small(1_000_000, "ms");
    }
    let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
    let seconds = format!("{}s", rest as f64 / 1e9);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, expected) in [
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0", 0),
            ("250ms", 250_000_000),
            ("-2s", -2_000_000_000),
            ("+2s", 2_000_000_000),
            (".5h", 1_800_000_000_000),
        ] {
            assert_eq!(parse_nanoseconds(text).unwrap(), expected, "{text}");
        }
        for (text, words) in [
            ("5", "time: missing unit in duration \"5\""),
            ("x", "time: invalid duration \"x\""),
            ("", "time: invalid duration \"\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            assert_eq!(parse_nanoseconds(text).unwrap_err().to_string(), words);
        }
        assert_eq!(parse_positive_nanoseconds("-1s"), Err(DurationError::Negative));
        assert_eq!(parse_positive_nanoseconds("1s"), Ok(1_000_000_000));
    }

    #[test]
    fn prints_as_go() {
        for (value, expected) in [
            (5_000_000_000, "5s"),
            (7_776_000_000_000_000, "2160h0m0s"),
            (90_000_000_000, "1m30s"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (-1_500, "-1.5µs"),
            (0, "0s"),
        ] {
            assert_eq!(display(value), expected);
        }
    }

    #[test]
    fn nanoseconds_stay_in_their_bounds() {
        assert_eq!(nanoseconds(Duration::from_millis(2)), 2_000_000);
        assert_eq!(nanoseconds(Duration::MAX), i64::MAX);
        assert_eq!(given(2_000_000), Some(Duration::from_millis(2)));
        assert_eq!([given(0), given(-1)], [None; 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_printed_reads_back(millis in 0_i64..1 << 40) {
            let nanos = millis * 1_000_000;
            prop_assert_eq!(parse_nanoseconds(&display(nanos)).unwrap(), nanos);
        }

        #[test]
        fn no_text_is_too_strange(text in ".{0,12}") {
            parse_nanoseconds(&text).ok();
        }
    }
}
