//! Who a process runs as: names are looked up in the container's own /etc/passwd and /etc/group.
//!
//! Called inside the container's root. Both files belong to the image: they may be missing, be a
//! FIFO, or be huge. The C library is never asked, since it would load modules from the image. They
//! also belong to whoever wrote the image: a number stands for itself, and the files only say which
//! home and groups it has.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use super::config::User;
use super::error::{ProcessError, ProcessErrorKind};

/// Longest file that is read; Docker's own limit is of this order.
const FILE_LEN_MAX: u64 = 4 << 20;
/// Highest id; above, a 32-bit id would turn negative or wrap to root's.
const ID_MAX: u64 = (1 << 31) - 1;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups. The primary one is among them, so that a set-gid program cannot leave a group by
    /// which a file denies access (CVE-2022-36109).
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Resolves `user` in the files of the root directory this process is in.
pub(crate) fn resolve(user: &User) -> Result<Identity, ProcessError> {
    let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
    resolve_in(user, &passwd, &group)
}

fn read(path: &str) -> String {
    let open = || -> std::io::Result<String> {
        let file: File = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
            .open(path)?;
        let status = file.metadata()?;
        let mut text = Vec::new();
        if status.is_file() {
            file.take(FILE_LEN_MAX).read_to_end(&mut text)?;
        }
        let text = String::from_utf8_lossy(&text);
        Ok(whole_lines(&text, status.len() > FILE_LEN_MAX).to_owned())
    };
    open().unwrap_or_default()
}

/// Without the last line of a file that was not read to its end: half a number is another number.
fn whole_lines(text: &str, cut: bool) -> &str {
    match text.rfind('\n') {
        _ if !cut => text,
        Some(end) => &text[..=end],
        None => "",
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdEntry { name, uid, gid, home })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        let members = fields.next().unwrap_or_default();
        Some(GroupEntry { name, gid, members })
    })
}

fn id(text: &str) -> Option<u32> {
    let value: u64 = text.trim().parse().ok()?;
    (value <= ID_MAX).then_some(value as u32)
}

fn unknown(message: String) -> ProcessError {
    ProcessError { kind: ProcessErrorKind::UnknownUser, message }
}

/// A user or group as it was asked for.
enum Wanted<'a> {
    /// An id: never looked up by name, whatever the image calls its users.
    Id(u32),
    Name(&'a str),
}

impl<'a> Wanted<'a> {
    /// Digits, with or without a sign, are an id; an error if that is out of range.
    fn parse(text: &'a str) -> Result<Self, ProcessError> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text));
        }
        id(text).map(Self::Id).ok_or_else(|| unknown(format!("uids and gids must be in range 0-{ID_MAX}, not {text}")))
    }

    fn is(&self, name: &str, number: u32) -> bool {
        match self {
            Self::Id(wanted) => *wanted == number,
            Self::Name(wanted) => *wanted == name,
        }
    }
}

fn resolve_in(user: &User, passwd: &str, group: &str) -> Result<Identity, ProcessError> {
    let (name, group_name) = match user.spec.split_once(':') {
        Some((name, group_name)) => (name, group_name),
        None => (user.spec.as_str(), ""),
    };
    let wanted = Wanted::parse(if name.is_empty() { "0" } else { name })?;
    let entry = passwd_entries(passwd).find(|entry| wanted.is(entry.name, entry.uid));
    let (uid, mut gid, home) = match (&entry, wanted) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home),
        (None, Wanted::Id(uid)) => (uid, 0, ""),
        (None, Wanted::Name(name)) => {
            return Err(unknown(format!("unable to find user {name}: no matching entries in passwd file")));
        }
    };
    let mut groups = Vec::new();
    if group_name.is_empty() {
        if let Some(entry) = &entry {
            let member = |group: &GroupEntry<'_>| group.members.split(',').any(|m| m == entry.name);
            groups.extend(group_entries(group).filter(member).map(|group| group.gid));
        }
    } else {
        gid = group_id(group_name, group)?;
    }
    groups.push(gid);
    for name in &user.additional_groups {
        groups.push(group_id(name, group)?);
    }
    groups.sort_unstable();
    groups.dedup();
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

fn group_id(name: &str, group: &str) -> Result<u32, ProcessError> {
    match Wanted::parse(name)? {
        Wanted::Id(gid) => Ok(gid),
        Wanted::Name(name) => group_entries(group)
            .find(|entry| entry.name == name)
            .map(|entry| entry.gid)
            .ok_or_else(|| unknown(format!("unable to find group {name}: no matching entries in group file"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:5:5::/:\n\
        web:x:101:102:web,,,:/srv/web:/bin/false\nbig:x:4294967296:0::/:/bin/sh\n1000:x:7:8::/seven:/x\n";
    const GROUP: &str = "root:x:0:\nwww:x:102:\nlog:x:4:syslog,web\nwheel:x:10:root,web\n\
        2000:x:0:\n3000:x:0:\nseven:x:4242:1000\n";

    fn find(spec: &str, more: &[&str]) -> Result<Identity, String> {
        let user =
            User { spec: spec.to_owned(), additional_groups: more.iter().map(|name| (*name).to_owned()).collect() };
        resolve_in(&user, PASSWD, GROUP).map_err(|error| error.message)
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
        Identity { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        assert_eq!(find("", &[]), Ok(identity(0, 0, &[0, 10], "/root")));
        assert_eq!(find("web", &[]), Ok(identity(101, 102, &[4, 10, 102], "/srv/web")));
        assert_eq!(find("101", &[]), Ok(identity(101, 102, &[4, 10, 102], "/srv/web")));
        assert_eq!(find("web:log", &[]), Ok(identity(101, 4, &[4], "/srv/web")));
        assert_eq!(find("web:9", &[]), Ok(identity(101, 9, &[9], "/srv/web")));
        assert_eq!(find("4711", &[]), Ok(identity(4711, 0, &[0], "/")));
        assert_eq!(find("4711:12", &["log", "77", "log"]), Ok(identity(4711, 12, &[4, 12, 77], "/")));
    }

    #[test]
    fn a_number_is_never_a_name() {
        assert_eq!(find("1000", &[]), Ok(identity(1000, 0, &[0], "/")));
        assert_eq!(find("+1000", &[]), Ok(identity(1000, 0, &[0], "/")));
        assert_eq!(find("01000", &[]), Ok(identity(1000, 0, &[0], "/")));
        assert_eq!(find("1000:2000", &["3000"]), Ok(identity(1000, 2000, &[2000, 3000], "/")));
        assert_eq!(find("web:2000", &[]), Ok(identity(101, 2000, &[2000], "/srv/web")));
        assert_eq!(find("0", &["2000"]), Ok(identity(0, 0, &[0, 10, 2000], "/root")));
        // The other way round: the table gives home and groups to the id it names.
        assert_eq!(find("7", &[]), Ok(identity(7, 8, &[8, 4242], "/seven")));
    }

    #[test]
    fn what_was_cut_off_is_no_line() {
        assert_eq!(whole_lines("web:x:10:10:::\nroot:x:0:1", true), "web:x:10:10:::\n");
        assert_eq!(whole_lines("web:x:10:10:::\nroot:x:0:1", false), "web:x:10:10:::\nroot:x:0:1");
        assert_eq!(whole_lines("endless", true), "");
    }

    #[test]
    fn unknown_and_wrapping_users_are_refused() {
        let error = find("nobody-here", &[]).unwrap_err();
        assert_eq!(error, "unable to find user nobody-here: no matching entries in passwd file");
        assert!(find("web:nogroup", &[]).unwrap_err().contains("unable to find group nogroup"));
        assert!(find("0", &["nogroup"]).is_err());
        for wrapping in ["4294967296", "2147483648", "99999999999999999999", "0:4294967296"] {
            assert!(find(wrapping, &[]).unwrap_err().contains("range"), "{wrapping}");
        }
        assert!(find("big", &[]).is_err());
        assert!(find("-1", &[]).is_err());
    }
}
