//! The end of a container's lives: on record, then another one, or everything given back.

use std::mem;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::life::Phase;
use super::{Shim, restart};
use crate::kernel::cgroup::Paths as Cgroup;
use crate::kernel::process;
use crate::records::state::Status;
use crate::streams::control::{Ended, kind};

impl Shim {
    /// The program has ended.
    pub(super) fn on_exit(&mut self, exit_code: i32) {
        let Phase::Running(mut life) = mem::replace(&mut self.phase, Phase::Over) else { return };
        let cgroup = Cgroup::find(&self.rules.cgroup);
        // Where the pid namespace is another's, the rest does not end with the first, and might go
        // on writing for ever.
        if let Ok(cgroup) = &cgroup {
            cgroup.signal(Signal::SIGKILL).ok();
        }
        self.output.drain(&mut life.ends, &mut self.clients);
        let kills = cgroup.map_or(0, |cgroup| cgroup.oom_kills());
        self.state.init = None;
        self.state.exit_code = exit_code;
        self.state.oom_killed = kills > life.oom_kills;
        self.state.finished_at = Some(process::now());
        if !self.is_ending() && restart::wanted(self.rules.policy, exit_code, self.state.restart_count) {
            self.state.status = Status::Restarting;
            self.phase = Phase::Between(Instant::now() + self.backoff.next(life.began.elapsed()));
            self.clients.life_over(exit_code);
        } else {
            self.state.status = Status::Exited;
        }
        // One that is removed at its end is removed after a power cut, too, whatever it is said to have been.
        if self.rules.auto_remove { self.save_soon() } else { self.save() }
    }

    /// Gives back what the container had of the kernel and the network, in a process of its own:
    /// this one stays small. How the container ended is on record already.
    pub(super) fn tear_down(&mut self) {
        if self.state.status.is_active() {
            self.state.status = Status::Exited;
            self.save();
        }
        let place = &self.place;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("__cleanup")
            .args([&place.roots.root, &place.roots.run_root])
            .args([&place.roots.cgroup_parent, &place.id])
            .arg(if self.rules.auto_remove { "remove" } else { "keep" });
        let done = place.mounts.try_clone().and_then(|mounts| command.stdin(mounts).status());
        if let Err(error) = done {
            tracing::error!(container.id = %place.id, %error, "not cleaned up");
        }
        if place.paths.record().exists() {
            self.state.shim = None;
            // After a power cut a shim of before means the same.
            self.save_soon();
        }
    }

    /// Tells everyone how it ended, and waits a little for them to read it.
    pub(super) fn say_farewell(&mut self) {
        self.clients.admit();
        let payload = serde_json::to_vec(&Ended { exit_code: self.state.exit_code }).unwrap_or_default();
        for index in self.clients.indices() {
            self.on_client(index);
            self.clients.at(index).finish(kind::ENDED, &payload);
        }
        self.clients.flush();
    }
}
