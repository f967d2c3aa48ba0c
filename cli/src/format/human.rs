//! Times and sizes for people, as docker words them.

use jiff::Timestamp;
use skep_common::human::duration;
pub(crate) use skep_common::human::{binary_size, size};
pub(crate) use skep_common::names::short_id;
pub(crate) use skep_engine::time::rfc3339;

/// `4 seconds ago`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", duration(now.as_second() - then.as_second()))
}

/// As Go prints a time: `2026-01-02 03:04:05 +0000 UTC`.
pub(crate) fn local_time(time: Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// At most so many characters, the last one `…` when there were more.
pub(crate) fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A text in quotes as Go's `strconv.Quote` has it: nothing in it can act on a terminal.
pub(crate) fn quote(text: &str) -> String {
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
    fn ages_are_durations() {
        let (then, now) = (Timestamp::from_second(1_000).unwrap(), Timestamp::from_second(1_125).unwrap());
        assert_eq!(ago(then, now), "2 minutes ago");
        assert_eq!(ago(now, then), "Less than a second ago");
    }

    #[test]
    fn cuts() {
        assert_eq!(ellipsis("\"nginx -g 'daemon off;'\"", 20), "\"nginx -g 'daemon o…");
        assert_eq!(ellipsis("ab", 2), "ab");
    }
}
