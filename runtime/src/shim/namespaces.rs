//! What a shim's mount namespace has no business holding.
//!
//! The shim's namespace is a copy of the host's. Where the host's mounts are not shared, what is
//! unmounted there later stays mounted here: every other container's network namespace, bound to
//! a file, would live as long as this shim. So all but its own are let go at the start.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

/// Unmounts every bound namespace but `own`.
pub(super) fn release(own: Option<&Path>) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The table has no symbolic links in its paths.
    let own = own.map(|own| std::fs::canonicalize(own).unwrap_or_else(|_| own.to_owned()));
    for path in bound_namespaces(&table).filter(|path| Some(path) != own.as_ref()) {
        if let Err(errno) = umount2(&path, MntFlags::MNT_DETACH) {
            tracing::debug!(path = %path.display(), %errno, "namespace not let go");
        }
    }
}

/// Mount points of the file system that namespaces are files of, from proc_pid_mountinfo(5).
fn bound_namespaces(table: &str) -> impl Iterator<Item = PathBuf> + '_ {
    table.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("nsfs ").then(|| mount.split(' ').nth(4))?.map(|path| PathBuf::from(unescape(path)))
    })
}

/// Spaces and their like are written as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_namespaces_are_found_in_the_table() {
        let table = "22 1 0:4 / / rw - ext4 /dev/vda rw\n\
                     90 22 0:4 net:[1] /run/skep/netns/a\\040b rw shared:3 - nsfs nsfs rw\n\
                     91 22 0:4 net:[2] /run/skep/netns/c rw - nsfs nsfs rw\n";
        let found: Vec<PathBuf> = bound_namespaces(table).collect();
        assert_eq!(found, [PathBuf::from("/run/skep/netns/a b"), PathBuf::from("/run/skep/netns/c")]);
    }
}
