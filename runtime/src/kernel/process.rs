//! What /proc tells about processes and the boot.

use std::fs;
use std::io;

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait, waitpid};

use crate::kernel::sys;
use crate::records::state::ProcessId;

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

/// A child that has ended, and its exit code: 128 and the signal's number if one killed it.
///
/// Any child, or the one with this number; `None` when there is none that has ended.
pub(crate) fn reap(pid: Option<i32>) -> io::Result<Option<(i32, i32)>> {
    let pid = pid.and_then(Pid::from_raw);
    loop {
        let ended = match pid {
            Some(_) => waitpid(pid, WaitOptions::NOHANG),
            None => wait(WaitOptions::NOHANG),
        };
        // Not by way of an enumeration of signals: the real-time ones are in none.
        match ended {
            Ok(None) => return Ok(None),
            Ok(Some((child, status))) => {
                let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
                if let Some(code) = code {
                    return Ok(Some((child.as_raw_nonzero().get(), code)));
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) if pid.is_none() => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sends a signal, real-time ones included, to a process; nothing if it has ended.
pub(crate) fn signal(process: ProcessId, number: i32) -> io::Result<()> {
    if !process.is_alive() {
        return Ok(());
    }
    match sys::kill(process.pid, number) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        sent => sent,
    }
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
    #[allow(clippy::zombie_processes, reason = "reap is what waits for it")]
    fn whatever_signal_kills_a_child_it_is_reaped() {
        for (script, expected) in [("exit 7", 7), ("kill -9 $$", 137), ("kill -40 $$", 168), ("kill -64 $$", 192)] {
            let child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
            let pid = child.id() as i32;
            let code = loop {
                match reap(Some(pid)).unwrap() {
                    Some((reaped, code)) if reaped == pid => break code,
                    _ => std::thread::yield_now(),
                }
            };
            assert_eq!(code, expected, "{script}");
        }
    }

    #[test]
    fn this_process_lives_and_another_start_time_does_not() {
        let own = own_id();
        assert!(own.is_alive());
        assert!(!ProcessId { start_time: own.start_time + 1, ..own }.is_alive());
    }
}
