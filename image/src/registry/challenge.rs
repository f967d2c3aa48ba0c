//! What a registry asks for with `WWW-Authenticate` (RFC 9110, 11.6.1; distribution `token.md`). Pure.

use std::collections::BTreeMap;

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Send user and password with each request.
    Basic,
    /// Get a token there first.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// All challenges of all headers that are understood.
pub(super) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    headers.flat_map(parse_header).collect()
}

fn parse_header(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let (token, after) = split_token(rest);
        if token.is_empty() {
            break;
        }
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, after) = split_value(value.trim_start());
            if let Some((_, parameters)) = challenges.last_mut() {
                parameters.entry(token.to_ascii_lowercase()).or_insert(value);
            }
            rest = after;
        } else {
            challenges.push((token.to_ascii_lowercase(), BTreeMap::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    challenges.into_iter().filter_map(|(scheme, parameters)| challenge(&scheme, parameters)).collect()
}

fn challenge(scheme: &str, mut parameters: BTreeMap<String, String>) -> Option<Challenge> {
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        }),
        _ => None,
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[position + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        assert_eq!(parse([hub].into_iter()), [expected]);
        assert_eq!(parse(["basic realm=\"x\""].into_iter()), [Challenge::Basic]);
        assert_eq!(parse(["Negotiate, Basic realm=x, Bearer realm=\"a\\\"b\""].into_iter()).len(), 2);
        assert_eq!(parse(["Negotiate", "Basic"].into_iter()), [Challenge::Basic]);
        assert!(parse(["Bearer service=\"x\"", "", "=,=", "Bearer realm=\""].into_iter()).len() <= 1);
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics_or_loops(text in "[a-zA-Z=\", \\\\é]{0,60}") {
            parse([text.as_str()].into_iter());
        }
    }
}
