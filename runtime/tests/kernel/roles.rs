//! What this program is when it was started by a test: shim, exec, or a program in a container.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use skep_runtime::kernel::exec::{self, ExecConfig};
use skep_runtime::kernel::{self, KernelConfig, KernelError, Process, Stdio, cgroup};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub container: KernelConfig,
    pub bundle: PathBuf,
    /// Typed into the terminal.
    pub input: String,
    /// How often it is started, by the same shim.
    pub starts: u32,
    /// Executed inside by the shim; the container is killed then.
    pub probe: Option<Process>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecRequest {
    pub container: KernelConfig,
    pub started: Started,
    pub process: Process,
    pub privileged: bool,
    /// Typed into the terminal; what is behind `@ready@` once the program wrote "ready".
    pub input: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Started {
    pub pid: i32,
    pub start_time: u64,
}

/// What became of a program.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub stdout: String,
    pub stderr: String,
    /// As a shell shows it: 128 and the signal for a killed one.
    pub code: Option<i32>,
    /// Why it did not run.
    pub error: Option<String>,
    pub error_code: i32,
    pub warnings: Vec<String>,
    pub oom_kills: u64,
    /// Exit code of what the shim executed.
    pub probe: Option<i32>,
}

impl Outcome {
    /// What it wrote, if all went well.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        assert_eq!((&self.error, self.code), (&None, Some(0)), "{self:?}");
        self.stdout.trim_end()
    }

    #[track_caller]
    pub(crate) fn failure(&self) -> &str {
        match &self.error {
            Some(error) => error,
            None => panic!("it ran: {self:?}"),
        }
    }

    fn fail(&mut self, error: &KernelError) {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        self.error = Some(text);
        self.error_code = error.exit_code();
    }
}

/// Plays the role named by the arguments, if any. Returns the exit code.
pub(crate) fn dispatch(arguments: &[String]) -> Option<i32> {
    let out = arguments.get(2).map(PathBuf::from);
    match arguments.get(1)?.as_str() {
        "__old-kernel" => crate::old_kernel::become_old(&arguments[2..]),
        "__inside" => inside(),
        "__bench" => crate::bench::run(&arguments[2..]),
        "__container" => container(&out?),
        "__exec" => execute(&out?),
        _ => return None,
    }
    Some(0)
}

/// Run by the container itself, as the program of the host that made it.
fn inside() {
    let program = "/proc/self/exe";
    let code = |result: std::io::Result<()>| result.map_or_else(|error| error.raw_os_error().unwrap(), |()| 0);
    let written = fs::OpenOptions::new().write(true).open(program).map(drop);
    let changed = fs::set_permissions(program, fs::metadata(program).unwrap().permissions());
    println!("{} {}", code(written), code(changed));
}

fn request<T: for<'a> Deserialize<'a>>(out: &Path) -> T {
    serde_json::from_slice(&fs::read(out.join("request.json")).unwrap()).unwrap()
}

fn publish(path: &Path, value: &impl Serialize) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, serde_json::to_vec(value).unwrap()).unwrap();
    fs::rename(temporary, path).unwrap();
}

fn stdio(terminal: bool, out: &Path) -> Stdio {
    if terminal {
        return Stdio::Terminal;
    }
    let file = |name: &str| Some(OwnedFd::from(File::create(out.join(name)).unwrap()));
    Stdio::Fds { stdin: None, stdout: file("stdout"), stderr: file("stderr") }
}

fn container(out: &Path) {
    if !is_reexecuted() {
        // A caller with groups, files and a mask of its own, none of which may show inside.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(7777)]).unwrap();
        let file = File::open("/etc/passwd").unwrap();
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        std::mem::forget(file);
    }
    kernel::prepare_process().unwrap();
    let request: Request = request(out);
    for _ in 0..request.starts {
        let outcome = once(&request, out);
        publish(&out.join("outcome.json"), &outcome);
    }
}

/// The whole life of a container.
fn once(request: &Request, out: &Path) -> Outcome {
    let config = &request.container;
    let mut outcome = Outcome::default();
    let mut created = match kernel::create(config, &request.bundle, stdio(config.process.terminal, out)) {
        Ok(created) => created,
        Err(error) => {
            outcome.fail(&error);
            return outcome;
        }
    };
    outcome.warnings.append(&mut created.warnings);
    let started = Started { pid: created.init_pid, start_time: created.init_start_time };
    match kernel::start(&mut created) {
        Ok(()) => publish(&out.join("started.json"), &started),
        Err(error) => outcome.fail(&error),
    }
    if let Some(probe) = &request.probe {
        outcome.probe = Some(probed(config, started, probe));
        kernel::kill_all(config, 9).unwrap();
    }
    watch(created.init_pid, created.pty_master, &request.input, out, &mut outcome);
    if outcome.error.is_some() {
        outcome.code = None;
    }
    outcome.oom_kills = cgroup::Paths::find(&config.cgroup).unwrap().oom_kills();
    kernel::delete(config).unwrap();
    outcome
}

/// A program executed by the shim itself, as health checks are.
fn probed(config: &KernelConfig, started: Started, process: &Process) -> i32 {
    let config = ExecConfig {
        container: config,
        init_pid: started.pid,
        init_start_time: started.start_time,
        process: process.clone(),
        privileged: false,
    };
    let stdio = Stdio::Fds { stdin: None, stdout: None, stderr: None };
    let child = exec::spawn(&config, stdio).unwrap();
    match waitpid(Pid::from_raw(child.pid), None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

fn is_reexecuted() -> bool {
    std::env::var_os("_SKEP_MOUNT_NAMESPACE").is_some()
}

fn execute(out: &Path) {
    kernel::prepare_process().unwrap();
    let request: ExecRequest = request(out);
    let stdio = stdio(request.process.terminal, out);
    let config = ExecConfig {
        container: &request.container,
        init_pid: request.started.pid,
        init_start_time: request.started.start_time,
        process: request.process,
        privileged: request.privileged,
    };
    let mut outcome = Outcome::default();
    match exec::spawn(&config, stdio) {
        Err(error) => outcome.fail(&error),
        Ok(mut child) => {
            outcome.warnings.append(&mut child.warnings);
            watch(child.pid, child.pty_master, &request.input, out, &mut outcome);
        }
    }
    publish(&out.join("outcome.json"), &outcome);
}

/// Types, reads and waits until the program has ended.
fn watch(pid: i32, terminal: Option<OwnedFd>, input: &str, out: &Path, outcome: &mut Outcome) {
    let mut screen = Vec::new();
    if let Some(terminal) = terminal {
        let mut terminal = File::from(terminal);
        let input = match input.split_once("@ready@") {
            Some((_, rest)) => {
                let mut piece = [0; 512];
                while !String::from_utf8_lossy(&screen).contains("ready") {
                    let length = terminal.read(&mut piece).unwrap();
                    screen.extend(&piece[..length]);
                }
                rest
            }
            None => input,
        };
        terminal.write_all(input.as_bytes()).unwrap();
        // Ends with EIO once nobody has the other side open.
        drop(terminal.read_to_end(&mut screen));
    }
    outcome.code = Some(match waitpid(Pid::from_raw(pid), None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        other => panic!("{other:?}"),
    });
    let read = |name: &str| fs::read(out.join(name)).unwrap_or_default();
    screen.extend(read("stdout"));
    outcome.stdout = String::from_utf8_lossy(&screen).replace('\r', "");
    outcome.stderr = String::from_utf8_lossy(&read("stderr")).into_owned();
}
