//! What may be the name of something, and the ids of things.
//!
//! The rules are docker's. The restricted names are safe as file names: they are never empty, `.` or `..`, and hold no
//! slash.

/// Longest name that can be a file's with all that is put around it.
const OBJECT_NAME_LENGTH_MAX: usize = 255;
/// Longest label of a DNS name (RFC 1035, section 2.3.4).
const SWARM_NAME_LENGTH_MAX: usize = 63;
/// Digits of a whole id.
const ID_LENGTH: usize = 64;
/// Digits by which people know an id.
const SHORT_ID_LENGTH: usize = 12;

/// Whether a text is of docker's restricted characters: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub fn is_restricted(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Whether a text may name a container or a volume: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, as docker's engine checks it, and at
/// most 255 characters.
pub fn is_object_name(text: &str) -> bool {
    (2..=OBJECT_NAME_LENGTH_MAX).contains(&text.len()) && is_restricted(text)
}

/// Not the name of a volume. In docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you \
     intended to pass a host directory, use absolute path"
)]
pub struct VolumeNameError(pub String);

/// Checks the name of a volume: it is one of an [object](is_object_name).
///
/// # Errors
/// It is none.
pub fn check_volume_name(name: &str) -> Result<(), VolumeNameError> {
    match is_object_name(name) {
        true => Ok(()),
        false => Err(VolumeNameError(name.to_owned())),
    }
}

/// Why a text names no service, network, secret or node of a swarm. In the manager's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwarmNameError {
    /// There is none.
    #[error("meta: name must be provided")]
    Missing,
    /// It has other characters.
    #[error("invalid name {0:?}: name must be valid as a DNS name component")]
    Invalid(String),
    /// It is longer than a component of a DNS name.
    #[error("name must be 63 characters or fewer")]
    TooLong,
}

/// Checks the name of a swarm's object: one component of a DNS name, so letters, digits, and between them `-` and `_`.
///
/// # Errors
/// Why it is none.
pub fn check_swarm_name(name: &str) -> Result<(), SwarmNameError> {
    if name.is_empty() {
        return Err(SwarmNameError::Missing);
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !inner || !edge(name.chars().next()) || !edge(name.chars().next_back()) {
        return Err(SwarmNameError::Invalid(name.to_owned()));
    }
    if name.len() > SWARM_NAME_LENGTH_MAX {
        return Err(SwarmNameError::TooLong);
    }
    Ok(())
}

/// 64 hexadecimal digits nobody else has.
pub fn random_id() -> String {
    loop {
        let bytes: [u8; ID_LENGTH / 2] = rand::random();
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Docker avoids short ids that read as numbers: they would be valid host names of another kind.
        if !short_id(&id).bytes().all(|byte| byte.is_ascii_digit()) {
            return id;
        }
    }
}

/// The first 12 digits of an id, without its algorithm (`sha256:`).
pub fn short_id(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..SHORT_ID_LENGTH).unwrap_or(id)
}

/// Whether a text is a whole id: 64 hexadecimal digits in lower case.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects() {
        for good in ["web", "a1", "0.x", "A_b-c.d"] {
            assert!(is_restricted(good) && is_object_name(good), "{good}");
        }
        for bad in ["", ".", "..", "-a", "_a", "a/b", "a b", "é1", "a\n", "a\0"] {
            assert!(!is_restricted(bad) && !is_object_name(bad), "{bad:?}");
        }
        assert!(is_restricted("a") && !is_object_name("a"));
        assert_eq!(check_volume_name("data"), Ok(()));
        assert_eq!(check_volume_name("a/b"), Err(VolumeNameError("a/b".to_owned())));
        assert!(is_object_name(&"a".repeat(255)) && !is_object_name(&"a".repeat(256)));
    }

    #[test]
    fn names_of_a_swarm_are_components_of_dns_names() {
        for good in ["web", "a", "a-b_c", "1x"] {
            assert_eq!(check_swarm_name(good), Ok(()), "{good}");
        }
        for bad in ["a.b", "-a", "a-", "_a", "a b", "é"] {
            assert_eq!(check_swarm_name(bad), Err(SwarmNameError::Invalid(bad.to_owned())), "{bad}");
        }
        assert_eq!(check_swarm_name(""), Err(SwarmNameError::Missing));
        assert_eq!(check_swarm_name(&"a".repeat(63)), Ok(()));
        assert_eq!(check_swarm_name(&"a".repeat(64)), Err(SwarmNameError::TooLong));
    }

    #[test]
    fn ids_are_64_digits_and_differ() {
        let (a, b) = (random_id(), random_id());
        assert!(is_id(&a) && is_id(&b));
        assert_ne!(a, b);
        assert_eq!(short_id(&a), &a[..12]);
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("short"), "short");
        for bad in ["", &a[..63], &a.to_uppercase(), &format!("{a}0"), &format!("{}g", &a[..63])] {
            assert!(!is_id(bad) || bad == a, "{bad}");
        }
    }
}
