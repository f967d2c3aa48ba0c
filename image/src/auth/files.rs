//! The files that hold credentials, and how entries in them are named.
//!
//! Order: REGISTRY_AUTH_FILE, docker's config.json, then auth.json in XDG_RUNTIME_DIR (or /run/containers)
//! and in ~/.config/containers. The first file that knows the registry counts; in a file, the entry
//! whose name covers most of the repository (containers-auth.json(5)).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::AuthError;
use crate::reference::DEFAULT_DOMAIN;
use crate::registry::Credentials;

/// What docker calls docker.io in its file.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The files to look into, in order. Read anew at each use: they are small, and `login` changes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    paths: Vec<PathBuf>,
}

/// What the files say about a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredCredentials {
    /// The credentials, if a file has them.
    pub credentials: Option<Credentials>,
    /// A program that a file names for them, which is not run.
    pub helper: Option<String>,
}

#[derive(Default, Deserialize)]
struct WireFile {
    #[serde(default)]
    auths: Option<BTreeMap<String, WireEntry>>,
    #[serde(default, rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl CredentialFiles {
    /// Exactly these files.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> CredentialFiles {
        CredentialFiles { paths }
    }

    /// The credentials for a repository of a registry.
    ///
    /// # Errors
    /// If a file exists and cannot be read or understood.
    pub fn find(&self, registry: &str, repository: &str) -> Result<StoredCredentials, AuthError> {
        let mut found = StoredCredentials::default();
        for path in &self.paths {
            let Some(file) = read(path)? else { continue };
            let stored = file.find(registry, repository)?;
            found.helper = found.helper.or(stored.helper);
            if stored.credentials.is_some() {
                found.credentials = stored.credentials;
                break;
            }
        }
        Ok(found)
    }
}

fn read(path: &Path) -> Result<Option<WireFile>, AuthError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(AuthError::Read { path: path.into(), source }),
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let malformed = |source| AuthError::Malformed { path: path.into(), source };
    serde_json::from_slice(&bytes).map(Some).map_err(malformed)
}

/// An entry's name without scheme and API version: `https://host/v1/` is `host`.
pub(super) fn normal_key(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    if matches!(key, "index.docker.io" | "registry-1.docker.io") { DEFAULT_DOMAIN } else { key }
}

impl WireFile {
    fn find(&self, registry: &str, repository: &str) -> Result<StoredCredentials, AuthError> {
        let name = if repository.is_empty() { registry.to_owned() } else { format!("{registry}/{repository}") };
        let covers = |key: &str| {
            let key = normal_key(key);
            name.strip_prefix(key).filter(|rest| rest.is_empty() || rest.starts_with('/')).map(|_| key.len())
        };
        let helper = self.helpers.iter().flatten().find(|(key, _)| normal_key(key) == registry);
        let helper = helper.map(|(_, helper)| helper.clone()).or_else(|| self.store.clone());
        let entries = self.auths.iter().flatten().filter(|(_, entry)| !entry.is_empty());
        let best = entries.filter_map(|(key, entry)| Some((covers(key)?, entry))).max_by_key(|(covered, _)| *covered);
        let credentials = match best {
            Some((_, entry)) => Some(entry.credentials(registry)?),
            None => None,
        };
        Ok(StoredCredentials { credentials, helper: helper.filter(|helper| !helper.is_empty()) })
    }
}

impl WireEntry {
    /// Docker leaves an empty entry where a helper has the credentials.
    fn is_empty(&self) -> bool {
        let fields = [&self.auth, &self.username, &self.identitytoken, &self.registrytoken];
        fields.iter().all(|field| field.as_ref().is_none_or(String::is_empty))
    }

    fn credentials(&self, registry: &str) -> Result<Credentials, AuthError> {
        let mut credentials = match self.auth.as_deref().filter(|auth| !auth.is_empty()) {
            Some(auth) => {
                Credentials::from_basic(auth).ok_or_else(|| AuthError::MalformedEntry { registry: registry.into() })?
            }
            None => Credentials::basic(
                self.username.as_deref().unwrap_or_default(),
                self.password.as_deref().unwrap_or_default(),
            ),
        };
        credentials.identity_token = self.identitytoken.clone().filter(|token| !token.is_empty());
        credentials.registry_token = self.registrytoken.clone().filter(|token| !token.is_empty());
        Ok(credentials)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn files(texts: &[&str]) -> (tempfile::TempDir, CredentialFiles) {
        let directory = tempfile::tempdir().unwrap();
        let paths = (0..texts.len()).map(|number| directory.path().join(number.to_string()));
        let paths: Vec<PathBuf> = paths.collect();
        paths.iter().zip(texts).for_each(|(path, text)| fs::write(path, text).unwrap());
        (directory, CredentialFiles { paths })
    }

    #[track_caller]
    fn check(texts: &[&str], registry: &str, repository: &str, user: Option<&str>) {
        let (_directory, files) = files(texts);
        let found = files.find(registry, repository).unwrap();
        assert_eq!(found.credentials.map(|credentials| credentials.username).as_deref(), user);
    }

    #[test]
    fn entries_are_found_under_all_their_names() {
        // base64 of hub:x, host:x, team:x
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOng="},"http://host:5000/v2/":{"auth":"aG9zdDp4"},
            "host:5000/team":{"auth":"dGVhbTp4"},"other":{}}}"#;
        check(&[text], "docker.io", "library/nginx", Some("hub"));
        check(&[text], "host:5000", "app", Some("host"));
        check(&[text], "host:5000", "team/app", Some("team"));
        check(&[text], "host:5000", "teamwork", Some("host"));
        check(&[text], "host", "app", None);
        check(&[text], "other", "app", None);
        check(&["", "{}", text], "docker.io", "x/y", Some("hub"));
        check(&[r#"{"auths":{"a":{"username":"u","password":"p"}}}"#], "a", "x", Some("u"));
    }

    #[test]
    fn helpers_are_reported_and_not_run() {
        let text = r#"{"credsStore":"secretservice","credHelpers":{"gcr.io":"gcloud"},"auths":{"gcr.io":{}}}"#;
        let (_directory, files) = files(&[text]);
        assert_eq!(files.find("gcr.io", "x").unwrap().helper.as_deref(), Some("gcloud"));
        assert_eq!(files.find("a.io", "x").unwrap().helper.as_deref(), Some("secretservice"));
    }

    #[test]
    fn malformed_files_are_named() {
        let (_directory, broken) = files(&["{"]);
        assert!(matches!(broken.find("a", "b"), Err(AuthError::Malformed { .. })));
        let (_directory, entry) = files(&[r#"{"auths":{"a":{"auth":"!"}}}"#]);
        assert!(matches!(entry.find("a", "b"), Err(AuthError::MalformedEntry { .. })));
        let missing = CredentialFiles { paths: vec!["/nonexistent/x".into()] };
        assert_eq!(missing.find("a", "b").unwrap(), StoredCredentials::default());
    }
}
