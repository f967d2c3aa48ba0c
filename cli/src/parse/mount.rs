//! `--mount`, `-v` and `--tmpfs`.

use skep_common::human::parse_binary_size;
use skep_common::mount_point::normalised;
use skep_engine::containers::mounts::bind_from;
use skep_engine::mount::{MountSpec, PROPAGATIONS, check};

use super::csv;

/// One `--mount`.
pub(crate) fn long(text: &str) -> Result<MountSpec, String> {
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
                "image" | "cluster" | "npipe" => return Err(format!("mount type {value} is not supported")),
                _ => value.parse()?,
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
        "tmpfs-size" => mount.tmpfs_size = Some(parse_binary_size(value).map_err(|_| invalid())?),
        "tmpfs-mode" => mount.tmpfs_mode = Some(u32::from_str_radix(value, 8).map_err(|_| invalid())?),
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

/// One `-v`: `[SOURCE:]TARGET[:OPTIONS]`.
pub(crate) fn short(text: &str) -> Result<MountSpec, String> {
    bind_from(text, host_path)
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

/// One `--tmpfs`: `TARGET[:OPTIONS]`.
pub(crate) fn tmpfs(text: &str) -> Result<MountSpec, String> {
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
            parse_binary_size(limit).map_err(|_| format!("invalid tmpfs option [{option:?}]"))?;
        }
    }
    Ok(MountSpec::tmpfs(target, options))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use skep_engine::mount::Kind;

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
    fn paths_of_the_short_form_begin_where_the_caller_is() {
        let mount = short("./a/../data:/data:ro").unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!((mount.kind, mount.source), (Kind::Bind, here.join("data").display().to_string()));
        assert_eq!(short("data:/data").unwrap().kind, Kind::Volume);
        assert_eq!(short("/a:/").unwrap_err(), bind_from("/a:/", str::to_owned).unwrap_err());
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
