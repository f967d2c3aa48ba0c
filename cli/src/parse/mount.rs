//! `--mount`, `-v` and `--tmpfs`.

use std::collections::BTreeMap;

use skep_cluster::api::{Mount as ApiMount, MountType};

use super::{csv, size};

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

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// One `--mount`.
pub fn long(text: &str) -> Result<MountSpec, String> {
    let mut mount = MountSpec::default();
    let mut groups = Vec::new();
    for field in csv::fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), value),
            None if matches!(field.as_str(), "readonly" | "ro" | "volume-nocopy" | "bind-create-src") => {
                (field.clone(), "true")
            }
            None => return Err(format!("invalid field '{field}' must be a key=value pair")),
        };
        for group in ["bind", "volume", "tmpfs", "image"] {
            if key.strip_prefix(group).is_some_and(|rest| rest.starts_with('-')) {
                groups.push(group);
            }
        }
        set(&mut mount, &key, value, &field)?;
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    if let Some(group) = groups.into_iter().find(|group| *group != mount.kind.name()) {
        return Err(format!("cannot mix '{group}-*' options with mount type '{}'", mount.kind.name()));
    }
    check(&mount)?;
    Ok(mount)
}

fn set(mount: &mut MountSpec, key: &str, value: &str, field: &str) -> Result<(), String> {
    let invalid = || format!("invalid value for {key}: {value}");
    let flag = || csv::boolean(value).ok_or_else(invalid);
    match key {
        "type" => {
            mount.kind = match value.to_ascii_lowercase().as_str() {
                "bind" => Kind::Bind,
                "volume" => Kind::Volume,
                "tmpfs" => Kind::Tmpfs,
                "image" | "cluster" | "npipe" => return Err(format!("mount type {value} is not supported")),
                _ => return Err(format!("invalid mount config for type \"{value}\": mount type unknown: \"{value}\"")),
            }
        }
        "source" | "src" => mount.source = value.to_owned(),
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "readonly" | "ro" => mount.read_only = flag()?,
        "consistency" => {}
        "bind-propagation" if PROPAGATIONS.contains(&value.to_ascii_lowercase().as_str()) => {
            mount.propagation = value.to_ascii_lowercase();
        }
        "bind-create-src" => mount.create_source = flag()?,
        "bind-recursive" => match value {
            "enabled" | "writable" => mount.not_recursive = false,
            "disabled" => mount.not_recursive = true,
            _ => return Err(invalid()),
        },
        "bind-propagation" => return Err(invalid()),
        "volume-nocopy" => mount.no_copy = flag()?,
        "volume-driver" => mount.volume_driver = value.to_owned(),
        "volume-subpath" => mount.volume_subpath = value.to_owned(),
        "volume-label" | "volume-opt" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            let map = if key == "volume-label" { &mut mount.volume_labels } else { &mut mount.volume_options };
            map.insert(name.to_owned(), value.to_owned());
        }
        "tmpfs-size" => mount.tmpfs_size = Some(size::bytes(value).map_err(|_| invalid())?),
        "tmpfs-mode" => mount.tmpfs_mode = Some(u32::from_str_radix(value, 8).map_err(|_| invalid())?),
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

/// Checks what docker's engine checks of a mount.
fn check(mount: &MountSpec) -> Result<(), String> {
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
        Kind::Volume if !mount.source.is_empty() && !mount.source.contains("{{") => volume_name(&mount.source),
        _ => Ok(()),
    }
}

/// Refuses what is not a volume's name.
pub fn volume_name(name: &str) -> Result<(), String> {
    let good = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if good {
        return Ok(());
    }
    Err(format!(
        "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. \
         If you intended to pass a host directory, use absolute path"
    ))
}

/// One `-v`: `[SOURCE:]TARGET[:OPTIONS]`.
pub fn short(text: &str) -> Result<MountSpec, String> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    let (source, target, options) = match *parts.as_slice() {
        [target] => ("", target, ""),
        [source, target] if target.starts_with('/') => (source, target, ""),
        [target, options] if target.starts_with('/') && options.split(',').all(is_option) => ("", target, options),
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(format!("invalid volume specification: '{text}'")),
    };
    let invalid = |reason: String| format!("invalid volume specification: '{text}': {reason}");
    if !target.starts_with('/') {
        return Err(invalid(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    if normalised(target) == "/" {
        return Err(invalid("invalid specification: destination can't be '/'".to_owned()));
    }
    let source = host_path(source);
    let kind = if source.starts_with('/') { Kind::Bind } else { Kind::Volume };
    if kind == Kind::Volume && !source.is_empty() {
        volume_name(&source)?;
    }
    let mut mount = MountSpec {
        kind,
        source,
        target: target.to_owned(),
        create_source: kind == Kind::Bind,
        ..MountSpec::default()
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => mount.read_only = true,
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" if kind == Kind::Volume => mount.no_copy = true,
            propagation if PROPAGATIONS.contains(&propagation) && kind == Kind::Bind => {
                mount.propagation = propagation.to_owned();
            }
            _ => return Err(invalid(format!("invalid mode: {options}"))),
        }
    }
    Ok(mount)
}

fn is_option(text: &str) -> bool {
    matches!(text, "ro" | "rw" | "z" | "Z" | "nocopy") || PROPAGATIONS.contains(&text)
}

/// `./x` and `~/x` are host paths, as docker's client reads them.
fn host_path(source: &str) -> String {
    if !source.starts_with('.') {
        return source.to_owned();
    }
    match std::path::absolute(source) {
        Ok(path) => normalised(&path.to_string_lossy()),
        Err(_) => source.to_owned(),
    }
}

/// The path without `.`, `..` and double slashes.
pub fn normalised(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// One `--tmpfs`: `TARGET[:OPTIONS]`.
pub fn tmpfs(text: &str) -> Result<MountSpec, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return Err(format!("invalid tmpfs mount '{text}': mount path must be absolute"));
    }
    if normalised(target) == "/" {
        return Err(format!("invalid tmpfs mount '{text}': destination can't be '/'"));
    }
    for option in options.split(',').filter(|option| option.starts_with("size=")) {
        let limit = option.trim_start_matches("size=");
        if !limit.ends_with('%') {
            size::bytes(limit).map_err(|_| format!("invalid tmpfs option [{option:?}]"))?;
        }
    }
    let spec = MountSpec {
        kind: Kind::Tmpfs,
        target: target.to_owned(),
        tmpfs_options: options.to_owned(),
        read_only: options.split(',').any(|option| option == "ro"),
        ..MountSpec::default()
    };
    Ok(spec)
}

/// The mount as a service's specification has it.
pub fn to_api(mount: &MountSpec) -> ApiMount {
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
pub fn from_api(mount: &ApiMount) -> MountSpec {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_long_form() {
        let mount = long("type=bind,src=/data,dst=/mnt,readonly,bind-propagation=rslave").unwrap();
        assert_eq!(mount.kind, Kind::Bind);
        assert_eq!((mount.source.as_str(), mount.target.as_str()), ("/data", "/mnt"));
        assert!(mount.read_only);
        assert_eq!(mount.propagation, "rslave");
        let mount = long("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        assert_eq!((mount.tmpfs_size, mount.tmpfs_mode), (Some(1 << 20), Some(0o1770)));
        let mount = long("source=vol,target=/v,volume-label=a=b,\"volume-opt=o=x,y\"").unwrap();
        assert_eq!(mount.volume_options["o"], "x,y");
        assert_eq!(from_api(&to_api(&mount)), mount);
    }

    #[test]
    fn refuses_long_forms_in_dockers_words() {
        for (text, words) in [
            ("type=bind,src=/a", "target is required"),
            ("type=foo,dst=/x", "mount type unknown"),
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("foo=bar,dst=/x", "unexpected key 'foo' in 'foo=bar'"),
            ("type=bind,src=/a,dst=/b,tmpfs-size=1m", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
            ("type=bind,src=a,dst=/b", "mount path must be absolute"),
            ("type=bind,dst=/b", "field Source must not be empty"),
            ("type=bind,src=/a,dst=b", "mount path must be absolute"),
            ("type=tmpfs,src=/a,dst=/b", "field Source must not be specified"),
            ("type=volume,src=v,dst=/", "destination can't be '/'"),
            ("type=bind,src=/a,dst=/b,readonly=maybe", "invalid value for readonly: maybe"),
        ] {
            let error = long(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn reads_the_short_form() {
        let mount = short("/host:/container:ro,rslave").unwrap();
        assert_eq!((mount.kind, mount.read_only), (Kind::Bind, true));
        assert!(mount.create_source);
        let mount = short("data:/var/lib:nocopy").unwrap();
        assert_eq!((mount.kind, mount.no_copy), (Kind::Volume, true));
        assert_eq!(short("/anonymous").unwrap().source, "");
        assert_eq!(short("/anonymous:ro").unwrap().target, "/anonymous");
        for (text, words) in [
            (":::", "invalid spec: :::: empty section between colons"),
            ("a:b", "mount path must be absolute"),
            ("/a:/b:foo", "invalid mode: foo"),
            ("a/b:/c", "includes invalid characters for a local volume name"),
            ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
            ("/a:/", "destination can't be '/'"),
        ] {
            let error = short(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn reads_tmpfs() {
        let mount = tmpfs("/run:size=64m,mode=755").unwrap();
        assert_eq!((mount.target.as_str(), mount.tmpfs_options.as_str()), ("/run", "size=64m,mode=755"));
        assert!(tmpfs("run").is_err());
        assert!(tmpfs("/run:size=x").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_panics(text in "[a-z:/=,.\"-]{0,24}") {
            long(&text).ok();
            short(&text).ok();
            tmpfs(&text).ok();
        }
    }
}
