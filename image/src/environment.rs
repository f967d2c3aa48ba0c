//! What a user's environment says about registries.
//!
//! Made by whoever owns the process, which is not this library: it reads no variable of its own, so that a server can
//! pull for many users. Handed to [`PullOptions::for_environment`](crate::PullOptions::for_environment) and to
//! [`LoginOptions::for_environment`](crate::LoginOptions::for_environment).

use std::ffi::OsString;
use std::path::PathBuf;

/// The variables that matter, each as a path; one that is empty counts as not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `DOCKER_CONFIG`: the directory of docker's `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `REGISTRY_AUTH_FILE`: a file with credentials, before all others.
    pub registry_auth_file: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_directory: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_directory: Option<PathBuf>,
    /// `CONTAINERS_REGISTRIES_CONF`: the one file to use in place of the system's.
    pub registries_file: Option<PathBuf>,
    /// `SSL_CERT_FILE`: the certificate authorities to trust in place of the system's.
    pub certificate_bundle: Option<PathBuf>,
    /// Numeric id of the user.
    pub user_id: u32,
}

impl Environment {
    /// Asks `variable` for each variable.
    pub fn new(variable: impl Fn(&str) -> Option<OsString>, user_id: u32) -> Environment {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Environment {
            home: path("HOME"),
            docker_config: path("DOCKER_CONFIG"),
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            runtime_directory: path("XDG_RUNTIME_DIR"),
            config_directory: path("XDG_CONFIG_HOME"),
            registries_file: path("CONTAINERS_REGISTRIES_CONF"),
            certificate_bundle: path("SSL_CERT_FILE"),
            user_id,
        }
    }

    /// Docker's own file, if the environment says where: the one that `login` writes.
    #[must_use]
    pub fn docker_config_file(&self) -> Option<PathBuf> {
        let directory = self.docker_config.clone().or_else(|| Some(self.home.as_ref()?.join(".docker")))?;
        Some(directory.join("config.json"))
    }

    /// The files that may hold credentials, in the order in which they are looked into.
    pub(crate) fn credential_files(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.registry_auth_file.clone().into_iter().collect();
        paths.extend(self.docker_config_file());
        let runtime = self.runtime_directory.clone();
        let runtime = runtime.map(|directory| directory.join("containers"));
        paths.push(runtime.unwrap_or_else(|| format!("/run/containers/{}", self.user_id).into()).join("auth.json"));
        let config = self.config_directory.clone().or_else(|| Some(self.home.as_ref()?.join(".config")));
        paths.extend(config.map(|config| config.join("containers/auth.json")));
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(variables: &[(&str, &str)]) -> Vec<String> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let paths = Environment::new(value, 7).credential_files();
        paths.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn credentials_are_looked_for_where_others_keep_them() {
        assert_eq!(files(&[]), ["/run/containers/7/auth.json"]);
        assert_eq!(
            files(&[("HOME", "/h"), ("DOCKER_CONFIG", "")]),
            ["/h/.docker/config.json", "/run/containers/7/auth.json", "/h/.config/containers/auth.json"]
        );
        let all = [
            ("HOME", "/h"),
            ("DOCKER_CONFIG", "/d"),
            ("REGISTRY_AUTH_FILE", "/r"),
            ("XDG_RUNTIME_DIR", "/x"),
            ("XDG_CONFIG_HOME", "/c"),
        ];
        assert_eq!(files(&all), ["/r", "/d/config.json", "/x/containers/auth.json", "/c/containers/auth.json"]);
    }
}
