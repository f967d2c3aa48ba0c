//! `POST /auth`, and the way back: the logins with which images are pulled.
//!
//! Whose they are, and in which files, the caller says by an [`Environment`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skep_image::{AuthError, Environment, LoginOptions, PullError};

use crate::error::Result;

/// Somebody who logs in.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// The registry; none: docker.io.
    #[serde(rename = "serveraddress")]
    pub server: Option<String>,
}

/// What a login did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// The registry, as docker names it.
    pub server: String,
    /// Where the credentials are kept, unencrypted.
    pub file: PathBuf,
}

/// What a logout did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedOut {
    /// The registry, as docker names it.
    pub server: String,
    /// Whether there were credentials to remove.
    pub removed: bool,
}

/// Checks a user and a password with a registry, and keeps them.
///
/// # Errors
/// [`crate::ErrorKind::Unauthenticated`] if the registry refuses them; `registries.conf` cannot be understood, or the
/// file of credentials not be written.
pub async fn login(request: &Login, environment: &Environment) -> Result<LoggedIn> {
    let options = LoginOptions::for_environment(environment).map_err(PullError::Registries)?;
    let done = skep_image::login(request.server.as_deref(), &request.username, &request.password, &options).await?;
    Ok(LoggedIn { server: done.server, file: done.file })
}

/// Forgets the credentials for a registry; none: docker.io.
///
/// # Errors
/// There is no home directory, or the file of credentials cannot be read or written.
pub fn logout(server: Option<&str>, environment: &Environment) -> Result<LoggedOut> {
    let file = environment.docker_config_file().ok_or(AuthError::NoHome)?;
    let done = skep_image::logout(server, &file)?;
    Ok(LoggedOut { server: done.server, removed: done.removed })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn environment(home: Option<&std::path::Path>) -> Environment {
        let home = home.map(|path| path.as_os_str().to_owned());
        Environment::new(|name| home.clone().filter(|_| name == "DOCKER_CONFIG"), 0)
    }

    #[test]
    fn a_login_is_forgotten_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        std::fs::write(&file, r#"{"auths":{"r.example":{"auth":"YTpi"}}}"#).unwrap();
        let environment = environment(Some(directory.path()));
        let mut expected = LoggedOut { server: "r.example".to_owned(), removed: true };
        assert_eq!(logout(Some("r.example"), &environment).unwrap(), expected);
        assert!(!std::fs::read_to_string(&file).unwrap().contains("YTpi"));
        expected.removed = false;
        assert_eq!(logout(Some("r.example"), &environment).unwrap(), expected);
    }

    #[test]
    fn who_logs_in_is_read_from_docker_s_json() {
        let request: Login =
            serde_json::from_str(r#"{"username":"a","password":"b","serveraddress":"r.example"}"#).unwrap();
        assert_eq!((request.username.as_str(), request.password.as_str()), ("a", "b"));
        assert_eq!(request.server.as_deref(), Some("r.example"));
    }
}
