//! Start, stop, restart, kill, pause, unpause, rename, wait, and what can be asked of a container meanwhile. One call of
//! the runtime each; all of them block.

use skep_runtime::{StopOptions, TopRow, WaitCondition};

use super::list::published;
use crate::docker::container::Port;
use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// Starts a container; one that runs is left alone. Returns what its user should know.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], or it cannot be started: [`crate::Error::exit_code`] is docker's.
    pub fn start_container(&self, name_or_id: &str) -> Result<Vec<String>> {
        Ok(self.runtime()?.start(name_or_id)?)
    }

    /// Asks a container to end, and kills it when it does not.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::BadArgument`] for a signal that is none.
    pub fn stop_container(&self, name_or_id: &str, how: &StopOptions) -> Result<()> {
        Ok(self.runtime()?.stop(name_or_id, how)?)
    }

    /// Stops a container if it runs, and starts it. Returns what its user should know.
    ///
    /// # Errors
    /// As [`Self::stop_container`] and [`Self::start_container`].
    pub fn restart_container(&self, name_or_id: &str, how: &StopOptions) -> Result<Vec<String>> {
        Ok(self.runtime()?.restart(name_or_id, how)?)
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Conflict`] for one that does not run.
    pub fn kill_container(&self, name_or_id: &str, signal: &str) -> Result<()> {
        Ok(self.runtime()?.kill(name_or_id, signal)?)
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Conflict`] for one that does not run.
    pub fn pause_container(&self, name_or_id: &str) -> Result<()> {
        Ok(self.runtime()?.pause(name_or_id)?)
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Conflict`] for one that is not paused.
    pub fn unpause_container(&self, name_or_id: &str) -> Result<()> {
        Ok(self.runtime()?.unpause(name_or_id)?)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Conflict`] for a name that is taken.
    pub fn rename_container(&self, name_or_id: &str, name: &str) -> Result<()> {
        Ok(self.runtime()?.rename(name_or_id, name)?)
    }

    /// Waits for a container; returns its exit code.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub fn wait_container(&self, name_or_id: &str, until: WaitCondition) -> Result<i64> {
        Ok(self.runtime()?.wait(name_or_id, until)?)
    }

    /// A container's processes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Conflict`] for one that does not run.
    pub fn top_container(&self, name_or_id: &str) -> Result<Vec<TopRow>> {
        Ok(self.runtime()?.top(name_or_id)?)
    }

    /// The ports that a container has published.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub fn container_ports(&self, name_or_id: &str) -> Result<Vec<Port>> {
        let sandbox = self.runtime()?.details(name_or_id)?.sandbox;
        Ok(sandbox.iter().flat_map(|sandbox| published(&sandbox.ports)).collect())
    }
}
