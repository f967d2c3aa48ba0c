//! Moments: the swarm's, which are nanoseconds since 1970 (0 for never), docker's JSON's, and those that flags and
//! filters name.

use jiff::Timestamp;
use skep_common::duration;

use crate::error::{Error, Result};

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

/// A moment: a date, seconds since 1970, or a duration before now.
///
/// # Errors
/// It is none of these; in docker's words.
pub fn moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    let invalid =
        || Error::bad_argument(format!("invalid value for \"since\": {text:?} is neither a time nor a duration"));
    let out_of_range = |error: jiff::Error| Error::bad_argument(error.to_string());
    if let Ok(nanoseconds) = duration::parse_nanoseconds(text)
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

    #[test]
    fn reads_moments() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(moment("10s", now).unwrap().as_second(), 999_990);
        assert_eq!(moment("1700000000", now).unwrap().as_second(), 1_700_000_000);
        assert_eq!(moment("2013-01-02T13:23:37Z", now).unwrap().as_second(), 1_357_133_017);
        assert!(moment("2013-01-02", now).is_ok());
        assert!(moment("yesterday", now).is_err());
    }

    #[test]
    fn writes_moments_as_dockers_json_has_them() {
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(rfc3339(Some(time)), "2023-11-14T22:13:20.000000000Z");
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
        assert_eq!(timestamp(0), None);
        assert_eq!(timestamp(1_700_000_000_000_000_000), Some(time));
    }
}
