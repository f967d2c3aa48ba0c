//! How to talk to a registry, whatever for: as whom, whom to trust, and how patiently.
//!
//! Handed down by the pull and by the login.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;

use crate::environment::Environment;

const BACK_OFF_MAX: Duration = Duration::from_secs(8);
/// Where certificates for single registries are kept (containers-certs.d(5)).
const CERTIFICATE_DIRECTORIES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// How to talk to registries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Where certificates for single registries are kept.
    pub certificate_directories: Vec<PathBuf>,
    /// The certificate authorities to trust; the system's if none are given.
    pub certificate_bundle: Option<PathBuf>,
    /// Limits of patience.
    pub timeouts: Timeouts,
}

impl RegistrySettings {
    /// What this machine and the user's environment say.
    #[must_use]
    pub fn for_environment(environment: &Environment) -> RegistrySettings {
        RegistrySettings {
            certificate_directories: CERTIFICATE_DIRECTORIES.map(PathBuf::from).to_vec(),
            certificate_bundle: environment.certificate_bundle.clone(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Limits of patience. An unreachable registry is given up after twice `connect` or `stall`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For making a connection.
    pub connect: Duration,
    /// Without any byte, while something is expected.
    pub stall: Duration,
    /// How often a request is sent at most.
    pub attempts: u32,
    /// The first wait between two attempts; it doubles with each.
    pub retry_first: Duration,
    /// The longest wait that a registry may ask for.
    pub retry_after_max: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(15),
            attempts: 5,
            retry_first: Duration::from_secs(1),
            retry_after_max: Duration::from_secs(15),
        }
    }
}

impl Timeouts {
    /// How long to wait after so many attempts.
    pub(crate) fn back_off(&self, attempts: u32) -> Duration {
        self.retry_first.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(BACK_OFF_MAX)
    }
}

/// A user's proof of identity for one registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// Who.
    pub username: String,
    /// The password, or a personal access token.
    pub password: String,
    /// A refresh token to use instead of the password.
    pub identity_token: Option<String>,
    /// A bearer token to send as it is.
    pub registry_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Credentials({:?}, hidden)", self.username)
    }
}

impl Credentials {
    /// A user and a password.
    #[must_use]
    pub fn basic(username: &str, password: &str) -> Credentials {
        Credentials { username: username.into(), password: password.into(), ..Credentials::default() }
    }

    /// The value of an `Authorization: Basic` header, and of `auth` in files.
    pub(crate) fn to_basic(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.username, self.password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let timeouts = Timeouts::default();
        let waits: Vec<u64> = (0..7).map(|attempts| timeouts.back_off(attempts).as_secs()).collect();
        assert_eq!(waits, [1, 1, 2, 4, 8, 8, 8]);
        assert_eq!(timeouts.back_off(u32::MAX), BACK_OFF_MAX);
    }
}
