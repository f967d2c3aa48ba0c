//! A container of which there are the records only: this very process stands for its shim.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use serde_json::json;
use skep_common::files::{Durability, make_directory, store};
use skep_common::names::random_id;
use skep_common::procfs::{boot_id, start_ticks};
use skep_runtime::state::{ContainerState, ProcessId, Status};
use skep_runtime::{Roots, Runtime};
use tempfile::TempDir;
use tokio::net::UnixListener;

/// One container below a directory of its own.
pub(super) struct Container {
    pub(super) runtime: Runtime,
    pub(super) id: String,
    directory: TempDir,
}

impl Container {
    /// It runs, for all that can be known of it.
    pub(super) fn running() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let roots = Roots {
            root: directory.path().join("root"),
            run_root: directory.path().join("run"),
            cgroup_parent: "/skep-stream-tests".to_owned(),
        };
        let container = Self { runtime: Runtime::open(roots).unwrap(), id: random_id(), directory };
        make_directory(&container.file("")).unwrap();
        let record = json!({
            "version": 1, "id": container.id, "name": "web", "created": "2026-01-01T00:00:00Z", "mounts": [],
            "image_id": format!("sha256:{}", container.id), "config": {"stdin_open": true}, "resolved": {},
        });
        std::fs::write(container.file("lock"), "").unwrap();
        store(&container.file("config.json"), &record, Durability::Volatile).unwrap();
        let pid = std::process::id().cast_signed();
        container.stands(ContainerState {
            status: Status::Running,
            shim: Some(ProcessId { pid, start_time: start_ticks(pid).unwrap() }),
            boot_id: boot_id(),
            ..ContainerState::default()
        });
        container
    }

    /// Where its shim is spoken to.
    pub(super) fn listen(&self) -> UnixListener {
        make_directory(&self.run()).unwrap();
        UnixListener::bind(self.run().join("shim.sock")).unwrap()
    }

    /// It has ended with this code, and is torn down.
    pub(super) fn end(&self, exit_code: i32) {
        if self.run().exists() {
            std::fs::remove_dir_all(self.run()).unwrap();
        }
        self.stands(ContainerState { status: Status::Exited, exit_code, ..ContainerState::default() });
    }

    /// It is removed.
    pub(super) fn remove(&self) {
        std::fs::remove_dir_all(self.file("")).unwrap();
    }

    pub(super) fn log(&self) -> PathBuf {
        self.file(&format!("{}-json.log", self.id))
    }

    fn stands(&self, state: ContainerState) {
        store(&self.file("state.json"), &ContainerState { version: 1, ..state }, Durability::Volatile).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("root/containers").join(&self.id).join(name)
    }

    fn run(&self) -> PathBuf {
        self.directory.path().join("run/containers").join(&self.id)
    }
}
