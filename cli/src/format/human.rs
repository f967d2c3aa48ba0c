//! Times and sizes for people, as docker words them.

use jiff::Timestamp;
pub use skep_engine::time::{rfc3339, timestamp};

/// `4 seconds`, `About a minute`, `3 weeks`.
pub fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let minutes = seconds / 60;
    let hours = (seconds as f64 / 3600.0).round() as i64;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (seconds @ 2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, minutes @ 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, hours) if hours < 48 => format!("{hours} hours"),
        (_, _, hours) if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        (_, _, hours) if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        (_, _, hours) if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        (_, _, hours) => format!("{} years", hours / 24 / 365),
    }
}

/// `4 seconds ago`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", duration(now.as_second() - then.as_second()))
}

/// As Go prints a time: `2026-01-02 03:04:05 +0000 UTC`.
pub fn local_time(time: Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// `187MB`, with so many significant digits: decimal units.
pub fn size(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, digits, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `7.715GiB`: binary units.
pub fn binary_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, 4, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
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

/// The first 12 characters of an id, without its algorithm.
pub fn short_id(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

/// At most so many characters, the last one `…` when there were more.
pub fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A text in quotes as Go's `strconv.Quote` has it: nothing in it can act on a terminal.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0'..' ' | '\u{7f}' => quoted.push_str(&format!("\\x{:02x}", u32::from(character))),
            // What Rust would escape, too: control and format characters, and blanks but the space.
            _ if character != '\'' && character.escape_debug().len() > 1 => {
                let code = u32::from(character);
                quoted.push_str(&if code > 0xffff { format!("\\U{code:08x}") } else { format!("\\u{code:04x}") });
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        for (text, quoted) in [
            ("sh -c 'x'", "\"sh -c 'x'\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("a\nb\tc\r\u{7}\u{1b}[31m\u{7f}", "\"a\\nb\\tc\\r\\a\\x1b[31m\\x7f\""),
            ("é…日本", "\"é…日本\""),
            ("\u{85}\u{200b}\u{a0}\u{e0001}", "\"\\u0085\\u200b\\u00a0\\U000e0001\""),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn words_durations() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (125, "2 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (86400, "24 hours"),
            (86400 * 3, "3 days"),
            (86400 * 21, "3 weeks"),
            (86400 * 100, "3 months"),
            (86400 * 800, "2 years"),
            (-5, "Less than a second"),
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
    fn cuts() {
        assert_eq!(ellipsis("\"nginx -g 'daemon off;'\"", 20), "\"nginx -g 'daemon o…");
        assert_eq!(ellipsis("ab", 2), "ab");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }

    #[test]
    fn prints_times_as_go() {
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(rfc3339(Some(time)), "2023-11-14T22:13:20.000000000Z");
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
        assert_eq!(timestamp(0), None);
    }
}
