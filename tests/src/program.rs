//! Programs run with a time limit, their output kept. Everything that starts a process goes through here.

use std::fmt;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::wait::slow;

/// A program that has ended: what was run, what it said, how it ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The command line, as a person would type it.
    pub command: String,
    /// The exit code; 128 + n for an end by signal n.
    pub code: i32,
    /// Everything it wrote to its standard output.
    pub stdout: String,
    /// Everything it wrote to its standard error.
    pub stderr: String,
}

impl fmt::Display for Finished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "$ {}\nexit code {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command, self.code, self.stdout, self.stderr
        )
    }
}

impl Finished {
    /// The standard output, without the final newline, of a command that has to succeed.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == 0, "expected success:\n{self}");
        self.stdout.trim_end().to_owned()
    }

    /// The standard error of a command that has to end with `code`.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert!(self.code == code, "expected exit code {code}:\n{self}");
        self.stderr.trim_end().to_owned()
    }

    /// The command has to end with `code` and its standard error has to hold each of `words` (in any case).
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn fails_saying(self, code: i32, words: &[&str]) -> String {
        assert!(self.code == code, "expected exit code {code}:\n{self}");
        let low = self.stderr.to_lowercase();
        for word in words {
            assert!(low.contains(&word.to_lowercase()), "expected the error to say {word:?}:\n{self}");
        }
        assert!(!low.contains("panicked at"), "the command panicked:\n{self}");
        self.stderr.trim_end().to_owned()
    }

    /// Success as a `Result`, for callers that have to clean up first.
    ///
    /// # Errors
    /// When the exit code is not 0.
    pub fn success(self) -> Result<String> {
        if self.code != 0 {
            bail!("{self}");
        }
        Ok(self.stdout.trim_end().to_owned())
    }
}

/// The exit code of `status` as a shell reports it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The words of `command` joined by spaces, those with blanks quoted.
#[must_use]
pub fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    shown_words(&words)
}

/// `words` joined by spaces, those with blanks quoted.
#[must_use]
pub fn shown_words<S: AsRef<str>>(words: &[S]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            let word = word.as_ref();
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "\"{}$;|&*".contains(c)) {
                format!("'{word}'")
            } else {
                word.to_owned()
            }
        })
        .collect();
    quoted.join(" ")
}

/// A running program whose output is being read.
pub struct Running {
    command: String,
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

/// Starts `command` with its output captured and, unless it was set, no input.
///
/// # Errors
/// When the program cannot be started.
pub fn start(command: &mut Command) -> Result<Running> {
    let shown = shown(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    Ok(Running { command: shown, child, stdout, stderr })
}

impl Running {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end, at most `limit` (stretched on slow machines).
    ///
    /// # Errors
    /// When it takes longer, or when something it left behind keeps its output open.
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        let limit = slow(limit);
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_micros(500);
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().ok();
                self.child.wait().ok();
                let finished = self.collect(137);
                bail!("no end after {limit:?}:\n{finished}");
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        let code = exit_code(status);
        Ok(self.collect(code))
    }

    fn collect(self, code: i32) -> Finished {
        let grace = slow(Duration::from_secs(3));
        let missing = b"(output still held open by a process left behind)".to_vec();
        let text = |receiver: &Receiver<Vec<u8>>| {
            let bytes = receiver.recv_timeout(grace);
            String::from_utf8_lossy(&bytes.unwrap_or_else(|_| missing.clone())).into_owned()
        };
        Finished { code, stdout: text(&self.stdout), stderr: text(&self.stderr), command: self.command }
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).ok();
            sender.send(bytes).ok();
        });
    }
    receiver
}

/// `name`, ready to be given arguments, killed by the kernel when the thread that starts it ends in whatever way: who
/// interrupts or kills us would leave it otherwise.
#[must_use]
pub fn bound_to_us(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", name]);
    command
}

/// Runs `command` to its end, at most a minute.
///
/// # Errors
/// When it cannot be started or takes longer; a bad exit code is the caller's to judge.
pub fn run(command: &mut Command) -> Result<Finished> {
    command.stdin(Stdio::null());
    start(command)?.finish(Duration::from_secs(60))
}

/// Runs the program `words[0]` with the arguments `words[1..]`; it has to succeed.
///
/// # Errors
/// When it does not, with everything it said.
pub fn tool(words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    run(Command::new(program).args(arguments))?.success()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_program_ends_with_who_started_it() {
        let starter = thread::spawn(|| {
            let child = bound_to_us("sleep").arg("1000").spawn().unwrap();
            let name = format!("/proc/{}/comm", child.id());
            crate::wait_until(Duration::from_secs(20), "the program to run", || {
                let name = std::fs::read_to_string(&name).unwrap();
                (name == "sleep\n").then_some(()).ok_or(name)
            });
            child
        });
        let status = starter.join().unwrap().wait().unwrap();
        assert_eq!(exit_code(status), 137);
    }
}
