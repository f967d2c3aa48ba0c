//! What a worker remembers: its tasks and its networks' tables, so that it can adopt its containers with no manager.
//!
//! ```text
//! STATE_DIR/tasks/TASK_ID   one api::Task with the status this node reached (protobuf)
//! STATE_DIR/tables          api::WorkerState (protobuf)
//! ```
//! The agent is the only writer. Files are replaced by rename, so a reader sees the old or the new one.

use crate::api::{Task, WorkerState};
use prost::Message;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The worker's directory.
#[derive(Debug, Clone)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Opens or makes the directory.
    pub fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root.join("tasks"))?;
        Ok(Self { root: root.to_owned() })
    }

    /// All remembered tasks. A file that cannot be read is dropped: the managers know the task too.
    pub fn tasks(&self) -> io::Result<Vec<Task>> {
        let mut tasks = Vec::new();
        for entry in std::fs::read_dir(self.root.join("tasks"))? {
            let path = entry?.path();
            match std::fs::read(&path).map(|bytes| Task::decode(bytes.as_slice())) {
                Ok(Ok(task)) if path.file_name().is_some_and(|name| name == task.id.as_str()) => tasks.push(task),
                _ => {
                    tracing::warn!(path = %path.display(), "dropping an unreadable task file");
                    std::fs::remove_file(&path)?;
                }
            }
        }
        tasks.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(tasks)
    }

    /// Remembers a task.
    pub fn put_task(&self, task: &Task) -> io::Result<()> {
        self.put(&self.root.join("tasks").join(&task.id), &task.encode_to_vec())
    }

    /// Forgets a task.
    pub fn remove_task(&self, id: &str) -> io::Result<()> {
        match std::fs::remove_file(self.root.join("tasks").join(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The remembered tables, if there are any.
    pub fn tables(&self) -> io::Result<Option<WorkerState>> {
        match std::fs::read(self.root.join("tables")) {
            Ok(bytes) => Ok(WorkerState::decode(bytes.as_slice()).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Remembers the tables.
    pub fn put_tables(&self, tables: &WorkerState) -> io::Result<()> {
        self.put(&self.root.join("tables"), &tables.encode_to_vec())
    }

    /// Temporaries live beside `tasks`, so that an interrupted write is never read as a task.
    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
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
        disk.put_task(&task).unwrap();
        std::fs::write(root.path().join("tasks/b"), b"\xff\xff").unwrap();
        assert_eq!(disk.tasks().unwrap(), [task]);
        assert!(!root.path().join("tasks/b").exists());
        disk.remove_task("a").unwrap();
        disk.remove_task("a").unwrap();
        assert!(disk.tasks().unwrap().is_empty());
    }
}
