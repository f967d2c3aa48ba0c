//! A program on a terminal of its own, driven as a person at the keyboard would.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::program::{exit_code, shown};
use crate::wait::slow;

/// Whether the screen is being read.
const READING: u8 = 0;
/// It is not: what is printed stays in the terminal, until that is full.
const PAUSED: u8 = 1;
/// The window is closed.
const CLOSED: u8 = 2;

/// A program whose terminal is in our hands.
pub struct Terminal {
    /// `None` once the window is closed.
    master: Option<File>,
    mode: Arc<AtomicU8>,
    child: Child,
    screen: Arc<Mutex<Vec<u8>>>,
    seen: usize,
    shown: String,
}

impl Terminal {
    /// Starts `command` as the leader of a session whose controlling terminal has `rows` and `columns`.
    ///
    /// # Errors
    /// When no terminal can be made or the program cannot be started.
    pub fn start(command: &Command, rows: u16, columns: u16) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, size(rows, columns))?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave: OwnedFd = rustix::fs::open(&name, flags, Mode::empty())?;
        // Only a session leader without a terminal can be given one, which `setsid --ctty` sees to.
        let mut leader = Command::new("/usr/bin/setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        leader.env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                leader.env(name, value);
            }
        }
        let child = leader
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave))
            .spawn()
            .with_context(|| format!("cannot start {}", shown(command)))?;
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let mode = Arc::new(AtomicU8::new(READING));
        let (mut reader, sink, wanted) = (master.try_clone()?, Arc::clone(&screen), Arc::clone(&mode));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match wanted.load(Ordering::SeqCst) {
                    CLOSED => break,
                    PAUSED => {
                        thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                    _ => {}
                }
                let mut ready = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
                if !matches!(poll(&mut ready, PollTimeout::from(20_u8)), Ok(1..)) {
                    continue;
                }
                let Ok(count @ 1..) = reader.read(&mut buffer) else { break };
                let mut screen = sink.lock().unwrap_or_else(PoisonError::into_inner);
                screen.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        });
        Ok(Self { master: Some(master), mode, child, screen, seen: 0, shown: shown(command) })
    }

    /// The process that leads the terminal's session.
    #[must_use]
    pub fn leader(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Stops reading the screen, as Ctrl-S and a slow line do, or goes on.
    pub fn pause(&self, paused: bool) {
        self.mode.store(if paused { PAUSED } else { READING }, Ordering::SeqCst);
    }

    /// Closes the window: its programs are hung up on.
    pub fn close(&mut self) {
        self.mode.store(CLOSED, Ordering::SeqCst);
        self.master = None;
    }

    fn master(&self) -> Result<&File> {
        self.master.as_ref().context("the window is closed")
    }

    /// Types `text`.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.master()?.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Changes the size of the window.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        tcsetwinsize(self.master()?, size(rows, columns))?;
        Ok(())
    }

    /// Waits until `text` stands on the screen after what was expected before, and returns everything up to it.
    ///
    /// # Errors
    /// When 20 seconds (stretched on slow machines) pass without it.
    pub fn expect(&mut self, text: &str) -> Result<String> {
        let deadline = Instant::now() + slow(Duration::from_secs(20));
        loop {
            let all = self.screen();
            let new = all.get(self.seen..).unwrap_or_default();
            if let Some(at) = new.find(text) {
                let found = new.get(..at + text.len()).unwrap_or_default().to_owned();
                self.seen += at + text.len();
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("{}: no {text:?} on the screen, but:\n{all}", self.shown);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything that was printed so far.
    #[must_use]
    pub fn screen(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen).into_owned()
    }

    /// Waits for the end and returns the exit code.
    ///
    /// # Errors
    /// When 20 seconds (stretched on slow machines) are not enough.
    pub fn finish(&mut self) -> Result<i32> {
        let deadline = Instant::now() + slow(Duration::from_secs(20));
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(exit_code(status));
            }
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} does not end; its screen:\n{}", self.shown, self.screen());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.mode.store(CLOSED, Ordering::SeqCst);
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
