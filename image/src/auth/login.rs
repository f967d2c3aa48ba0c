//! Checking credentials with a registry, and keeping them in docker's file.
//!
//! The file is shared with docker: what else is in it stays as it is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use skep_common::files::{Durability, replace};

use super::AuthError;
use super::files::{DOCKER_HUB_KEY, normal_key};
use crate::environment::Environment;
use crate::reference::{DEFAULT_DOMAIN, Reference};
use crate::registries::{Registries, RegistriesError};
use crate::registry::{self, Credentials, RegistrySettings, Transport};

/// How to log in. Start from [`LoginOptions::for_environment`].
#[derive(Debug, Clone, Default)]
pub struct LoginOptions {
    /// Where registries are.
    pub registries: Registries,
    /// How to talk to them.
    pub settings: RegistrySettings,
    /// The file that is written: docker's own.
    pub file: Option<PathBuf>,
}

impl LoginOptions {
    /// What the files of this machine and of a user say.
    ///
    /// # Errors
    /// If `registries.conf` cannot be understood.
    pub fn for_environment(environment: &Environment) -> Result<LoginOptions, RegistriesError> {
        Ok(LoginOptions {
            registries: Registries::for_environment(environment)?,
            settings: RegistrySettings::for_environment(environment),
            file: environment.docker_config_file(),
        })
    }
}

/// What a login did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginOutcome {
    /// The registry, as docker names it.
    pub server: String,
    /// Where the credentials are kept, unencrypted.
    pub file: PathBuf,
    /// A program that the file names for keeping them, which was not used.
    pub helper: Option<String>,
}

/// What a logout did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutOutcome {
    /// The registry, as docker names it.
    pub server: String,
    /// Whether there were credentials to remove.
    pub removed: bool,
}

/// Checks a user and a password with a registry (docker.io if none is named), and keeps them.
///
/// # Errors
/// If the registry refuses them or cannot be reached, or the file cannot be written.
pub async fn login(
    server: Option<&str>,
    username: &str,
    password: &str,
    options: &LoginOptions,
) -> Result<LoginOutcome, AuthError> {
    let registry = registry_name(server)?;
    let credentials = Credentials::basic(username, password);
    let endpoints = options.registries.login_endpoints(&registry).into_iter();
    let transports = endpoints.map(|endpoint| Transport::new(endpoint, Some(credentials.clone()), &options.settings));
    let server = server_key(&registry);
    let refused = |source| AuthError::Refused { server: registry.clone(), source: Box::new(source) };
    registry::check_login(transports).await.map_err(refused)?;
    let path = options.file.clone().ok_or(AuthError::NoHome)?;
    let entry = Value::Object(Map::from_iter([("auth".to_owned(), Value::String(credentials.to_basic()))]));
    let mut helper = None;
    edit(&path, |config| {
        helper = config.get("credsStore").and_then(Value::as_str).map(str::to_owned);
        change_auths(config, |auths| auths.insert(server.clone(), entry));
        true
    })?;
    Ok(LoginOutcome { server, file: path, helper })
}

/// Removes the credentials for a registry (docker.io if none is named) from a file such as docker's.
///
/// # Errors
/// If the file cannot be read or written.
pub fn logout(server: Option<&str>, path: &Path) -> Result<LogoutOutcome, AuthError> {
    let registry = registry_name(server)?;
    let mut removed = false;
    if path.exists() {
        edit(path, |config| {
            removed = change_auths(config, |auths| {
                let before = auths.len();
                auths.retain(|key, _| normal_key(key) != registry);
                auths.len() < before
            });
            removed
        })?;
    }
    Ok(LogoutOutcome { server: server_key(&registry), removed })
}

fn registry_name(server: Option<&str>) -> Result<String, AuthError> {
    let Some(server) = server.filter(|server| !server.is_empty()) else {
        return Ok(DEFAULT_DOMAIN.into());
    };
    let name = normal_key(server);
    match format!("{name}/skep").parse::<Reference>() {
        Ok(reference) if reference.domain() == name => Ok(name.into()),
        // A name without dot or port is a registry all the same when it is given as one.
        Ok(_) | Err(_) => Err(AuthError::BadServer { server: server.into() }),
    }
}

/// How docker's file names a registry.
fn server_key(registry: &str) -> String {
    if registry == DEFAULT_DOMAIN { DOCKER_HUB_KEY.into() } else { registry.into() }
}

/// Changes the entries of the registries; what else is in the file stays.
fn change_auths<T>(config: &mut Map<String, Value>, change: impl FnOnce(&mut Map<String, Value>) -> T) -> T {
    let entry = config.entry("auths").or_insert(Value::Null);
    let mut auths = match entry.take() {
        Value::Object(auths) => auths,
        _ => Map::new(),
    };
    let result = change(&mut auths);
    *entry = Value::Object(auths);
    result
}

/// Changes the file under a lock on its directory; `change` tells whether to write.
fn edit(path: &Path, change: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<(), AuthError> {
    let writing = |source: io::Error| AuthError::Write { path: path.into(), source };
    // A link is kept, and what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = target.parent().unwrap_or(Path::new("/"));
    if !directory.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(writing)?;
    }
    let lock = File::open(directory).map_err(writing)?;
    lock.lock().map_err(writing)?;
    let mut config = match fs::read(&target) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => Map::new(),
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|source| AuthError::Malformed { path: path.into(), source })?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(source) => return Err(AuthError::Read { path: path.into(), source }),
    };
    if !change(&mut config) {
        return Ok(());
    }
    let mut json = serde_json::to_vec_pretty(&config).map_err(|error| writing(error.into()))?;
    json.push(b'\n');
    replace(&target, &json, 0o600, Durability::Durable).map_err(|error| writing(error.source))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn servers_are_named_as_docker_names_them() {
        assert_eq!(registry_name(None).unwrap(), "docker.io");
        assert_eq!(registry_name(Some("https://index.docker.io/v1/")).unwrap(), "docker.io");
        assert_eq!(registry_name(Some("http://host:5000/")).unwrap(), "host:5000");
        assert_eq!(server_key("docker.io"), DOCKER_HUB_KEY);
        for bad in ["a b", "host/path", "../x", "-x.y"] {
            assert!(registry_name(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_fields_links_and_the_mode_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real.json");
        let link = directory.path().join("link.json");
        fs::write(&real, r#"{"proxies":{"a":1},"auths":{"old":{"auth":"eDp5"}}}"#).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        edit(&link, |config| {
            change_auths(config, |auths| auths.insert("new".into(), Value::Null));
            true
        })
        .unwrap();
        let config: Value = serde_json::from_slice(&fs::read(&real).unwrap()).unwrap();
        assert_eq!(config["proxies"]["a"], 1);
        assert_eq!(config["auths"].as_object().unwrap().len(), 2);
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_malformed_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, "{oops").unwrap();
        assert!(matches!(edit(&path, |_| true), Err(AuthError::Malformed { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{oops");
    }
}
