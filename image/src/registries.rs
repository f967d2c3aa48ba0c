//! `registries.conf`: where the images of a registry are really fetched from. Pure but for reading files.
//!
//! Format: containers-registries.conf(5), version 2. The file named by CONTAINERS_REGISTRIES_CONF, or
//! `/etc/containers/registries.conf` and then `/etc/containers/registries.conf.d/*.conf` in order of name,
//! each replacing the entries with the same prefix. Short names are always docker.io's here, as docker
//! reads them, so `unqualified-search-registries` is accepted and has no effect.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use skep_common::ErrorKind;
use thiserror::Error;

use crate::environment::Environment;
use crate::reference::{DEFAULT_DOMAIN, Reference};

const SYSTEM_FILE: &str = "/etc/containers/registries.conf";
const SYSTEM_DIRECTORY: &str = "/etc/containers/registries.conf.d";
/// Where docker.io answers.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Why the configuration of registries cannot be used.
#[derive(Debug, Error)]
pub enum RegistriesError {
    /// A file cannot be read.
    #[error("cannot read the registries configuration {path}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not TOML of the expected shape.
    #[error("the registries configuration {path} is malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it departs from the format.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file is in the format of version 1.
    #[error(
        "the registries configuration {path} is in the old version 1 format ([registries.…]): \
         write [[registry]] entries instead, see containers-registries.conf(5)"
    )]
    Version1 {
        /// The file.
        path: PathBuf,
    },
    /// An entry makes no sense.
    #[error("the registries configuration {path} has a bad entry: {reason}")]
    BadEntry {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The registry is blocked.
    #[error("registry {prefix} is blocked in {path}: {reference} cannot be pulled")]
    Blocked {
        /// The entry that blocks it.
        prefix: String,
        /// The file it is in.
        path: PathBuf,
        /// What was to be pulled.
        reference: String,
    },
}

/// How to talk to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// TLS with a certificate that is checked.
    Https,
    /// No TLS.
    Http,
    /// TLS with whatever certificate.
    HttpsUnverified,
}

/// One place to ask for a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name and port that are connected to.
    pub host: String,
    /// The registry's name, as credentials are kept for it.
    pub registry: String,
    /// The repository there.
    pub repository: String,
    /// How to talk to it.
    pub scheme: Scheme,
    /// Whether it is a mirror of the real place.
    pub is_mirror: bool,
}

/// All entries, by prefix.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    file: PathBuf,
    location: String,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Clone)]
struct Mirror {
    location: String,
    insecure: bool,
    by_digest: bool,
    by_tag: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WireFile {
    #[serde(default)]
    registry: Vec<WireEntry>,
    registries: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WireEntry {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<WireMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WireMirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

impl RegistriesError {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            RegistriesError::Blocked { .. } => ErrorKind::Forbidden,
            RegistriesError::Read { .. }
            | RegistriesError::Malformed { .. }
            | RegistriesError::Version1 { .. }
            | RegistriesError::BadEntry { .. } => ErrorKind::Internal,
        }
    }
}

impl Registries {
    /// Reads the configuration of this machine, or what a user's environment names in its place. No files are no entries.
    ///
    /// # Errors
    /// If a file cannot be read or understood.
    pub fn for_environment(environment: &Environment) -> Result<Registries, RegistriesError> {
        match environment.registries_file.clone() {
            Some(path) => {
                let mut registries = Registries::default();
                let text = fs::read_to_string(&path);
                let text = text.map_err(|source| RegistriesError::Read { path: path.clone(), source })?;
                registries.add(&path, &text)?;
                Ok(registries)
            }
            None => Registries::load(Path::new(SYSTEM_FILE), Path::new(SYSTEM_DIRECTORY)),
        }
    }

    /// Reads one file and all `*.conf` of a directory, where they exist.
    ///
    /// # Errors
    /// If one exists and cannot be read or understood.
    pub fn load(file: &Path, directory: &Path) -> Result<Registries, RegistriesError> {
        let failed = |path: &Path, source| RegistriesError::Read { path: path.into(), source };
        let mut files = vec![file.to_owned()];
        match fs::read_dir(directory) {
            Ok(entries) => {
                for entry in entries {
                    files.push(entry.map_err(|source| failed(directory, source))?.path());
                }
                files[1..].sort();
                files.retain(|path| path == file || path.extension().is_some_and(|extension| extension == "conf"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(directory, error)),
        }
        let mut registries = Registries::default();
        for path in files {
            match fs::read_to_string(&path) {
                Ok(text) => registries.add(&path, &text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
        Ok(registries)
    }

    /// Adds the entries of one file's text.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), RegistriesError> {
        let malformed = |source| RegistriesError::Malformed { path: path.into(), source: Box::new(source) };
        let wire: WireFile = toml::from_str(text).map_err(malformed)?;
        if wire.registries.is_some() {
            return Err(RegistriesError::Version1 { path: path.into() });
        }
        for entry in wire.registry {
            let (prefix, entry) = Entry::check(path, entry)?;
            self.entries.insert(prefix, entry);
        }
        Ok(())
    }

    /// Where a registry itself answers, for logging in: no mirrors and no rewriting, so that a password goes
    /// to the registry that the user named. It is insecure if any entry says so of that place.
    #[must_use]
    pub(crate) fn login_endpoints(&self, registry: &str) -> Vec<Endpoint> {
        let is_it = |place: &str| place.split('/').next() == Some(registry);
        let insecure = self.entries.values().any(|entry| {
            let mirrors = entry.mirrors.iter().map(|mirror| (&mirror.location, mirror.insecure));
            mirrors.chain([(&entry.location, entry.insecure)]).any(|(place, insecure)| insecure && is_it(place))
        });
        endpoint(registry, insecure || is_loopback(registry), false)
    }

    /// Where to ask for an image, in order: mirrors, then the place itself.
    ///
    /// # Errors
    /// If the registry is blocked.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistriesError> {
        let name = reference.name();
        let matching = self.entries.iter().filter_map(|(prefix, entry)| {
            let matched = matched_bytes(prefix, reference)?;
            Some((prefix.trim_start_matches('*').len(), matched, prefix, entry))
        });
        let Some((_, matched, prefix, entry)) = matching.max_by_key(|(length, ..)| *length) else {
            return Ok(endpoint(&name, is_loopback(reference.domain()), false));
        };
        if entry.blocked {
            let (prefix, path) = (prefix.clone(), entry.file.clone());
            return Err(RegistriesError::Blocked { prefix, path, reference: reference.familiar() });
        }
        // What a prefix with a tag matched is longer than the name.
        let rest = name.get(matched..).unwrap_or_default();
        let by_digest = reference.digest().is_some();
        let mut endpoints = Vec::new();
        for mirror in &entry.mirrors {
            if if by_digest { mirror.by_digest } else { mirror.by_tag } {
                endpoints.extend(endpoint(&(mirror.location.clone() + rest), mirror.insecure, true));
            }
        }
        let location = if entry.location.is_empty() { name } else { entry.location.clone() + rest };
        endpoints.extend(endpoint(&location, entry.insecure, false));
        Ok(endpoints)
    }
}

impl Entry {
    fn check(path: &Path, wire: WireEntry) -> Result<(String, Entry), RegistriesError> {
        let bad = |reason: String| RegistriesError::BadEntry { path: path.into(), reason };
        let clean = |text: &str, what: &str| {
            let text = text.trim_end_matches('/');
            if text.contains("://") {
                return Err(bad(format!(
                    "{what} {text:?} has a scheme; write the host only, and insecure = true for http"
                )));
            }
            if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control() || "?#\\".contains(c)) {
                return Err(bad(format!("{what} {text:?} is not a registry or repository")));
            }
            Ok(text.to_owned())
        };
        let location = wire.location.as_deref().filter(|text| !text.is_empty());
        let location = location.map(|text| clean(text, "location")).transpose()?;
        let prefix = match (wire.prefix.filter(|prefix| !prefix.is_empty()), &location) {
            (Some(prefix), _) => clean(&prefix, "prefix")?,
            (None, Some(location)) => location.clone(),
            (None, None) => return Err(bad("it has neither a prefix nor a location".into())),
        };
        let wildcard = prefix.starts_with("*.");
        if prefix.trim_start_matches("*.").contains('*') {
            return Err(bad(format!("prefix {prefix:?} may have * only at its beginning, as *.example.com")));
        }
        let location = location.unwrap_or_else(|| if wildcard { String::new() } else { prefix.clone() });
        let mut mirrors = Vec::new();
        for mirror in wire.mirror {
            let from = mirror.pull_from_mirror.as_deref().unwrap_or("all");
            let (by_digest, by_tag) = match from {
                "all" | "" => (true, !wire.mirror_by_digest_only),
                "digest-only" => (true, false),
                "tag-only" => (false, true),
                other => return Err(bad(format!("pull-from-mirror {other:?} is not all, digest-only or tag-only"))),
            };
            let location = clean(&mirror.location, "mirror location")?;
            mirrors.push(Mirror { location, insecure: mirror.insecure, by_digest, by_tag });
        }
        let (insecure, blocked) = (wire.insecure, wire.blocked);
        Ok((prefix, Entry { file: path.into(), location, insecure, blocked, mirrors }))
    }
}

/// How much of the reference's name a prefix covers; `None` if it does not.
fn matched_bytes(prefix: &str, reference: &Reference) -> Option<usize> {
    if let Some(suffix) = prefix.strip_prefix('*') {
        let host = reference.domain().split(':').next()?;
        return (host.len() > suffix.len() && host.ends_with(suffix)).then_some(host.len());
    }
    let canonical = reference.canonical();
    let rest = canonical.strip_prefix(prefix)?;
    let in_path = prefix.len() > reference.domain().len();
    let complete = rest.is_empty() || rest.starts_with('/') || (in_path && rest.starts_with([':', '@']));
    complete.then_some(prefix.len())
}

/// The endpoints of one place: an insecure one is asked without TLS, then with TLS unchecked.
fn endpoint(location: &str, insecure: bool, is_mirror: bool) -> Vec<Endpoint> {
    let (registry, repository) = location.split_once('/').unwrap_or((location, ""));
    let host = if registry == DEFAULT_DOMAIN { DOCKER_HUB } else { registry };
    let schemes: &[Scheme] = if insecure { &[Scheme::Http, Scheme::HttpsUnverified] } else { &[Scheme::Https] };
    let make = |scheme: &Scheme| Endpoint {
        host: host.into(),
        registry: registry.into(),
        repository: repository.into(),
        scheme: *scheme,
        is_mirror,
    };
    schemes.iter().map(make).collect()
}

/// Docker talks to registries on the machine itself without TLS.
fn is_loopback(domain: &str) -> bool {
    let host = match domain.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => domain.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Result<Registries, RegistriesError> {
        let mut registries = Registries::default();
        registries.add(Path::new("registries.conf"), text).map(|()| registries)
    }

    #[track_caller]
    fn check(text: &str, reference: &str, expected: &[&str]) {
        let endpoints = registries(text).unwrap().endpoints(&reference.parse().unwrap()).unwrap();
        let shown = |endpoint: &Endpoint| {
            let scheme = match endpoint.scheme {
                Scheme::Https => "https",
                Scheme::Http => "http",
                Scheme::HttpsUnverified => "unverified",
            };
            format!("{scheme}://{}/{}", endpoint.host, endpoint.repository)
        };
        assert_eq!(endpoints.iter().map(shown).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn without_an_entry_the_registry_itself_is_asked() {
        check("", "nginx", &["https://registry-1.docker.io/library/nginx"]);
        check("", "quay.io/a/b", &["https://quay.io/a/b"]);
        check("", "localhost:5000/a", &["http://localhost:5000/a", "unverified://localhost:5000/a"]);
        check("", "[::1]:5000/a", &["http://[::1]:5000/a", "unverified://[::1]:5000/a"]);
        check("unqualified-search-registries = ['docker.io']", "a.io/b", &["https://a.io/b"]);
    }

    #[test]
    fn mirrors_come_before_the_rewritten_location() {
        let text = r#"
            [[registry]]
            prefix = "docker.io"
            location = "10.0.0.1:5000"
            insecure = true
            [[registry.mirror]]
            location = "mirror.local/hub"
            [[registry.mirror]]
            location = "10.0.0.2:5000"
            insecure = true
            pull-from-mirror = "digest-only"
        "#;
        let real = ["http://10.0.0.1:5000/library/nginx", "unverified://10.0.0.1:5000/library/nginx"];
        check(text, "nginx", &["https://mirror.local/hub/library/nginx", real[0], real[1]]);
        let digest = crate::digest::Digest::of(b"");
        check(
            text,
            &format!("nginx@{digest}"),
            &[
                "https://mirror.local/hub/library/nginx",
                "http://10.0.0.2:5000/library/nginx",
                "unverified://10.0.0.2:5000/library/nginx",
                real[0],
                real[1],
            ],
        );
    }

    #[test]
    fn the_longest_prefix_wins_and_ends_at_a_boundary() {
        let text = r#"
            [[registry]]
            prefix = "a.io"
            location = "short"
            [[registry]]
            prefix = "a.io/team"
            location = "long/x"
            [[registry]]
            prefix = "*.b.io"
            location = "wild"
            [[registry]]
            prefix = "c.io/one:tag"
            location = "pinned/one"
        "#;
        check(text, "a.io/app", &["https://short/app"]);
        check(text, "a.io/team/app", &["https://long/x/app"]);
        check(text, "a.io/team", &["https://long/x"]);
        check(text, "a.io/teamwork", &["https://short/teamwork"]);
        check(text, "a.io:5000/app", &["https://a.io:5000/app"]);
        check(text, "x.b.io/app", &["https://wild/app"]);
        check(text, "b.io/app", &["https://b.io/app"]);
        check(text, "xb.io/app", &["https://xb.io/app"]);
        check(text, "c.io/one:tag", &["https://pinned/one"]);
        check(text, "c.io/one:other", &["https://c.io/one"]);
    }

    #[test]
    fn logging_in_asks_the_named_registry_and_no_other() {
        let text = "[[registry]]\nprefix='docker.io'\nlocation='10.0.0.1:5000/hub'\ninsecure=true\n\
                    [[registry.mirror]]\nlocation='m.io'\n";
        let shown = |registry: &str| -> Vec<(String, Scheme)> {
            let endpoints = registries(text).unwrap().login_endpoints(registry);
            endpoints.into_iter().map(|endpoint| (endpoint.host, endpoint.scheme)).collect()
        };
        let place = "10.0.0.1:5000".to_owned();
        assert_eq!(shown("10.0.0.1:5000"), [(place.clone(), Scheme::Http), (place, Scheme::HttpsUnverified)]);
        assert_eq!(shown("docker.io"), [(DOCKER_HUB.to_owned(), Scheme::Https)]);
        assert_eq!(shown("m.io"), [("m.io".to_owned(), Scheme::Https)]);
    }

    #[test]
    fn a_wildcard_without_location_keeps_the_name() {
        check(
            "[[registry]]\nprefix='*.b.io'\ninsecure=true",
            "x.b.io/a",
            &["http://x.b.io/a", "unverified://x.b.io/a"],
        );
    }

    #[test]
    fn bad_files_are_refused_with_a_remedy() {
        let message = |text| registries(text).unwrap_err().to_string();
        assert!(message("[registries.search]\nregistries=['docker.io']").contains("version 1 format"));
        assert!(message("[[registry]]").contains("neither a prefix nor a location"));
        assert!(message("[[registry]]\nlocation='http://x'").contains("has a scheme"));
        assert!(message("[[registry]]\nprefix='a.*.b'\nlocation='x'").contains("only at its beginning"));
        assert!(message("[[registry]]\nlocation='x'\n[[registry.mirror]]\nlocation='a b'").contains("mirror location"));
        assert!(message("x = [").contains("is malformed"));
        let blocked = registries("[[registry]]\nlocation='evil.io'\nblocked=true").unwrap();
        let error = blocked.endpoints(&"evil.io/x".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "registry evil.io is blocked in registries.conf: evil.io/x:latest cannot be pulled");
    }

    #[test]
    fn files_of_the_directory_override_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("registries.conf");
        let drop_ins = directory.path().join("d");
        fs::create_dir(&drop_ins).unwrap();
        let entry = |location: &str| format!("[[registry]]\nprefix='a.io'\nlocation='{location}'\n");
        fs::write(&file, entry("main")).unwrap();
        fs::write(drop_ins.join("20.conf"), entry("second")).unwrap();
        fs::write(drop_ins.join("10.conf"), entry("first")).unwrap();
        fs::write(drop_ins.join("30.ignored"), "not toml [").unwrap();
        let registries = Registries::load(&file, &drop_ins).unwrap();
        let endpoints = registries.endpoints(&"a.io/x".parse().unwrap()).unwrap();
        assert_eq!(endpoints[0].host, "second");
        assert!(Registries::load(Path::new("/nonexistent"), Path::new("/nonexistent")).is_ok());
    }
}
