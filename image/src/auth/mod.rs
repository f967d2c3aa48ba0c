//! Who to be at a registry: credentials as docker and the containers tools keep them.
//!
//! Helper programs (`credsStore`, `credHelpers`) are never run: no program is. Where a file names one and
//! has no credentials of its own, the error of a refused pull says so.

mod files;
mod login;

pub use files::CredentialFiles;
pub(crate) use files::StoredCredentials;
pub use login::{LoginOptions, LoginOutcome, LogoutOutcome, login, logout};

use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use skep_common::ErrorKind;
use thiserror::Error;

use crate::registry::{Credentials, RegistryError};

/// Why credentials cannot be read, checked or kept.
#[derive(Debug, Error)]
pub enum AuthError {
    /// A file cannot be read.
    #[error("cannot read the credentials in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write the credentials to {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not JSON of the expected shape.
    #[error("the credentials in {path} are malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it departs from the format.
        #[source]
        source: serde_json::Error,
    },
    /// The credentials of one registry are not a user and a password.
    #[error("the credentials for {registry} are malformed: log in again")]
    MalformedEntry {
        /// The registry.
        registry: String,
    },
    /// Credentials handed over in a request are malformed.
    #[error("the registry credentials of the request are malformed")]
    MalformedHeader,
    /// The name of the registry is not one.
    #[error("{server:?} is not the name of a registry")]
    BadServer {
        /// What was given.
        server: String,
    },
    /// There is no home directory to keep credentials in.
    #[error("HOME is not set: set it, or DOCKER_CONFIG to a directory")]
    NoHome,
    /// The registry did not accept them, or could not be asked.
    #[error("login to {server} failed")]
    Refused {
        /// The registry.
        server: String,
        /// Its answer.
        #[source]
        source: Box<RegistryError>,
    },
}

impl AuthError {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            AuthError::MalformedHeader | AuthError::BadServer { .. } => ErrorKind::BadArgument,
            AuthError::Refused { source, .. } => source.kind(),
            AuthError::Read { .. }
            | AuthError::Write { .. }
            | AuthError::Malformed { .. }
            | AuthError::MalformedEntry { .. }
            | AuthError::NoHome => ErrorKind::Internal,
        }
    }

    /// Whether trying again later, with nothing changed, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, AuthError::Refused { source, .. } if source.is_retryable())
    }
}

/// Base64 in either padding: programs differ.
fn lenient(alphabet: &base64::alphabet::Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// The content of docker's `X-Registry-Auth`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Header {
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    password: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identitytoken: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registrytoken: Option<String>,
}

impl Credentials {
    /// Reads docker's `X-Registry-Auth`: JSON in URL-safe base64. Empty means none.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn from_registry_auth_header(header: &str) -> Result<Option<Credentials>, AuthError> {
        let malformed = |_| AuthError::MalformedHeader;
        let bytes = lenient(&base64::alphabet::URL_SAFE).decode(header.trim()).map_err(malformed)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let header: Header = serde_json::from_slice(&bytes).map_err(|_| AuthError::MalformedHeader)?;
        let credentials = Credentials {
            username: header.username,
            password: header.password,
            identity_token: header.identitytoken.filter(|token| !token.is_empty()),
            registry_token: header.registrytoken.filter(|token| !token.is_empty()),
        };
        Ok((credentials != Credentials::default()).then_some(credentials))
    }

    /// Writes docker's `X-Registry-Auth`.
    #[must_use]
    pub fn to_registry_auth_header(&self) -> String {
        let header = Header {
            username: self.username.clone(),
            password: self.password.clone(),
            identitytoken: self.identity_token.clone(),
            registrytoken: self.registry_token.clone(),
        };
        let json = serde_json::to_vec(&header).unwrap_or_default();
        base64::engine::general_purpose::URL_SAFE.encode(json)
    }

    /// Reads the value of `auth` in files.
    fn from_basic(encoded: &str) -> Option<Credentials> {
        let bytes = lenient(&base64::alphabet::STANDARD).decode(encoded.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Credentials::basic(username, password.trim_end_matches('\0')))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_header_survives_and_accepts_both_paddings() {
        let credentials = Credentials { identity_token: Some("i".into()), ..Credentials::basic("ü", "p:w") };
        let header = credentials.to_registry_auth_header();
        for header in [header.as_str(), header.trim_end_matches('=')] {
            assert_eq!(Credentials::from_registry_auth_header(header).unwrap(), Some(credentials.clone()));
        }
        assert_eq!(Credentials::from_registry_auth_header("").unwrap(), None);
        assert_eq!(Credentials::from_registry_auth_header("e30=").unwrap(), None);
        assert!(Credentials::from_registry_auth_header("%%").is_err());
        assert!(Credentials::from_registry_auth_header("W10x").is_err());
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = format!("{:?}", Credentials::basic("me", "secret"));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn passwords_may_contain_colons() {
        let credentials = Credentials::basic("me", "a:b:c");
        assert_eq!(Credentials::from_basic(&credentials.to_basic()), Some(credentials));
        assert_eq!(Credentials::from_basic("bm9jb2xvbg=="), None);
    }
}
