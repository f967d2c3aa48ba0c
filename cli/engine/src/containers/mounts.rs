//! The mounts of a container that is to be made: `Binds`, `Mounts`, `Tmpfs` and `Volumes` of the request, in this order.

use skep_common::mount_point;
use skep_common::names::check_volume_name;
use skep_runtime::config::MountSpec as RuntimeMount;

use crate::docker::create::CreateRequest;
use crate::docker::mount::Mount;
use crate::docker::{Named, refuse, refuse_all};
use crate::error::{Error, Result};
use crate::mount::{self, Kind, MountSpec, PROPAGATIONS};

/// Everything that is to be mounted; two things at one place are refused.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`], [`crate::ErrorKind::NotSupported`].
pub(super) fn of_request(request: &CreateRequest) -> Result<Vec<RuntimeMount>> {
    let mut specs = Vec::new();
    if let Some(host) = &request.host_config {
        for text in host.binds.iter().flatten().flatten() {
            specs.push(bind(text).map_err(Error::bad_argument)?);
        }
        for asked in host.mounts.iter().flatten() {
            specs.push(from_docker(asked)?);
        }
        for (target, options) in host.tmpfs.iter().flat_map(Named::iter) {
            specs.push(MountSpec::tmpfs(target, options));
        }
    }
    for target in request.config.volumes.iter().flat_map(|volumes| volumes.names()) {
        specs.push(MountSpec { target: target.to_owned(), ..MountSpec::default() });
    }
    let read =
        |spec: &MountSpec| mount::check(spec).and_then(|()| mount::to_runtime(spec)).map_err(Error::bad_argument);
    let mounts: Vec<RuntimeMount> = specs.iter().map(read).collect::<Result<_>>()?;
    match mount_point::duplicate(mounts.iter().map(|mount| mount.target.as_str())) {
        Some(target) => Err(Error::bad_argument(format!("Duplicate mount point: {target}"))),
        None => Ok(mounts),
    }
}

/// A mount as a request carries it.
pub fn to_docker(spec: &MountSpec) -> Mount {
    use crate::docker::mount::{BindOptions, Driver, TmpfsOptions, VolumeOptions};
    let mut mount = Mount {
        kind: spec.kind.name().to_owned(),
        source: spec.source.clone(),
        target: spec.target.clone(),
        read_only: spec.read_only.then_some(true),
        ..Mount::default()
    };
    match spec.kind {
        Kind::Bind => {
            mount.bind_options = Some(BindOptions {
                propagation: Some(spec.propagation.clone()),
                non_recursive: Some(spec.not_recursive),
                create_mountpoint: Some(spec.create_source),
                ..BindOptions::default()
            });
        }
        Kind::Volume => {
            mount.volume_options = Some(VolumeOptions {
                no_copy: Some(spec.no_copy),
                labels: Some(spec.volume_labels.clone()),
                driver_config: Some(Driver {
                    name: Some(spec.volume_driver.clone()),
                    options: Some(spec.volume_options.clone()),
                }),
                subpath: Some(spec.volume_subpath.clone()),
                ..VolumeOptions::default()
            });
        }
        Kind::Tmpfs => {
            mount.tmpfs_options =
                Some(TmpfsOptions { size_bytes: spec.tmpfs_size, mode: spec.tmpfs_mode, ..TmpfsOptions::default() });
        }
    }
    mount
}

/// The mount of a request, of a container or of a service.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`], [`crate::ErrorKind::NotSupported`].
pub(crate) fn from_docker(asked: &Mount) -> Result<MountSpec> {
    let kind: Kind = asked.kind.parse().map_err(Error::bad_argument)?;
    refuse_all(&asked.other)?;
    let bind = asked.bind_options.clone().unwrap_or_default();
    let volume = asked.volume_options.clone().unwrap_or_default();
    let memory = asked.tmpfs_options.clone().unwrap_or_default();
    for other in [&bind.other, &volume.other, &memory.other] {
        refuse_all(other)?;
    }
    for (options, other) in
        [("BindOptions", Kind::Bind), ("VolumeOptions", Kind::Volume), ("TmpfsOptions", Kind::Tmpfs)]
    {
        let asks = match other {
            Kind::Bind => refuse(options, &asked.bind_options),
            Kind::Volume => refuse(options, &asked.volume_options),
            Kind::Tmpfs => refuse(options, &asked.tmpfs_options),
        };
        if other != kind && asks.is_err() {
            let words =
                format!("invalid mount config for type \"{}\": field {options} must not be specified", kind.name());
            return Err(Error::bad_argument(words));
        }
    }
    let driver = volume.driver_config.unwrap_or_default();
    Ok(MountSpec {
        kind,
        source: asked.source.clone(),
        target: asked.target.clone(),
        read_only: asked.read_only.unwrap_or(false),
        propagation: bind.propagation.unwrap_or_default(),
        create_source: bind.create_mountpoint.unwrap_or(false),
        not_recursive: bind.non_recursive.unwrap_or(false),
        no_copy: volume.no_copy.unwrap_or(false),
        volume_labels: volume.labels.unwrap_or_default(),
        volume_driver: driver.name.unwrap_or_default(),
        volume_options: driver.options.unwrap_or_default(),
        volume_subpath: volume.subpath.unwrap_or_default(),
        tmpfs_size: memory.size_bytes.filter(|bytes| *bytes > 0),
        tmpfs_mode: memory.mode.filter(|mode| *mode > 0),
        tmpfs_options: String::new(),
    })
}

/// One of `Binds`, as `-v` has it: `[SOURCE:]TARGET[:OPTIONS]`.
///
/// # Errors
/// Docker's words.
pub fn bind(text: &str) -> Result<MountSpec, String> {
    bind_from(text, str::to_owned)
}

/// As [`bind`], of a client whose own words for a path of the host `host_path` makes absolute.
///
/// # Errors
/// Docker's words.
pub fn bind_from(text: &str, host_path: impl Fn(&str) -> String) -> Result<MountSpec, String> {
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
    let invalid = |reason: &str| format!("invalid volume specification: '{text}': {reason}");
    if !target.starts_with('/') {
        return Err(invalid(&format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    if mount_point::target(target).is_none() {
        return Err(invalid("invalid specification: destination can't be '/'"));
    }
    let source = host_path(source);
    let kind = if source.starts_with('/') { Kind::Bind } else { Kind::Volume };
    if kind == Kind::Volume && !source.is_empty() {
        check_volume_name(&source).map_err(|error| error.to_string())?;
    }
    let mut spec = MountSpec {
        kind,
        source,
        target: target.to_owned(),
        create_source: kind == Kind::Bind,
        ..MountSpec::default()
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => spec.read_only = true,
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" if kind == Kind::Volume => spec.no_copy = true,
            propagation if PROPAGATIONS.contains(&propagation) && kind == Kind::Bind => {
                spec.propagation = propagation.to_owned();
            }
            _ => return Err(invalid(&format!("invalid mode: {options}"))),
        }
    }
    Ok(spec)
}

fn is_option(text: &str) -> bool {
    matches!(text, "ro" | "rw" | "z" | "Z" | "nocopy") || PROPAGATIONS.contains(&text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<RuntimeMount>> {
        of_request(&serde_json::from_str(body).unwrap())
    }

    #[test]
    fn reads_binds() {
        let mount = bind("/host:/container:ro,rslave").unwrap();
        assert_eq!((mount.kind, mount.read_only), (Kind::Bind, true));
        assert!(mount.create_source);
        let mount = bind("data:/var/lib:nocopy").unwrap();
        assert_eq!((mount.kind, mount.no_copy), (Kind::Volume, true));
        assert_eq!(bind("/anonymous").unwrap().source, "");
        assert_eq!(bind("/anonymous:ro").unwrap().target, "/anonymous");
        for (text, words) in [
            (":::", "invalid spec: :::: empty section between colons"),
            ("a:b", "mount path must be absolute"),
            ("/a:/b:foo", "invalid mode: foo"),
            ("a/b:/c", "includes invalid characters for a local volume name"),
            ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
            ("/a:/", "destination can't be '/'"),
        ] {
            let error = bind(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn one_place_holds_one_mount() {
        let error = read(r#"{"Volumes":{"/t/":{}},"HostConfig":{"Binds":["v1:/x"],"Tmpfs":{"/t":""}}}"#).unwrap_err();
        assert_eq!(error.to_string(), "Duplicate mount point: /t");
        let all = read(r#"{"Volumes":{"/a":{}},"HostConfig":{"Binds":["v1:/x"],"Tmpfs":{"/t":"size=1m"}}}"#).unwrap();
        let targets: Vec<&str> = all.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/x", "/t", "/a"]);
    }

    #[test]
    fn mounts_of_a_request_are_what_flags_ask_for() {
        let spec = MountSpec {
            source: "v1".to_owned(),
            target: "/v".to_owned(),
            read_only: true,
            no_copy: true,
            volume_driver: "local".to_owned(),
            ..MountSpec::default()
        };
        assert_eq!(from_docker(&to_docker(&spec)).unwrap(), spec);
        let bind = bind("/h:/x:rslave").unwrap();
        assert_eq!(from_docker(&to_docker(&bind)).unwrap(), bind);
    }

    #[test]
    fn options_of_another_kind_are_refused() {
        let body = r#"{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/a","Target":"/b",
            "TmpfsOptions":{"SizeBytes":1}}]}}"#;
        assert!(read(body).unwrap_err().to_string().contains("field TmpfsOptions must not be specified"));
        let body = r#"{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/a","Target":"/b",
            "BindOptions":{"ReadOnlyForceRecursive":true}}]}}"#;
        assert_eq!(read(body).unwrap_err().to_string(), "ReadOnlyForceRecursive is not supported: true");
    }
}
