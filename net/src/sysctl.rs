//! Kernel settings of a network namespace: their names, and the way to their files.
//!
//! Names come from users, and files are written as root: so a name is checked after it was translated, and the file is
//! walked to below /proc/sys/net without following anything. Which namespace's settings they are is decided by the
//! thread that asks.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

/// What every path begins with.
const ROOT: &str = "net";

/// Path below /proc/sys of a setting in dotted form (`net.ipv4.ip_forward`): dots become slashes, and a slash stands
/// for a dot inside an interface's name, as sysctl(8) has it. `None` for what is no setting of a network namespace.
pub(crate) fn path(name: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if !name.chars().all(known) {
        return None;
    }
    let swapped = |c: char| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = name.chars().map(swapped).collect();
    components(&path).map(drop).ok()?;
    Some(path)
}

/// The components of a path, behind the first one.
fn components(path: &str) -> io::Result<Vec<&str>> {
    let mut components = path.split('/');
    let below = components.next() == Some(ROOT);
    let components: Vec<&str> = components.collect();
    let fit = |component: &&str| !matches!(*component, "" | "." | "..");
    match below && !components.is_empty() && components.iter().all(fit) {
        true => Ok(components),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// What a setting is, in the calling thread's namespace.
pub(crate) fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::from(open_below(path, OFlag::O_RDONLY)?).read_to_string(&mut text)?;
    Ok(text)
}

/// Changes a setting in the calling thread's namespace.
pub(crate) fn write(path: &str, value: &str) -> io::Result<()> {
    File::from(open_below(path, OFlag::O_WRONLY)?).write_all(value.as_bytes())
}

/// Not by openat2(2) and RESOLVE_BENEATH, which are not there before Linux 5.6.
fn open_below(path: &str, access: OFlag) -> io::Result<OwnedFd> {
    let careful = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = careful | OFlag::O_DIRECTORY | OFlag::O_PATH;
    let mut at = open("/proc/sys/net", directory, Mode::empty())?;
    let components = components(path)?;
    let Some((file, directories)) = components.split_last() else { return Err(io::ErrorKind::InvalidInput.into()) };
    for component in directories {
        at = openat(&at, *component, directory, Mode::empty())?;
    }
    Ok(openat(&at, *file, careful | access, Mode::empty())?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/7.forwarding", "net/ipv4/conf/eth0.7/forwarding"),
            ("net.core.somaxconn", "net/core/somaxconn"),
            ("net.ipv4.conf.a/..b.forwarding", "net/ipv4/conf/a.//b/forwarding"),
        ] {
            let fits = !expected.contains("//");
            assert_eq!(path(name).as_deref(), fits.then_some(expected), "{name}");
        }
    }

    #[test]
    fn no_name_leads_out_of_the_namespace() {
        for name in [
            "net.//.kernel.core_pattern",
            "net./.kernel.core_pattern",
            "net...kernel.core_pattern",
            "net.ipv4.//.//.kernel.core_pattern",
            "net.//",
            "net.",
            "net",
            "",
            "kernel.core_pattern",
            "/.kernel.core_pattern",
            "net/ipv4/ip_forward",
            "network.x",
            "net.ipv4.ip forward",
            "net.ipv4.a\0",
        ] {
            assert_eq!(path(name), None, "{name:?}");
        }
    }

    #[test]
    fn files_are_reached_below_the_root_only() {
        assert!(read("net/core/somaxconn").unwrap().trim().parse::<u32>().is_ok());
        for outside in ["net/../kernel/ostype", "kernel/ostype", "net//core/somaxconn", "net/./core/somaxconn", "net"] {
            assert_eq!(read(outside).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{outside}");
            assert_eq!(write(outside, "x").unwrap_err().kind(), io::ErrorKind::InvalidInput, "{outside}");
        }
        assert_eq!(read("net/no/such").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
