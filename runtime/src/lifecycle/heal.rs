//! What a kill -9 left, put right by the next command.
//!
//! | killed | left | healed into |
//! |---|---|---|
//! | `create` | directory without config.json, perhaps a name | removed |
//! | `start` before the shim | network, launch.json | network given back, container as before |
//! | shim | running processes, cgroup, network, state "running" | processes killed, exited 137; started again if its policy says so |
//! | `rm` | removing.json | removal carried on, with volumes only if they were to go |
//! | the disk's power | damaged state.json | exited 255; as after the end of its shim |
//! | the machine | state "running" of another boot | exited 255; started again by `recover` |
//!
//! Invariant: whoever heals holds the container's lock; a container whose lock is held by another
//! process is that process' business.

use std::fs;
use std::time::Duration;

use crate::error::{DisplayChain, Error, Result};
use crate::files::{self, FileLock};
use crate::kernel::{self, process};
use crate::lifecycle::launch::Launch;
use crate::records::config::{ContainerRecord, RestartPolicy};
use crate::records::state::{ContainerState, Status};
use crate::runtime::Runtime;
use crate::shim::restart_wanted;

/// Exit code of a container whose shim was killed, and which was killed for it.
pub(crate) const KILLED: i32 = 137;
/// Exit code of a container that the machine's end took along (as docker has it).
const LOST: i32 = 255;
/// How old a directory without a lock has to be.
const MOMENT: Duration = Duration::from_secs(60);

impl Runtime {
    /// Puts right whatever killed commands and shims left: containers, networks, directories.
    ///
    /// # Errors
    /// The state cannot be read. What cannot be healed is logged.
    pub fn heal(&self) -> Result<()> {
        for id in self.ids()? {
            if let Err(error) = self.heal_one(&id) {
                tracing::warn!(container.id = %id, error = %DisplayChain(&error), "not healed");
            }
        }
        self.sweep_run_root()?;
        self.sweep_networks()
    }

    /// Starts, after a reboot, the containers that are to run always. Returns what failed.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn recover(&self) -> Result<Vec<(String, Error)>> {
        let marker = self.roots().boot_marker();
        let boot = skep_common::procfs::boot_id();
        let is_done = || fs::read_to_string(&marker).is_ok_and(|done| done == boot);
        if is_done() {
            return Ok(Vec::new());
        }
        let _lock = FileLock::exclusive(&self.roots().run_root.join("recover.lock"))?;
        if is_done() {
            return Ok(Vec::new());
        }
        let mut failed = Vec::new();
        let wanted = self.recovery_plan(&boot)?;
        for record in self.records()? {
            let id = &record.id;
            let revived = self.heal_one(id).and_then(|()| match self.state(id)? {
                // One that was started, and perhaps stopped, since the boot is not to be started again.
                Some(state) if state.boot_id != boot && wanted.contains(id) => self.launch(id, None, true).map(drop),
                _ => Ok(()),
            });
            failed.extend(revived.err().map(|error| (record.name, error)));
        }
        files::replace(&marker, boot.as_bytes(), 0o600)?;
        files::remove_replaced(&self.roots().recovery_plan())?;
        Ok(failed)
    }

    /// The containers that are to be started. On disk before the first of them is healed: whoever goes on
    /// after a kill could not tell any more which of them ran.
    fn recovery_plan(&self, boot: &str) -> Result<Vec<String>> {
        let path = self.roots().recovery_plan();
        match files::load::<(String, Vec<String>)>(&path) {
            Ok(Some((of, ids))) if of == boot => return Ok(ids),
            Ok(_) | Err(Error::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let wanted = |record: &ContainerRecord| {
            let before = self.state(&record.id).unwrap_or_else(|_| Some(unknown_state(record))).unwrap_or_default();
            match record.config.restart {
                RestartPolicy::No => false,
                RestartPolicy::Always => before.status != Status::Created,
                RestartPolicy::UnlessStopped => before.status != Status::Created && !before.stopped_by_user,
                RestartPolicy::OnFailure(_) => before.status.is_active(),
            }
        };
        let ids: Vec<String> = self.records()?.into_iter().filter(wanted).map(|record| record.id).collect();
        files::store(&path, &(boot, &ids))?;
        Ok(ids)
    }

    /// Heals one container, unless another command is changing it.
    pub(crate) fn heal_one(&self, id: &str) -> Result<()> {
        if !self.needs_healing(id)? {
            return Ok(());
        }
        match FileLock::attempt_existing(&self.paths(id).lock()) {
            Ok(Some(lock)) => self.heal_and_resume(id, lock).map(drop),
            Ok(None) => Ok(()),
            Err(error) if error.is_not_found() => {
                if self.is_abandoned(id) {
                    self.sweep(id)
                } else {
                    Ok(())
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Heals one container, and starts it again if its restart policy says so; tells whether it did.
    pub(crate) fn heal_and_resume(&self, id: &str, lock: FileLock) -> Result<bool> {
        let resumes = self.heal_locked(id)?;
        drop(lock);
        if resumes {
            self.launch(id, None, true)?;
        }
        Ok(resumes)
    }

    /// Changes a container that has been healed, under its lock.
    pub(crate) fn change_healed<T>(&self, id: &str, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let lock = self.lock(id)?;
        let resumes = self.heal_locked(id)?;
        let outcome = change();
        drop(lock);
        if resumes {
            self.launch(id, None, true)?;
        }
        outcome
    }

    /// Whether nobody works on a directory that has neither config.json nor lock: whoever makes or
    /// removes a container needs but a moment for the step.
    fn is_abandoned(&self, id: &str) -> bool {
        let paths = self.paths(id);
        let modified = fs::metadata(&paths.directory).and_then(|status| status.modified());
        let age = modified.ok().and_then(|modified| modified.elapsed().ok());
        !paths.record().exists() && age.is_some_and(|age| age > MOMENT)
    }

    fn is_transient(&self, id: &str) -> bool {
        let record = files::load::<ContainerRecord>(&self.paths(id).record());
        record.ok().flatten().is_some_and(|record| record.config.auto_remove)
    }

    fn needs_healing(&self, id: &str) -> Result<bool> {
        let paths = self.paths(id);
        if !paths.record().exists() {
            return Ok(paths.directory.exists());
        }
        let state = match self.state(id) {
            // The shim, if there is one, is going to replace it.
            Err(Error::Damaged { .. }) => return Ok(self.connect(id).is_err()),
            state => state?.unwrap_or_default(),
        };
        Ok(match state.shim {
            Some(shim) => state.boot_id != skep_common::procfs::boot_id() || !shim.is_alive(),
            // One that is to be removed at its end is gone, unless whoever removes it was killed.
            None => {
                let ended = state.status == Status::Exited && state.started_at.is_some();
                state.status.is_active() || paths.run.exists() || (ended && self.is_transient(id))
            }
        })
    }

    /// Heals one container. The caller holds its lock. Tells whether its restart policy wants it started again.
    pub(crate) fn heal_locked(&self, id: &str) -> Result<bool> {
        if !self.needs_healing(id)? {
            return Ok(false);
        }
        let Some(record) = files::load::<ContainerRecord>(&self.paths(id).record())? else {
            return self.sweep(id).map(|()| false);
        };
        let (mut state, damaged) = match self.state(id) {
            Err(Error::Damaged { .. }) => (unknown_state(&record), true),
            state => (state?.unwrap_or_default(), false),
        };
        let rebooted = !state.boot_id.is_empty() && state.boot_id != skep_common::procfs::boot_id();
        let was_active = state.status.is_active();
        tracing::warn!(container.id = %id, rebooted, "healing");
        let remove = record.config.auto_remove && state.started_at.is_some();
        self.tear_down(id, remove)?;
        if remove {
            return Ok(false);
        }
        // After a reboot, `recover` decides.
        let resumes = was_active
            && !rebooted
            && !state.stopped_by_user
            && restart_wanted(record.config.restart, KILLED, state.restart_count);
        if was_active {
            state = ContainerState {
                status: Status::Exited,
                exit_code: if rebooted || damaged { LOST } else { KILLED },
                finished_at: Some(process::now()),
                error: match (damaged, rebooted) {
                    (true, _) => "the container's state.json was damaged".to_owned(),
                    (false, true) => String::new(),
                    (false, false) => "the container's shim was killed".to_owned(),
                },
                ..state
            };
        }
        state.init = None;
        state.shim = None;
        state.restart_count += u32::from(resumes);
        files::store(&self.paths(id).state(), &state)?;
        Ok(resumes)
    }

    /// Gives back what a container holds of the kernel and the network; with `remove`, the
    /// container itself, too. Idempotent. The caller holds the lock, or is the shim's.
    pub(crate) fn tear_down(&self, id: &str, remove: bool) -> Result<()> {
        let paths = self.paths(id);
        let deleted = match files::load::<Launch>(&paths.launch()) {
            Ok(Some(launch)) => kernel::delete(&launch.container).map_err(Error::from),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let left = self.leave_networks(id);
        // Kept for the next attempt when something is still there.
        let emptied = if deleted.is_ok() && left.is_ok() { paths.remove_run_directory() } else { Ok(()) };
        let removed = if remove { self.delete_files(id, true) } else { Ok(()) };
        deleted.and(left).and(emptied).and(removed)
    }

    fn leave_networks(&self, id: &str) -> Result<()> {
        let sandbox = skep_net::SandboxId::new(id)?;
        match self.net().disconnect(&sandbox) {
            Ok(()) | Err(skep_net::Error::SandboxNotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes away the networks of containers that neither run nor are being started.
    pub(crate) fn sweep_networks(&self) -> Result<()> {
        let live = |id: &skep_net::SandboxId| {
            let id = id.as_str();
            if !skep_common::names::is_id(id) || self.is_active(id) {
                return true;
            }
            match FileLock::attempt_existing(&self.paths(id).lock()) {
                Ok(Some(_lock)) => match self.state(id) {
                    Ok(state) => state.is_some_and(|state| state.shim.is_some()),
                    Err(_) => true,
                },
                Ok(None) => true,
                Err(_) => false,
            }
        };
        self.net().gc(live)?;
        Ok(())
    }

    /// Removes what is left of a container that has no config.json: half made, or half removed.
    pub(crate) fn sweep(&self, id: &str) -> Result<()> {
        self.tear_down(id, false)?;
        self.delete_files(id, false)
    }

    /// Directories below the run root whose container is gone.
    fn sweep_run_root(&self) -> Result<()> {
        let directory = self.roots().run_containers();
        for entry in fs::read_dir(&directory).map_err(Error::file("read", &directory))? {
            let name = entry.map_err(Error::file("read", &directory))?.file_name();
            let Some(id) = name.to_str().filter(|name| skep_common::names::is_id(name)) else { continue };
            if !self.paths(id).directory.exists() {
                self.tear_down(id, false)?;
            }
        }
        Ok(())
    }
}

/// What a container whose state.json cannot be read is taken for: it may have run.
pub(crate) fn unknown_state(record: &ContainerRecord) -> ContainerState {
    ContainerState { status: Status::Running, started_at: Some(record.created), ..ContainerState::default() }
}
