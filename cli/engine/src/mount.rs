//! A mount as docker's users ask for it, of a container or of a service; what may be asked for; and the same mount in
//! the swarm's and in the runtime's terms.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use skep_cluster::api::{Mount as ApiMount, MountType};
use skep_common::mount_point::normalised;
use skep_common::names;
use skep_runtime::config::{MountSpec as RuntimeMount, MountType as RuntimeMountType};

/// Where a mount comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// A directory or file of the host.
    Bind,
    /// A named or anonymous volume.
    #[default]
    Volume,
    /// A file system in memory.
    Tmpfs,
}

impl Kind {
    /// As `--mount type=` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    /// In whatever case, as docker's client reads it.
    fn from_str(name: &str) -> Result<Self, String> {
        let mut kinds = [Self::Bind, Self::Volume, Self::Tmpfs].into_iter();
        let found = kinds.find(|kind| kind.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("invalid mount config for type \"{name}\": mount type unknown: \"{name}\""))
    }
}

/// What `propagation` of a bind mount may be.
pub const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// One mount as the user asked for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountSpec {
    /// What is mounted.
    pub kind: Kind,
    /// Host path or volume name; empty for an anonymous volume.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// The container may only read.
    pub read_only: bool,
    /// `rprivate` and its kin; empty for docker's default.
    pub propagation: String,
    /// A missing host directory is made (always with `-v`).
    pub create_source: bool,
    /// Mounts below the source stay behind.
    pub not_recursive: bool,
    /// Do not fill a new volume with what the image has there.
    pub no_copy: bool,
    /// Labels of a new volume.
    pub volume_labels: BTreeMap<String, String>,
    /// Driver of a new volume.
    pub volume_driver: String,
    /// Driver options of a new volume.
    pub volume_options: BTreeMap<String, String>,
    /// Directory of the volume to mount instead of all of it.
    pub volume_subpath: String,
    /// Size of a tmpfs, bytes.
    pub tmpfs_size: Option<i64>,
    /// Mode of a tmpfs' root.
    pub tmpfs_mode: Option<u32>,
    /// Other mount options of a tmpfs (`--tmpfs`).
    pub tmpfs_options: String,
}

impl MountSpec {
    /// A file system in memory at `target`, with mount options as tmpfs(5) has them.
    pub fn tmpfs(target: &str, options: &str) -> Self {
        Self {
            kind: Kind::Tmpfs,
            target: target.to_owned(),
            tmpfs_options: options.to_owned(),
            read_only: options.split(',').any(|option| option == "ro"),
            ..Self::default()
        }
    }
}

/// Checks what docker's engine checks of a mount.
///
/// # Errors
/// Docker's words.
pub fn check(mount: &MountSpec) -> Result<(), String> {
    let invalid = |reason: &str| Err(format!("invalid mount config for type \"{}\": {reason}", mount.kind.name()));
    if !mount.target.starts_with('/') && !mount.target.starts_with("{{") {
        return invalid(&format!("invalid mount path: '{}' mount path must be absolute", mount.target));
    }
    if normalised(&mount.target) == "/" {
        return invalid("invalid specification: destination can't be '/'");
    }
    match mount.kind {
        Kind::Bind if mount.source.is_empty() => invalid("field Source must not be empty"),
        Kind::Bind if !mount.source.starts_with('/') && !mount.source.starts_with("{{") => {
            invalid(&format!("invalid mount path: '{}' mount path must be absolute", mount.source))
        }
        Kind::Tmpfs if !mount.source.is_empty() => invalid("field Source must not be specified"),
        Kind::Volume if mount.source.starts_with('/') => {
            invalid(&format!("invalid mount path: '{}' must be a volume name; use type=bind", mount.source))
        }
        Kind::Volume if !mount.source.is_empty() && !mount.source.contains("{{") => {
            names::check_volume_name(&mount.source).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    }
}

/// The mount as a service's specification has it.
pub(crate) fn to_api(mount: &MountSpec) -> ApiMount {
    let kind = match mount.kind {
        Kind::Bind => MountType::Bind,
        Kind::Volume => MountType::Volume,
        Kind::Tmpfs => MountType::Tmpfs,
    };
    ApiMount {
        r#type: kind.into(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        bind_propagation: mount.propagation.clone(),
        bind_create_source: mount.create_source,
        volume_no_copy: mount.no_copy,
        volume_labels: mount.volume_labels.clone(),
        volume_driver: mount.volume_driver.clone(),
        volume_driver_options: mount.volume_options.clone(),
        tmpfs_size_bytes: mount.tmpfs_size.unwrap_or(0),
        tmpfs_mode: mount.tmpfs_mode.unwrap_or(0),
    }
}

/// And back, on the node that makes the container.
pub(crate) fn from_api(mount: &ApiMount) -> MountSpec {
    MountSpec {
        kind: match mount.r#type() {
            MountType::Bind => Kind::Bind,
            MountType::Volume => Kind::Volume,
            MountType::Tmpfs => Kind::Tmpfs,
        },
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        propagation: mount.bind_propagation.clone(),
        create_source: mount.bind_create_source,
        no_copy: mount.volume_no_copy,
        volume_labels: mount.volume_labels.clone(),
        volume_driver: mount.volume_driver.clone(),
        volume_options: mount.volume_driver_options.clone(),
        tmpfs_size: (mount.tmpfs_size_bytes > 0).then_some(mount.tmpfs_size_bytes),
        tmpfs_mode: (mount.tmpfs_mode > 0).then_some(mount.tmpfs_mode),
        ..MountSpec::default()
    }
}

/// The mount as the runtime has it.
///
/// # Errors
/// It needs what skep's volumes do not have; in the user's words.
pub(crate) fn to_runtime(spec: &MountSpec) -> Result<RuntimeMount, String> {
    let kind = match spec.kind {
        Kind::Bind => RuntimeMountType::Bind {
            source: PathBuf::from(&spec.source),
            create_source: spec.create_source,
            propagation: spec.propagation.clone(),
            non_recursive: spec.not_recursive,
        },
        Kind::Volume => {
            if !matches!(spec.volume_driver.as_str(), "" | "local") {
                return Err(format!("volume driver {:?} is not supported: use \"local\"", spec.volume_driver));
            }
            if !spec.volume_options.is_empty() || !spec.volume_subpath.is_empty() {
                return Err("volume-opt and volume-subpath are not supported".to_owned());
            }
            RuntimeMountType::Volume {
                name: spec.source.clone(),
                no_copy: spec.no_copy,
                labels: spec.volume_labels.clone(),
            }
        }
        Kind::Tmpfs => {
            let mut tmpfs_options: Vec<String> = Vec::new();
            tmpfs_options.extend((!spec.tmpfs_options.is_empty()).then(|| spec.tmpfs_options.clone()));
            tmpfs_options.extend(spec.tmpfs_size.map(|size| format!("size={size}")));
            tmpfs_options.extend(spec.tmpfs_mode.map(|mode| format!("mode={mode:o}")));
            RuntimeMountType::Tmpfs { options: tmpfs_options.join(",") }
        }
    };
    Ok(RuntimeMount { kind, target: normalised(&spec.target), read_only: spec.read_only })
}
