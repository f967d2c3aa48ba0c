//! What a worker remembers: its tasks and its networks' tables, so that it can adopt its containers with no manager.
//!
//! ```text
//! STATE_DIR/tasks/TASK_ID   one api::Task with the status this node reached (protobuf)
//! STATE_DIR/tables          api::WorkerState (protobuf)
//! ```
//! The agent is the only writer. Files are replaced by rename, so a reader sees the old or the new one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use prost::Message;
use skep_common::files::{self, Durability, FileError};

use crate::api::{self, WorkerState};
use crate::error::chain;
use crate::model::{NetworkTables, Task};

/// The worker's directory. Writes are done in order by a thread of its own: a slow disk holds up nobody who shares
/// the runtime. Dropping it waits for them.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
}

/// The newest content of each file that is yet to be written; so it never holds more than there are files.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: remove the file.
    files: BTreeMap<PathBuf, Option<Vec<u8>>>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, path: PathBuf, content: Option<Vec<u8>>) {
        self.lock().files.insert(path, content);
        self.changed.notify_all();
    }

    /// The next write; `None` once closed and empty.
    fn take(&self) -> Option<(PathBuf, Option<Vec<u8>>)> {
        let mut state = self.lock();
        loop {
            if let Some(next) = state.files.pop_first() {
                return Some(next);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Disk {
    /// Opens or makes the directory.
    ///
    /// # Errors
    /// If the directory or the writing thread cannot be made.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root.join("tasks"))?;
        let queue = Arc::new(Queue::default());
        let work = queue.clone();
        let writer = std::thread::Builder::new().name("worker-state".into()).spawn(move || {
            while let Some((path, content)) = work.take() {
                if let Err(error) = write(&path, content) {
                    tracing::error!(error = chain(&error), "the worker's state could not be written");
                }
            }
        })?;
        Ok(Self { root: root.to_owned(), queue, writer: Some(writer) })
    }

    /// All remembered tasks. A file that cannot be read is dropped: the managers know the task too.
    ///
    /// # Errors
    /// If the directory cannot be read, or an unreadable file not be removed.
    pub(super) fn tasks(&self) -> io::Result<Vec<Task>> {
        let mut tasks: Vec<Task> = Vec::new();
        for entry in std::fs::read_dir(self.root.join("tasks"))? {
            let path = entry?.path();
            // What a kill left of a file that was being replaced.
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                std::fs::remove_file(&path)?;
                continue;
            }
            match std::fs::read(&path).map(|bytes| api::Task::decode(bytes.as_slice())) {
                Ok(Ok(task)) if path.file_name().is_some_and(|name| name == task.id.as_str()) => {
                    tasks.push(task.into())
                }
                _ => {
                    tracing::warn!(path = %path.display(), "dropping an unreadable task file");
                    std::fs::remove_file(&path)?;
                }
            }
        }
        tasks.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(tasks)
    }

    /// The remembered tables, if there are any.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub(super) fn tables(&self) -> io::Result<Option<NetworkTables>> {
        match std::fs::read(self.root.join("tables")) {
            Ok(bytes) => Ok(WorkerState::decode(bytes.as_slice()).ok().map(NetworkTables::from)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Remembers a task.
    pub(super) fn put_task(&self, task: &Task) {
        self.queue.put(self.task_path(&task.id), Some(api::Task::from(task.clone()).encode_to_vec()));
    }

    /// Forgets a task.
    pub(super) fn remove_task(&self, id: &str) {
        self.queue.put(self.task_path(id), None);
    }

    /// Remembers the tables.
    pub(super) fn put_tables(&self, tables: &NetworkTables) {
        self.queue.put(self.root.join("tables"), Some(WorkerState::from(tables.clone()).encode_to_vec()));
    }

    fn task_path(&self, id: &str) -> PathBuf {
        self.root.join("tasks").join(id)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the worker's state may not be written wholly");
        }
    }
}

fn write(path: &Path, content: Option<Vec<u8>>) -> Result<(), FileError> {
    match content {
        Some(content) => files::replace(path, &content, 0o600, Durability::Durable),
        None => match std::fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(FileError::context("remove", path)(source)),
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_back_and_torn_files_do_not() {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::open(root.path()).unwrap();
        let task = Task { id: "a".into(), slot: 3, ..Task::default() };
        disk.put_task(&Task { slot: 2, ..task.clone() });
        disk.put_task(&task);
        disk.put_tables(&NetworkTables { data_path_port: 5, ..NetworkTables::default() });
        drop(disk);
        std::fs::write(root.path().join("tasks/b"), b"\xff\xff").unwrap();
        std::fs::write(root.path().join("tasks/c"), b"").unwrap();
        let disk = Disk::open(root.path()).unwrap();
        assert_eq!(disk.tasks().unwrap(), [task]);
        assert!(!root.path().join("tasks/b").exists());
        assert_eq!(disk.tables().unwrap().unwrap().data_path_port, 5);
        disk.remove_task("a");
        disk.remove_task("a");
        drop(disk);
        assert_eq!(std::fs::read_dir(root.path().join("tasks")).unwrap().count(), 0);
    }
}
