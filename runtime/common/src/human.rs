//! Times and sizes for people, in docker's words (github.com/docker/go-units).
//!
//! Not `humantime`, `jiff` or `bytesize`: the words and the rounding are docker's, byte for byte, and theirs differ.

/// Decimal units, as docker shows sizes.
const DECIMAL_UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
/// Binary units, as docker shows memory.
const BINARY_UNITS: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
/// Significant digits of a size, where docker asks for no others.
const DIGITS: usize = 4;

/// A time in words: `Less than a second`, `4 seconds`, `About a minute`, `3 weeks`.
pub fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = seconds.saturating_add(1800) / 3600;
    match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// `187MB`, with so many significant digits: decimal units.
pub fn size(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, digits, &DECIMAL_UNITS)
}

/// `7.715GiB`: binary units.
pub fn binary_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, DIGITS, &BINARY_UNITS)
}

fn scaled(mut bytes: f64, base: f64, digits: usize, units: &[&str]) -> String {
    let mut unit = 0;
    while bytes >= base && unit + 1 < units.len() {
        bytes /= base;
        unit += 1;
    }
    format!("{}{}", significant(bytes, digits), units.get(unit).copied().unwrap_or("B"))
}

/// C's `%.Ng` without exponents: at most so many significant digits, no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole = (value.abs().max(1.0).log10().floor() as usize) + 1;
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Why a text is no size. In the words of docker's command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// There is no number, or one that no size has.
    #[error("invalid size: '{0}'")]
    Invalid(String),
    /// The unit is unknown.
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
}

/// Bytes from `6m`, `1.5GiB`, `100`: binary units, whatever the suffix is called (go-units' `RAMInBytes`).
///
/// # Errors
/// The text is no size.
pub fn parse_binary_size(text: &str) -> Result<i64, SizeError> {
    let invalid = || SizeError::Invalid(text.to_owned());
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(last + 1);
    let number: f64 = number.trim_end().parse().map_err(|_| invalid())?;
    if !number.is_finite() || number < 0.0 {
        return Err(invalid());
    }
    let power = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(SizeError::Suffix(suffix.to_owned())),
    };
    let size = number * 1024_f64.powi(power);
    if size >= i64::MAX as f64 { Err(invalid()) } else { Ok(size as i64) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_durations() {
        for (seconds, words) in [
            (i64::MIN, "Less than a second"),
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (125, "2 minutes"),
            (179, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (86400, "24 hours"),
            (49 * 3600, "2 days"),
            (86400 * 3, "3 days"),
            (86400 * 15, "2 weeks"),
            (86400 * 61, "2 months"),
            (86400 * 100, "3 months"),
            (86400 * 731, "2 years"),
            (i64::MAX, "292471208677 years"),
        ] {
            assert_eq!(duration(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn words_sizes() {
        assert_eq!(size(187_000_000.0, 3), "187MB");
        assert_eq!(size(1_146_369.0, 3), "1.15MB");
        assert_eq!(size(0.0, 3), "0B");
        assert_eq!(size(1_500.0, 4), "1.5kB");
        assert_eq!(binary_size(8_283_750_400.0), "7.715GiB");
        assert_eq!(binary_size(6_291_456.0), "6MiB");
    }

    #[test]
    fn reads_what_docker_reads() {
        for (text, size) in
            [("6m", 6 << 20), ("1.5GiB", 3 << 29), ("100", 100), ("32 kb", 32768), ("0", 0), ("7B", 7), ("1t", 1 << 40)]
        {
            assert_eq!(parse_binary_size(text).unwrap(), size, "{text}");
        }
        assert_eq!(parse_binary_size("abc").unwrap_err().to_string(), "invalid size: 'abc'");
        assert_eq!(parse_binary_size("5x").unwrap_err().to_string(), "invalid suffix: 'x'");
        for bad in ["", "-5m", "99999999999g", "1.2.3", "nan"] {
            assert!(parse_binary_size(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_is_too_strange(text in ".{0,12}") {
            parse_binary_size(&text).ok();
        }

        #[test]
        fn whole_numbers_stay(number in 0_i64..1 << 40) {
            prop_assert_eq!(parse_binary_size(&number.to_string()).unwrap(), number);
        }
    }
}
