//! Go's durations, `300ms`, `1.5h`, `1m30s`, and the moments that flags and filters name with them.

use jiff::Timestamp;

use crate::error::{Error, Result};

const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Nanoseconds from text.
///
/// # Errors
/// It is none; in Go's words.
pub fn nanoseconds(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
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
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
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
/// It is none, or negative.
pub fn positive(text: &str) -> Result<i64, String> {
    match nanoseconds(text)? {
        negative if negative < 0 => Err("duration cannot be negative".to_owned()),
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

/// A moment: a date, seconds since 1970, or a duration before now.
///
/// # Errors
/// It is none of these; in docker's words.
pub fn moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    let invalid =
        || Error::bad_argument(format!("invalid value for \"since\": {text:?} is neither a time nor a duration"));
    let out_of_range = |error: jiff::Error| Error::bad_argument(error.to_string());
    if let Ok(nanoseconds) = nanoseconds(text)
        && text.ends_with(|c: char| c.is_ascii_alphabetic())
    {
        return now.checked_sub(jiff::SignedDuration::from_nanos(nanoseconds)).map_err(out_of_range);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Timestamp::from_nanosecond((seconds * 1e9) as i128).map_err(out_of_range);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local = text.parse::<jiff::civil::DateTime>().map_err(|_| invalid())?;
    Ok(local.to_zoned(jiff::tz::TimeZone::system()).map_err(out_of_range)?.timestamp())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, expected) in [
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0", 0),
            ("250ms", 250_000_000),
            ("-2s", -2_000_000_000),
            (".5h", 1_800_000_000_000),
        ] {
            assert_eq!(nanoseconds(text).unwrap(), expected, "{text}");
        }
        assert_eq!(nanoseconds("5").unwrap_err(), "time: missing unit in duration \"5\"");
        assert_eq!(nanoseconds("x").unwrap_err(), "time: invalid duration \"x\"");
        assert_eq!(nanoseconds("5x").unwrap_err(), "time: unknown unit \"x\" in duration \"5x\"");
        assert!(positive("-1s").is_err());
    }

    #[test]
    fn prints_as_go() {
        for (value, expected) in [
            (5_000_000_000, "5s"),
            (7_776_000_000_000_000, "2160h0m0s"),
            (90_000_000_000, "1m30s"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (0, "0s"),
        ] {
            assert_eq!(display(value), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_printed_reads_back(millis in 0_i64..1 << 40) {
            let nanos = millis * 1_000_000;
            prop_assert_eq!(nanoseconds(&display(nanos)).unwrap(), nanos);
        }

        #[test]
        fn never_panics(text in ".{0,12}") {
            nanoseconds(&text).ok();
        }
    }

    #[test]
    fn reads_moments() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(moment("10s", now).unwrap().as_second(), 999_990);
        assert_eq!(moment("1700000000", now).unwrap().as_second(), 1_700_000_000);
        assert_eq!(moment("2013-01-02T13:23:37Z", now).unwrap().as_second(), 1_357_133_017);
        assert!(moment("2013-01-02", now).is_ok());
        assert!(moment("yesterday", now).is_err());
    }
}
