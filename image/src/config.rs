//! The configuration document of an image: what to run, and which layers it is made of.
//!
//! OCI image specification, `config.md`, and Docker's additions to it (health check, shell). Registries
//! hold documents written by many tools, so every field but the layers may be missing or null.
//! Read by the store for every image, and by whoever starts a container from one.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use skep_common::{ErrorKind, HealthCheck};
use thiserror::Error;

use crate::digest::Digest;

/// Configurations larger than this are refused, in bytes.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// Why a document is not an image configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It is not JSON of the expected shape.
    #[error("image configuration {digest} is malformed")]
    Malformed {
        /// The document's digest.
        digest: Digest,
        /// Where it departs from the format.
        #[source]
        source: serde_json::Error,
    },
    /// Its root file system is not made of layers.
    #[error("image configuration {digest} has a root file system of type {kind:?}, only \"layers\" is supported")]
    RootFileSystem {
        /// The document's digest.
        digest: Digest,
        /// The unknown type.
        kind: String,
    },
}

impl ConfigError {
    /// What kind of failure this is. No configuration becomes usable by asking for it again.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ConfigError::Malformed { .. } => ErrorKind::BadArgument,
            ConfigError::RootFileSystem { .. } => ErrorKind::NotSupported,
        }
    }
}

/// What a container runs by default, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImageConfig {
    /// `USER`: name or number, with an optional group after a colon.
    pub user: String,
    /// `EXPOSE`: port and protocol, as `80/tcp`; sorted.
    pub exposed_ports: Vec<String>,
    /// `ENV`: `NAME=value`, in order.
    pub env: Vec<String>,
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub cmd: Vec<String>,
    /// `VOLUME`: paths inside the container, unchecked; sorted.
    pub volumes: Vec<String>,
    /// `WORKDIR`, unchecked; empty means `/`.
    pub working_dir: String,
    /// `LABEL`.
    pub labels: BTreeMap<String, String>,
    /// `STOPSIGNAL`: name or number.
    pub stop_signal: Option<String>,
    /// How long a stop may take, in seconds.
    pub stop_timeout_seconds: Option<i64>,
    /// `SHELL`.
    pub shell: Vec<String>,
    /// `HEALTHCHECK`.
    pub healthcheck: Option<HealthCheck>,
}

/// One step of how the image was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// When, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether this step made no layer.
    #[serde(deserialize_with = "null_as_default")]
    pub empty_layer: bool,
}

/// The whole document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigDocument {
    pub(crate) architecture: String,
    pub(crate) os: String,
    pub(crate) variant: Option<String>,
    pub(crate) created: Option<jiff::Timestamp>,
    pub(crate) author: Option<String>,
    pub(crate) config: ImageConfig,
    pub(crate) history: Vec<HistoryEntry>,
    pub(crate) diff_ids: Vec<Digest>,
}

impl ConfigDocument {
    pub(crate) fn parse(digest: &Digest, bytes: &[u8]) -> Result<ConfigDocument, ConfigError> {
        let wire: WireDocument =
            serde_json::from_slice(bytes).map_err(|source| ConfigError::Malformed { digest: *digest, source })?;
        if !wire.rootfs.kind.is_empty() && wire.rootfs.kind != "layers" {
            return Err(ConfigError::RootFileSystem { digest: *digest, kind: wire.rootfs.kind });
        }
        Ok(ConfigDocument {
            architecture: wire.architecture,
            os: wire.os,
            variant: wire.variant.filter(|variant| !variant.is_empty()),
            created: wire.created.and_then(|created| created.parse().ok()),
            author: wire.author.filter(|author| !author.is_empty()),
            config: wire.config.into_config(),
            history: wire.history,
            diff_ids: wire.rootfs.diff_ids,
        })
    }
}

#[derive(Deserialize)]
struct WireDocument {
    #[serde(default, deserialize_with = "null_as_default")]
    architecture: String,
    #[serde(default, deserialize_with = "null_as_default")]
    os: String,
    variant: Option<String>,
    created: Option<String>,
    author: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    config: WireConfig,
    #[serde(default, deserialize_with = "null_as_default")]
    history: Vec<HistoryEntry>,
    rootfs: WireRootFileSystem,
}

#[derive(Deserialize)]
struct WireRootFileSystem {
    #[serde(default, rename = "type", deserialize_with = "null_as_default")]
    kind: String,
    #[serde(default, deserialize_with = "null_as_default")]
    diff_ids: Vec<Digest>,
}

/// A set is written as an object with empty values.
type WireSet = BTreeMap<String, serde::de::IgnoredAny>;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WireConfig {
    #[serde(deserialize_with = "null_as_default")]
    user: String,
    #[serde(deserialize_with = "null_as_default")]
    exposed_ports: WireSet,
    #[serde(deserialize_with = "null_as_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    volumes: WireSet,
    #[serde(deserialize_with = "null_as_default")]
    working_dir: String,
    #[serde(deserialize_with = "null_as_default")]
    labels: BTreeMap<String, String>,
    stop_signal: Option<String>,
    stop_timeout: Option<i64>,
    #[serde(deserialize_with = "null_as_default")]
    shell: Vec<String>,
    healthcheck: Option<HealthCheck>,
}

impl WireConfig {
    fn into_config(self) -> ImageConfig {
        ImageConfig {
            user: self.user,
            exposed_ports: self.exposed_ports.into_keys().collect(),
            env: self.env,
            entrypoint: self.entrypoint,
            cmd: self.cmd,
            volumes: self.volumes.into_keys().collect(),
            working_dir: self.working_dir,
            labels: self.labels,
            stop_signal: self.stop_signal.filter(|signal| !signal.is_empty()),
            stop_timeout_seconds: self.stop_timeout,
            shell: self.shell,
            healthcheck: self.healthcheck,
        }
    }
}

/// Go writes an absent list or map as null.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<ConfigDocument, ConfigError> {
        ConfigDocument::parse(&Digest::of(json.as_bytes()), json.as_bytes())
    }

    #[test]
    fn dockers_document_is_read_with_its_additions() {
        let document = parse(
            r#"{"architecture":"amd64","os":"linux","created":"2024-05-01T10:00:00.5Z","container_config":{"Cmd":null},
            "config":{"User":"101:101","ExposedPorts":{"80/tcp":{},"443/tcp":{}},"Env":["PATH=/bin","A=b"],
              "Cmd":["nginx","-g","daemon off;"],"Entrypoint":["/docker-entrypoint.sh"],"Volumes":{"/data":{}},
              "WorkingDir":"/srv","Labels":{"k":"v"},"StopSignal":"SIGQUIT","StopTimeout":7,"OnBuild":null,
              "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000,"Retries":3},"Shell":["/bin/sh","-c"]},
            "history":[{"created_by":"ADD","empty_layer":true}],
            "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#,
        )
        .unwrap();
        assert_eq!(document.config.exposed_ports, ["443/tcp", "80/tcp"]);
        assert_eq!(document.config.cmd, ["nginx", "-g", "daemon off;"]);
        assert_eq!(document.config.volumes, ["/data"]);
        assert_eq!(document.config.stop_timeout_seconds, Some(7));
        let healthcheck = document.config.healthcheck.unwrap();
        assert_eq!((healthcheck.interval_ns, healthcheck.retries, healthcheck.timeout_ns), (30_000_000_000, 3, 0));
        assert_eq!(document.created.unwrap().as_second(), 1_714_557_600);
        assert_eq!(document.diff_ids, [Digest::of(b"")]);
        assert!(document.history[0].empty_layer);
    }

    #[test]
    fn nulls_and_absences_are_defaults() {
        let document = parse(
            r#"{"architecture":null,"config":{"Env":null,"Cmd":null,"Volumes":null,"Labels":null,"User":null,"StopSignal":""},
            "history":null,"rootfs":{"type":"layers","diff_ids":null},"created":"not a time"}"#,
        )
        .unwrap();
        assert_eq!(document.config, ImageConfig::default());
        assert_eq!(document.created, None);
        assert_eq!(parse(r#"{"config":null,"rootfs":{}}"#).unwrap().config, ImageConfig::default());
    }

    #[test]
    fn malformed_documents_are_refused() {
        assert!(matches!(parse("[]"), Err(ConfigError::Malformed { .. })));
        assert!(matches!(parse("{}"), Err(ConfigError::Malformed { .. })));
        assert!(matches!(parse(r#"{"rootfs":{"diff_ids":["../x"]}}"#), Err(ConfigError::Malformed { .. })));
        assert!(matches!(parse(r#"{"rootfs":{"type":"base"}}"#), Err(ConfigError::RootFileSystem { .. })));
    }
}
