//! Environment variables: the user's, the image's, and the ones every container has.
//!
//! [`merge`] is part of what is written down ([`super::resolve`]); [`with_defaults`] is asked at
//! each start, as the host name can be another one by then.

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn variable_name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or(variable)
}

/// The user's variables, then the image's of other names. A name without value removes.
pub(super) fn merge(user: &[String], image: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(user.len() + image.len());
    for (index, variable) in user.iter().enumerate() {
        let name = variable_name(variable);
        let overridden = user[index + 1..].iter().any(|later| variable_name(later) == name);
        if !overridden && variable.contains('=') {
            merged.push(variable.clone());
        }
    }
    for variable in image {
        if !user.iter().any(|other| variable_name(other) == variable_name(variable)) {
            merged.push(variable.clone());
        }
    }
    merged
}

/// `PATH`, `HOSTNAME` and for a terminal `TERM`, unless `given` has them; then `given`.
pub(super) fn with_defaults(given: &[String], hostname: &str, terminal: bool) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if terminal {
        env.push("TERM=xterm".to_owned());
    }
    env.retain(|default| !given.iter().any(|other| variable_name(other) == variable_name(default)));
    env.extend(given.iter().cloned());
    env
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::{DEFAULT_PATH, merge, with_defaults};
    use crate::records::resolve::fixtures::{image, strings};

    #[test]
    fn the_users_environment_wins_and_a_bare_name_removes() {
        let user = strings(&["A=1", "A=2", "LANG", "B=3"]);
        assert_eq!(merge(&user, &image().env), ["A=2", "B=3", "PATH=/image"]);
    }

    #[test]
    fn path_hostname_and_term_are_there_unless_given() {
        assert_eq!(with_defaults(&[], "h", true), [DEFAULT_PATH, "HOSTNAME=h", "TERM=xterm"]);
        assert_eq!(with_defaults(&[], "h", false), [DEFAULT_PATH, "HOSTNAME=h"]);
        let given = image().env;
        assert_eq!(with_defaults(&given, "h", true), ["HOSTNAME=h", "TERM=xterm", "PATH=/image", "LANG=C"]);
    }
}
