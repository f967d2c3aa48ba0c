//! Health checks under way: one probe at a time, executed in the container as `exec` does it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};

use crate::kernel::exec::{ExecConfig, spawn};
use crate::kernel::{KernelConfig, Process, Stdio};
use crate::records::config::HealthCheck;
use crate::records::state::{HealthResult, ProcessId};
use crate::shim::health;

/// Output kept of one probe, bytes.
const OUTPUT_MAX: usize = 4096;

/// Reads of a probe's output in a row, 1 KiB each: as much as a pipe can hold.
const BURST: usize = 64;

/// Runs the probes of one container.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) check: HealthCheck,
    /// When the next probe begins.
    pub(super) next: Instant,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    pid: i32,
    output: Option<File>,
    text: Vec<u8>,
    start: Timestamp,
    deadline: Instant,
    timed_out: bool,
}

impl Prober {
    pub(super) fn new(check: HealthCheck, first: Duration) -> Self {
        Self { check, next: Instant::now() + first, running: None }
    }

    /// When [`Prober::begin`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.running {
            None => Some(self.next),
            Some(running) if running.timed_out => None,
            Some(running) => Some(running.deadline),
        }
    }

    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().and_then(|running| running.output.as_ref()).map(AsFd::as_fd)
    }

    /// Whether a probe should begin now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.running.is_none() && now >= self.next
    }

    /// Ends a probe that takes too long. Its end comes as any other.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(running) = self.running.as_mut().filter(|running| !running.timed_out && now >= running.deadline) {
            running.timed_out = true;
            kill(Pid::from_raw(running.pid), Signal::SIGKILL).ok();
        }
    }

    /// Begins a probe; a probe that cannot begin is a failed one.
    pub(super) fn begin(&mut self, container: &KernelConfig, init: ProcessId) -> Option<HealthResult> {
        let start = crate::kernel::process::now();
        let process = Process {
            args: health::arguments(&self.check),
            terminal: false,
            terminal_size: None,
            ..container.process.clone()
        };
        let config = ExecConfig {
            container,
            init_pid: init.pid,
            init_start_time: init.start_time,
            process,
            privileged: container.privileged,
        };
        let spawned = pipe().and_then(|(ours, theirs)| {
            let again = theirs.try_clone()?;
            let stdio = Stdio::Fds { stdin: None, stdout: Some(theirs), stderr: Some(again) };
            Ok((ours, spawn(&config, stdio)))
        });
        let failed =
            |output: String| Some(HealthResult { start, end: crate::kernel::process::now(), exit_code: -1, output });
        match spawned {
            Ok((output, Ok(child))) => {
                let deadline = Instant::now() + health::timeout(&self.check);
                let (pid, text) = (child.pid, Vec::new());
                self.running = Some(Running { pid, output: Some(output), text, start, deadline, timed_out: false });
                None
            }
            Ok((_, Err(error))) => failed(crate::error::DisplayChain(&error).to_string()),
            Err(error) => failed(error.to_string()),
        }
    }

    /// Reads what the probe prints, and no more in a row than was there: what prints without end must not keep the
    /// deadline, and all else, waiting.
    pub(super) fn read(&mut self) {
        let Some(running) = self.running.as_mut() else { return };
        let Some(file) = running.output.as_mut() else { return };
        let mut buffer = [0; 1024];
        for _ in 0..BURST {
            match file.read(&mut buffer) {
                Ok(0) => {
                    running.output = None;
                    return;
                }
                Ok(count) => {
                    let room = OUTPUT_MAX.saturating_sub(running.text.len());
                    running.text.extend_from_slice(&buffer[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    running.output = None;
                    return;
                }
            }
        }
    }

    /// A child has ended: if it was the probe, here is its result.
    pub(super) fn ended(&mut self, pid: i32, exit_code: i32) -> Option<HealthResult> {
        if self.running.as_ref().is_none_or(|running| running.pid != pid) {
            return None;
        }
        self.read();
        let running = self.running.take()?;
        let (exit_code, output) = if running.timed_out {
            let seconds = health::timeout(&self.check).as_secs_f64();
            (-1, format!("Health check exceeded timeout ({seconds}s)"))
        } else {
            (exit_code, String::from_utf8_lossy(&running.text).into_owned())
        };
        Some(HealthResult { start: running.start, end: crate::kernel::process::now(), exit_code, output })
    }
}

fn pipe() -> io::Result<(File, std::os::fd::OwnedFd)> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((File::from(ours), theirs))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Seek;

    use super::*;

    #[test]
    fn output_without_end_leaves_time_for_the_deadline() {
        let check = HealthCheck {
            test: vec!["CMD".to_owned(), "yes".to_owned()],
            interval_ns: 1_000_000_000,
            timeout_ns: 0,
            start_period_ns: 0,
            start_interval_ns: 0,
            retries: 1,
        };
        let mut prober = Prober::new(check, Duration::ZERO);
        // More than any pipe holds, and never empty for now, as what `yes` prints.
        let output = tempfile::tempfile().unwrap();
        output.set_len(1 << 30).unwrap();
        let mut reader = output.try_clone().unwrap();
        prober.running = Some(Running {
            pid: i32::MAX,
            output: Some(output),
            text: Vec::new(),
            start: Timestamp::UNIX_EPOCH,
            deadline: Instant::now(),
            timed_out: true,
        });
        prober.read();
        assert_eq!(reader.stream_position().unwrap(), 64 << 10);
        assert!(prober.output().is_some(), "the rest is for the next turn");
        let result = prober.ended(i32::MAX, 137).unwrap();
        assert_eq!((result.exit_code, reader.stream_position().unwrap()), (-1, 128 << 10));
    }
}
