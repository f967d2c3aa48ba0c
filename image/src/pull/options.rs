//! How to pull: for which platform, as whom, from where, and how patiently.

use std::path::PathBuf;
use std::time::Duration;

use super::PullError;
use crate::auth::{CredentialFiles, Credentials, StoredCredentials};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registries::{Endpoint, Registries};
use crate::registry::{self, Repository};

const BACK_OFF_MAX: Duration = Duration::from_secs(8);

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

/// How to pull. Start from [`PullOptions::from_environment`].
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Which image of an index to take.
    pub platform: Platform,
    /// Who to be, instead of what the files say. Not sent to mirrors.
    pub credentials: Option<Credentials>,
    /// Where images are fetched from.
    pub registries: Registries,
    /// Where credentials are kept.
    pub credential_files: CredentialFiles,
    /// The file that `login` writes; docker's own if none is given.
    pub docker_config: Option<PathBuf>,
    /// Where certificates for single registries are kept.
    pub certificate_directories: Vec<PathBuf>,
    /// Limits of patience.
    pub timeouts: Timeouts,
    /// How many layers are fetched and unpacked at once; at least one.
    pub parallel_layers: usize,
}

impl Default for PullOptions {
    /// No configuration files, this machine's platform.
    fn default() -> PullOptions {
        PullOptions {
            platform: Platform::host(),
            credentials: None,
            registries: Registries::default(),
            credential_files: CredentialFiles::default(),
            docker_config: None,
            certificate_directories: Vec::new(),
            timeouts: Timeouts::default(),
            parallel_layers: 3,
        }
    }
}

impl PullOptions {
    /// What the files of this machine and user say.
    ///
    /// # Errors
    /// If `registries.conf` cannot be understood.
    pub fn from_environment() -> Result<PullOptions, PullError> {
        Ok(PullOptions {
            registries: Registries::from_environment().map_err(PullError::Registries)?,
            credential_files: CredentialFiles::from_environment(),
            certificate_directories: registry::certificate_directories(),
            ..PullOptions::default()
        })
    }

    /// The places for a reference, with the credentials for each.
    pub(super) fn repository(&self, reference: &Reference) -> Result<Repository, PullError> {
        let endpoints = self.registries.endpoints(reference).map_err(PullError::Registries)?;
        let mut found = Vec::with_capacity(endpoints.len());
        let mut hint = None;
        for endpoint in &endpoints {
            let stored = self.stored(endpoint)?;
            if stored.credentials.is_none() && !endpoint.is_mirror {
                hint = stored.helper.map(|helper| {
                    format!("the credential helper {helper:?} of your configuration is not run: use 'skep login'")
                });
            }
            found.push((endpoint.clone(), stored.credentials));
        }
        let credentials = |endpoint: &Endpoint| {
            if let (Some(given), false) = (&self.credentials, endpoint.is_mirror) {
                return Some(given.clone());
            }
            found.iter().find(|(known, _)| known == endpoint).and_then(|(_, credentials)| credentials.clone())
        };
        Repository::new(reference, endpoints, credentials, hint, self).map_err(PullError::Registry)
    }

    /// The credentials that the files have for the place an image really comes from, to hand them to
    /// another node as [`PullOptions::credentials`].
    ///
    /// # Errors
    /// If a file cannot be read or understood, or the registry is blocked.
    pub fn stored_credentials(&self, reference: &Reference) -> Result<Option<Credentials>, PullError> {
        let endpoints = self.registries.endpoints(reference).map_err(PullError::Registries)?;
        match endpoints.iter().find(|endpoint| !endpoint.is_mirror) {
            Some(endpoint) => Ok(self.stored(endpoint)?.credentials),
            None => Ok(None),
        }
    }

    /// What is kept for a place. What is kept for the name that was rewritten to it is not for it.
    fn stored(&self, endpoint: &Endpoint) -> Result<StoredCredentials, PullError> {
        let found = self.credential_files.find(&endpoint.registry, &endpoint.repository);
        found.map_err(PullError::Credentials)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
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
