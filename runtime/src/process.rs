//! What /proc tells about processes and the boot.

use std::fs;

use jiff::Timestamp;

use crate::state::ProcessId;

/// Part of /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    state: char,
    pub(crate) start_time: u64,
}

impl Stat {
    /// It only waits to be reaped.
    pub(crate) fn ended(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// A process' state; `None` when it is not there.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name may hold spaces and parentheses: what counts comes after the last one.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_time })
}

/// This process.
pub(crate) fn own_id() -> ProcessId {
    let pid = std::process::id() as i32;
    ProcessId { pid, start_time: stat(pid).map_or(0, |stat| stat.start_time) }
}

/// Names this boot; empty where the kernel does not tell.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The time to write into files.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let text = "7 (a) b (c)) Z 1 7 7 0 -1 4228356 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!(stat.start_time, 12345);
        assert!(stat.ended());
        assert_eq!(parse_stat("7 (x) S 1"), None);
    }

    #[test]
    fn this_process_lives_and_another_start_time_does_not() {
        let own = own_id();
        assert!(own.is_alive());
        assert!(!ProcessId { start_time: own.start_time + 1, ..own }.is_alive());
    }
}
