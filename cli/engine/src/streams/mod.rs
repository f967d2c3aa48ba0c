//! What goes on for a while, as values for an async runtime: sessions with programs, logs, statistics, pulls.
//!
//! Called by whoever serves people or programs, and by the executor. Each may be dropped at any time, and nothing of it
//! stays behind: no thread, no descriptor. What only blocks for a moment runs on the runtime's blocking threads.

#[cfg(test)]
mod fixture;
mod logs;
mod pull;
mod session;
mod stats;

pub use logs::logs;
pub use pull::{PullEvent, pull};
pub use session::{AsyncSession, SessionInput};
pub use stats::stats;

use std::time::Duration;

use futures::Stream;
use skep_runtime::{Attach, ExecOptions, LogEntry, LogOptions, Runtime, StatsSample};

use crate::blocking::aside;
use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// Runs a program in a container; returns once it was executed.
    ///
    /// # Errors
    /// As [`Runtime::exec`].
    pub async fn exec(&self, container: &str, options: ExecOptions) -> Result<AsyncSession> {
        let container = container.to_owned();
        AsyncSession::new(self.aside(move |runtime| runtime.exec(&container, &options)).await?)
    }

    /// Runs a program in a container, and leaves it alone.
    ///
    /// # Errors
    /// As [`Runtime::exec_detached`].
    pub async fn exec_detached(&self, container: &str, options: ExecOptions) -> Result<()> {
        let container = container.to_owned();
        self.aside(move |runtime| runtime.exec_detached(&container, &options)).await
    }

    /// Connects to the streams of a container that runs.
    ///
    /// # Errors
    /// As [`Runtime::attach`].
    pub async fn attach(&self, container: &str, attach: Attach) -> Result<AsyncSession> {
        let container = container.to_owned();
        AsyncSession::new(self.aside(move |runtime| runtime.attach(&container, attach)).await?)
    }

    /// Starts a container, connected to its streams before its program runs.
    ///
    /// # Errors
    /// As [`Runtime::start_attached`].
    pub async fn start_attached(&self, container: &str, attach: Attach) -> Result<AsyncSession> {
        let container = container.to_owned();
        AsyncSession::new(self.aside(move |runtime| runtime.start_attached(&container, attach)).await?)
    }

    /// A container's output, oldest first.
    ///
    /// # Errors
    /// As [`Runtime::logs`].
    pub async fn logs(
        &self,
        container: &str,
        options: LogOptions,
    ) -> Result<impl Stream<Item = Result<LogEntry>> + Send + use<>> {
        let container = container.to_owned();
        Ok(logs(self.aside(move |runtime| runtime.logs(&container, options)).await?))
    }

    /// What a container uses, now and after every `interval`.
    ///
    /// # Errors
    /// As [`Runtime::resolve`].
    pub async fn stats(
        &self,
        container: &str,
        interval: Duration,
    ) -> Result<impl Stream<Item = Result<StatsSample>> + Send + use<>> {
        let runtime = self.runtime()?;
        let container = container.to_owned();
        let id = self.aside(move |runtime| runtime.resolve(&container)).await?;
        Ok(stats(runtime, id, interval))
    }

    /// Does on another thread what blocks for a moment.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Runtime) -> skep_runtime::Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = self.clone();
        aside(move || Ok(work(&engine.runtime()?)?)).await
    }
}
