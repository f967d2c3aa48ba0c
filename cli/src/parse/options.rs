//! Small value syntaxes: ulimits, restart policies, signals, security options, hosts, commands.

use skep_common::human::{self, SizeError};
use skep_common::names;
use skep_common::signal::{self, SignalError};
use skep_engine::docker::create::{RestartPolicy, Ulimit};

const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// One `--ulimit`: `NAME=SOFT[:HARD]`.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| match text.parse::<i64>() {
        Ok(value) if value >= -1 => Ok(value),
        _ => Err(format!("invalid ulimit argument: {text}")),
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// Bytes in binary units, or -1 for "without limit".
pub(crate) fn bytes_or_unlimited(text: &str) -> Result<i64, SizeError> {
    if text == "-1" { Ok(-1) } else { human::parse_binary_size(text) }
}

/// `--restart`: `NAME[:COUNT]`.
pub(crate) fn restart(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let maximum_retry_count = match (name, count) {
        ("" | "no" | "always" | "unless-stopped" | "on-failure", None) => 0,
        ("on-failure", Some(count)) => {
            count.parse().map_err(|_| "maximum retry count must be an integer".to_owned())?
        }
        ("no" | "always" | "unless-stopped", Some(_)) => {
            return Err("invalid restart policy: maximum retry count can only be used with 'on-failure'".to_owned());
        }
        _ => {
            return Err(format!(
                "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    };
    let name = if name.is_empty() { "no" } else { name };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

/// `--stop-signal`, kept as it was written.
pub(crate) fn signal_name(text: &str) -> Result<String, SignalError> {
    signal::parse(text).map(|_| text.to_owned())
}

/// `NAME:IP` or `NAME=IP`, as `--add-host` and `--host` take it.
pub(crate) fn host(text: &str) -> Result<(String, String), String> {
    let invalid = || format!("bad format for add-host: {text:?}");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(invalid)?;
    if name.is_empty() {
        return Err(invalid());
    }
    if address != "host-gateway" && address.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok((name.to_owned(), address.to_owned()))
}

/// `--dns`.
pub(crate) fn address(text: &str) -> Result<std::net::IpAddr, String> {
    text.trim().parse().map_err(|_| format!("{text} is not an ip address"))
}

/// A container's or service's name.
pub(crate) fn container_name(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('/').unwrap_or(text);
    if names::is_object_name(text) {
        return Ok(text.to_owned());
    }
    Err(format!("Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"))
}

/// The words of a shell-like command line (`--entrypoint` and `--args` of services).
pub(crate) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), character) if character == open => quote = None,
            (Some('\''), character) => word.get_or_insert_default().push(character),
            (_, '\\') => {
                let escaped = characters.next().ok_or("invalid command line: it ends in a backslash")?;
                word.get_or_insert_default().push(escaped);
            }
            (Some(_), character) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, character) if character.is_whitespace() => words.extend(word.take()),
            (None, character) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err("invalid command line string".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// Detach keys: `ctrl-p,ctrl-q`, as bytes.
pub(crate) fn detach_keys(text: &str) -> Result<Vec<u8>, String> {
    let key = |name: &str| match name.strip_prefix("ctrl-") {
        Some(letter) => match letter.as_bytes() {
            [byte @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(byte.to_ascii_uppercase() & 0x1f),
            _ => Err(format!("Unknown character: '{name}'")),
        },
        None => match name.as_bytes() {
            [byte] => Ok(*byte),
            _ => Err(format!("Unknown character: '{name}'")),
        },
    };
    text.split(',').map(key).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_ulimits() {
        assert_eq!(ulimit("nofile=1024:2048").unwrap().hard, 2048);
        assert_eq!(ulimit("core=-1").unwrap().soft, -1);
        assert_eq!(ulimit("foo").unwrap_err(), "invalid ulimit argument: foo");
        assert_eq!(ulimit("foo=1").unwrap_err(), "invalid ulimit type: foo");
        assert!(ulimit("nofile=3:2").is_err());
    }

    #[test]
    fn memory_may_be_without_limit() {
        assert_eq!(bytes_or_unlimited("-1"), Ok(-1));
        assert_eq!(bytes_or_unlimited("6m"), Ok(6 << 20));
        assert!(bytes_or_unlimited("-2").is_err());
    }

    #[test]
    fn reads_restart_policies() {
        let policy = |text: &str| restart(text).map(|policy| (policy.name, policy.maximum_retry_count)).unwrap();
        assert_eq!(policy("on-failure:3"), ("on-failure".to_owned(), 3));
        assert_eq!(policy("unless-stopped"), ("unless-stopped".to_owned(), 0));
        assert_eq!(policy(""), ("no".to_owned(), 0));
        assert!(restart("foo").unwrap_err().contains("unknown policy 'foo'"));
        assert!(restart("always:3").unwrap_err().contains("can only be used with 'on-failure'"));
        assert_eq!(restart("on-failure:x").unwrap_err(), "maximum retry count must be an integer");
    }

    #[test]
    fn reads_hosts_and_names() {
        assert_eq!(host("db:10.0.0.1").unwrap(), ("db".to_owned(), "10.0.0.1".to_owned()));
        assert_eq!(host("db=host-gateway").unwrap().1, "host-gateway");
        assert!(host("db").is_err());
        assert!(host("db:foo").is_err());
        assert!(container_name("a/b").is_err());
        assert_eq!(container_name("/web").unwrap(), "web");
    }

    #[test]
    fn splits_words() {
        assert_eq!(words("sh -c 'echo \"a b\"' x\\ y \"\"").unwrap(), ["sh", "-c", "echo \"a b\"", "x y", ""]);
        assert!(words("sh 'x").is_err());
    }

    #[test]
    fn reads_detach_keys() {
        assert_eq!(detach_keys("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(detach_keys("a,ctrl-a").unwrap(), [97, 1]);
        assert!(detach_keys("ctrl-1").is_err());
    }
}
