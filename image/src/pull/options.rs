//! How to pull: for which platform, as whom, from where, and how patiently.

use super::PullError;
use crate::auth::{CredentialFiles, StoredCredentials};
use crate::environment::Environment;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registries::{Endpoint, Registries};
use crate::registry::{Credentials, RegistrySettings, Repository};

/// How to pull. Start from [`PullOptions::for_environment`].
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
    /// How to talk to them.
    pub settings: RegistrySettings,
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
            settings: RegistrySettings::default(),
            parallel_layers: 3,
        }
    }
}

impl PullOptions {
    /// What the files of this machine and of a user say.
    ///
    /// # Errors
    /// If `registries.conf` cannot be understood.
    pub fn for_environment(environment: &Environment) -> Result<PullOptions, PullError> {
        Ok(PullOptions {
            registries: Registries::for_environment(environment).map_err(PullError::Registries)?,
            credential_files: CredentialFiles::new(environment.credential_files()),
            settings: RegistrySettings::for_environment(environment),
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
        Repository::new(reference, endpoints, credentials, hint, &self.settings).map_err(PullError::Registry)
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
