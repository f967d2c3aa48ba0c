//! What libcontainer is told. It is less than the container is: mounts, capabilities, the filter
//! and the user are ours.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde_json::{Value, json};

use super::cgroup::device_node;
use super::config::{Device, KernelConfig, Namespace};
use super::error::{KernelError, Result};

/// Refuses what can never work, before anything is made.
pub(super) fn check(config: &KernelConfig) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(KernelError::NotRoot);
    }
    let bad = |problem: String| Err(KernelError::Config(problem));
    if config.id.is_empty() || !config.id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b)) {
        return bad(format!("invalid container id {:?}", config.id));
    }
    if config.rootfs.lower.is_empty() {
        return bad("an image without layers".to_owned());
    }
    for device in &config.devices {
        let inside_dev = device.target.starts_with("/dev/") && !device.target.split('/').any(|part| part == "..");
        if !inside_dev {
            return bad(format!("device {:?} is not below /dev", device.target));
        }
    }
    config.sysctls.keys().try_for_each(|name| check_sysctl(config, name))
}

/// Only parameters that belong to one of the container's own namespaces may be set.
fn check_sysctl(config: &KernelConfig, name: &str) -> Result<()> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let dotted = name.replace('/', ".");
    let own = |namespace: &Namespace| *namespace != Namespace::Host;
    let allowed = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        own(&config.namespaces.ipc)
    } else if dotted.starts_with("net.") {
        own(&config.namespaces.network)
    } else {
        dotted == "kernel.domainname" && own(&config.namespaces.uts)
    };
    if allowed && !name.split(['/', '.']).any(str::is_empty) {
        return Ok(());
    }
    Err(KernelError::Config(format!("sysctl '{name}' is not allowed: it is not separate for this container")))
}

fn namespace(kind: &str, wanted: &Namespace) -> Option<Value> {
    match wanted {
        Namespace::Host => None,
        Namespace::Private => Some(json!({ "type": kind })),
        Namespace::Path(path) => Some(json!({ "type": kind, "path": path })),
    }
}

/// Writes config.json into the bundle.
pub(super) fn write(config: &KernelConfig, bundle: &Path) -> Result<()> {
    let path = bundle.join("config.json");
    let file_error = |action| {
        let path = path.clone();
        move |source| KernelError::File { action, path, source }
    };
    let text = serde_json::to_vec(&specification(config)?).map_err(|error| file_error("encode")(error.into()))?;
    std::fs::write(&path, text).map_err(file_error("write"))
}

fn specification(config: &KernelConfig) -> Result<Value> {
    let names = &config.namespaces;
    // The cgroup namespace is entered by ourselves, once the process is in its cgroups.
    let namespaces: Vec<Value> = [
        namespace("network", &names.network),
        namespace("pid", &names.pid),
        namespace("ipc", &names.ipc),
        namespace("uts", &names.uts),
        namespace("mount", &Namespace::Private),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut devices = Vec::with_capacity(config.devices.len());
    for device in &config.devices {
        devices.push(device_entry(device)?);
    }
    if config.privileged {
        let given: Vec<&str> = config.devices.iter().map(|device| device.target.as_str()).collect();
        let mut all = Vec::new();
        host_devices(Path::new("/dev"), &mut all);
        all.retain(|device| !given.contains(&device.target.as_str()));
        // One that vanished meanwhile is not there.
        devices.extend(all.iter().filter_map(|device| device_entry(device).ok()));
    }
    let mut specification = json!({
        "ociVersion": "1.0.2",
        "root": { "path": config.rootfs.merged, "readonly": config.rootfs.read_only },
        "mounts": [],
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": [config.process.args.first()],
            // HOME spares libcontainer a look into the image's /etc/passwd.
            "env": ["HOME=/", "PATH=/bin"],
            "cwd": "/",
        },
        "linux": {
            "namespaces": namespaces,
            "devices": devices,
            "cgroupsPath": format!("{}/{}", config.cgroup.parent, config.cgroup.name),
        },
    });
    if names.uts == Namespace::Private {
        for (key, value) in [("hostname", &config.hostname), ("domainname", &config.domainname)] {
            if let Some(value) = value {
                specification[key] = json!(value);
            }
        }
    }
    Ok(specification)
}

/// Every device node of the host, but those a container has of its own.
fn host_devices(directory: &Path, found: &mut Vec<Device>) {
    const OWN: [&str; 8] =
        ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/console", "/dev/ptmx", "/dev/.udev", "/dev/.lxc"];
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let (Some(target), Ok(kind)) = (path.to_str().map(str::to_owned), entry.file_type()) else { continue };
        if OWN.contains(&target.as_str()) {
            continue;
        }
        if kind.is_dir() {
            host_devices(&path, found);
        } else if kind.is_char_device() || kind.is_block_device() {
            found.push(Device { source: path, target, permissions: "rwm".to_owned() });
        }
    }
}

fn device_entry(device: &Device) -> Result<Value> {
    let node = device_node(device)?;
    Ok(json!({
        "path": device.target,
        "type": node.kind.to_string(),
        "major": node.major,
        "minor": node.minor,
        "fileMode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
    }))
}
