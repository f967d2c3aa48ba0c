//! Environment variables and labels, from flags and from files.

use std::collections::BTreeMap;

use skep_engine::services::edit::overridden;

/// One `-e`: `NAME=VALUE`, or `NAME` to pass on the caller's.
pub(crate) fn variable(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    if text.contains('\0') {
        return Err(format!("invalid environment variable: {text:?} holds a NUL character"));
    }
    Ok(text.to_owned())
}

/// `NAME` alone is taken from `environment`, and left out when it is not set there.
pub(crate) fn resolved(variables: &[String], environment: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let value = |variable: &String| match variable.contains('=') {
        true => Some(variable.clone()),
        false => environment(variable).map(|value| format!("{variable}={value}")),
    };
    variables.iter().filter_map(value).collect()
}

/// The process's own environment, for [`resolved`].
pub(crate) fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The lines of an `--env-file` or `--label-file`, without comments.
pub(crate) fn file(path: &str) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|failure| match failure.kind() {
        std::io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
        std::io::ErrorKind::InvalidData => format!("invalid env file ({path}): it is not UTF-8 text"),
        _ => format!("open {path}: {failure}"),
    })?;
    lines(path, &text)
}

fn lines(path: &str, text: &str) -> Result<Vec<String>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() {
            return Err(format!("invalid env file ({path}): no variable name on line '{line}'"));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!("invalid env file ({path}): variable '{name}' contains whitespaces"));
        }
        variables.push(line.to_owned());
    }
    Ok(variables)
}

/// Files first, then flags; the later one wins, in place of the earlier.
pub(crate) fn merged(files: &[String], flags: &[String]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for path in files {
        all.extend(file(path)?);
    }
    all.extend(flags.iter().cloned());
    Ok(overridden(resolved(&all, of_process)))
}

/// One `--label`: `KEY` or `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        Err(format!("invalid label '{text}': empty name"))
    } else {
        Ok(text.to_owned())
    }
}

/// Labels from files and flags.
pub(crate) fn labels(files: &[String], flags: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut all = Vec::new();
    for path in files {
        all.extend(file(path).map_err(|error| error.replace("invalid env file", "invalid label file"))?);
    }
    all.extend(flags.iter().cloned());
    Ok(pairs(&all))
}

/// `KEY=VALUE` words as a map; a key alone has an empty value.
pub(crate) fn pairs(words: &[String]) -> BTreeMap<String, String> {
    words
        .iter()
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// One `KEY=VALUE` flag, such as `--sysctl` and `--opt`.
pub(crate) fn pair(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("bad format for key=value: {text}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn passes_on_the_callers_variables() {
        let environment = |name: &str| (name == "HERE").then(|| "yes".to_owned());
        let variables = ["A=1", "HERE", "GONE"].map(str::to_owned);
        assert_eq!(resolved(&variables, environment), ["A=1", "HERE=yes"]);
        assert_eq!(variable("=a").unwrap_err(), "invalid environment variable: =a");
    }

    #[test]
    fn reads_files() {
        assert_eq!(lines("f", "# c\n\n  A=b c\nD\n").unwrap(), ["A=b c", "D"]);
        assert!(lines("f", "A B=c").unwrap_err().contains("contains whitespaces"));
        assert!(lines("f", "=c").unwrap_err().contains("no variable name"));
        assert_eq!(file("/nope").unwrap_err(), "open /nope: no such file or directory");
    }
}
