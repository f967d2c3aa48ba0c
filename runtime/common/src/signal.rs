//! Signals by name or number, as docker reads them.

/// First and last real-time signal, as glibc and docker count them: the first two of the kernel's are glibc's own.
const REAL_TIME: (i32, i32) = (34, 64);

/// Not a signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct SignalError(pub String);

/// `KILL`, `SIGKILL`, `9`, `RTMIN+3`… → the number.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<i32, SignalError> {
    let invalid = || SignalError(text.to_owned());
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { Some(0) } else { rest.strip_prefix('+').and_then(|n| n.parse::<i32>().ok()) };
        return offset
            .filter(|offset| (0..=30).contains(offset))
            .map(|offset| REAL_TIME.0 + offset)
            .ok_or_else(invalid);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let offset = if rest.is_empty() { Some(0) } else { rest.strip_prefix('-').and_then(|n| n.parse::<i32>().ok()) };
        return offset
            .filter(|offset| (0..=30).contains(offset))
            .map(|offset| REAL_TIME.1 - offset)
            .ok_or_else(invalid);
    }
    let alias = match name {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        other => other,
    };
    format!("SIG{alias}").parse::<nix::sys::signal::Signal>().map(|signal| signal as i32).map_err(|_| invalid())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in
            [("KILL", 9), ("sigterm", 15), ("9", 9), ("RTMIN+3", 37), ("SIGRTMAX", 64), ("cld", 17), ("RTMAX-1", 63)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "65", "FOO", "SIGNOPE", "RTMIN+99", "-9"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
