//! What clients ask of a shim, and how it is done.

use std::time::{Duration, Instant};

use super::Shim;
use super::life::Phase;
use crate::error::{DisplayChain, Error, Result};
use crate::kernel::cgroup::Paths as Cgroup;
use crate::kernel::sys;
use crate::lifecycle::launch::Launch;
use crate::records::state::Status;
use crate::streams::control::{Request, kind};

impl Shim {
    /// A client has said something, or is gone.
    pub(super) fn on_client(&mut self, index: usize) {
        let had_stdin = self.clients.at(index).wants_stdin();
        for (frame, payload) in self.clients.at(index).read() {
            match frame {
                kind::REQUEST => match serde_json::from_slice::<Request>(&payload) {
                    Ok(request) => self.on_request(index, request),
                    Err(_) => self.clients.at(index).finish(kind::REFUSED, b"this shim does not know the request"),
                },
                kind::STDIN if !had_stdin && !self.clients.at(index).wants_stdin() => {}
                kind::STDIN if payload.is_empty() && self.rules.stdin_once => self.end_input(),
                kind::STDIN => {
                    if let Some(life) = self.phase.life_mut() {
                        life.ends.write(&payload);
                    }
                }
                kind::WINDOW => {
                    if let [a, b, c, d] = payload[..] {
                        self.resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])).ok();
                    }
                }
                kind::LEAVE => self.clients.at(index).leave(),
                _ => {}
            }
        }
        let client = self.clients.at(index);
        if client.is_gone() && client.wants_stdin() && self.rules.stdin_once {
            self.end_input();
        }
    }

    fn on_request(&mut self, index: usize, request: Request) {
        let outcome = match &request {
            Request::Attach { .. } | Request::Wait { .. } => None,
            Request::Stop { signal, timeout } => {
                self.state.stopped_by_user = true;
                self.stop(*signal, *timeout);
                self.save();
                None
            }
            Request::Kill { signal } => {
                if [libc::SIGKILL, libc::SIGTERM, self.rules.stop_signal].contains(signal) {
                    self.state.stopped_by_user = true;
                    self.save();
                }
                self.signal(*signal);
                Some(Ok(()))
            }
            Request::Pause => Some(self.freeze(true)),
            Request::Unpause => Some(self.freeze(false)),
            Request::Resize { rows, columns } => Some(self.resize(*rows, *columns)),
            Request::Reload => Some(Launch::load(&self.place.paths).map(|launch| self.rules.policy = launch.restart)),
        };
        let client = self.clients.at(index);
        client.request = Some(request);
        match outcome {
            None => {}
            Some(Ok(())) => client.finish(kind::DONE, b""),
            Some(Err(error)) => client.finish(kind::REFUSED, DisplayChain(&error).to_string().as_bytes()),
        }
    }

    fn end_input(&mut self) {
        if let Some(life) = self.phase.life_mut() {
            life.ends.end_input();
        }
    }

    fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        match &self.phase {
            Phase::Running(life) => life.ends.resize(rows, columns).map_err(Error::system("resize the terminal")),
            Phase::Beginning | Phase::Between(_) | Phase::Over => Ok(()),
        }
    }

    /// Asks the program to end, and sees to it that it does: signal, patience, SIGKILL.
    pub(super) fn stop(&mut self, signal: Option<i32>, timeout: Option<i64>) {
        self.signal(signal.unwrap_or(self.rules.stop_signal));
        if let Some(life) = self.phase.life_mut() {
            let patience = u64::try_from(timeout.unwrap_or(self.rules.stop_timeout)).ok().map(Duration::from_secs);
            life.kill_at = patience.map(|patience| Instant::now() + patience);
        }
        if self.state.status == Status::Paused {
            // A frozen process takes no signal.
            self.freeze(false).ok();
        }
    }

    /// Sends a signal to the program, if there is one.
    pub(super) fn signal(&mut self, signal: i32) {
        let Some(life) = self.phase.life() else { return };
        // The pid cannot be another's: only this process can reap it.
        sys::kill(life.init.pid, signal).ok();
        if signal == libc::SIGKILL && self.state.status == Status::Paused {
            self.freeze(false).ok();
        }
    }

    fn freeze(&mut self, frozen: bool) -> Result<()> {
        let cgroup = Cgroup::find(&self.rules.cgroup)?;
        if frozen {
            cgroup.freeze()?;
            self.state.status = Status::Paused;
        } else {
            cgroup.thaw()?;
            self.state.status = Status::Running;
        }
        self.save();
        Ok(())
    }
}
