//! What /proc tells about processes and the boot.

use std::io;
use std::os::unix::process::ExitStatusExt;

use jiff::Timestamp;
use skep_common::procfs::ProcessStat;

use crate::kernel::sys;
use crate::records::state::ProcessId;

/// A child that has ended, and its exit code: 128 and the signal's number if one killed it.
///
/// Any child, or the one with this number; `None` when there is none that has ended.
pub(crate) fn reap(pid: Option<i32>) -> io::Result<Option<(i32, i32)>> {
    loop {
        match sys::ended_child(pid) {
            Ok(None) => return Ok(None),
            Ok(Some((child, status))) => {
                if let Some(code) = status.code().or_else(|| Some(128 + status.signal()?)) {
                    return Ok(Some((child, code)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if pid.is_none() && error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
            Err(error) => return Err(error),
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
    ProcessId { pid, start_time: ProcessStat::of(pid).map_or(0, |stat| stat.start_ticks) }
}

/// The time to write into files.
#[expect(clippy::disallowed_methods, reason = "a container lives by the machine's own clock: this is the one place")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
