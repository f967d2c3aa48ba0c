//! What a reader of a task's output leaves behind that goes away, and where the log names the task.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use serde_json::json;
use skep_cluster::executor::Executor;
use skep_cluster::model::{LogOptions, Task};
use tracing::Instrument;

use super::pull_tests::World;

const LIMIT: Duration = Duration::from_secs(60);

/// The directory of a container that, for all that its files tell, runs and says nothing: its shim is this process.
fn silent(world: &World) -> PathBuf {
    let containers = std::fs::read_dir(world.root().join("containers")).unwrap();
    let mut directories = containers.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let directory = directories.next().unwrap();
    let path = directory.join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let pid = i32::try_from(std::process::id()).unwrap();
    let own = json!({"pid": pid, "start_time": skep_common::procfs::start_ticks(pid).unwrap()});
    state["status"] = json!("running");
    state["init"] = own.clone();
    state["shim"] = own;
    std::fs::write(&path, serde_json::to_vec(&state).unwrap()).unwrap();
    directory
}

/// How many inotify(7) instances of this process watch a directory, as proc(5) tells.
fn watchers(directory: &Path) -> usize {
    let inode = format!(" ino:{:x} ", std::fs::metadata(directory).unwrap().ino());
    let infos = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    // One that was closed meanwhile watches nothing.
    let info = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(entry.unwrap().path()).ok();
    infos.filter_map(info).filter(|info| info.starts_with("pos:") && info.contains(&inode)).count()
}

async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let reaching = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, reaching).await.is_ok(), "not reached: {what}");
}

async fn followed_and_abandoned() {
    let world = World::new().await;
    let task: Arc<Task> = Arc::new(world.task(1, "app:1"));
    let controller = world.executor.controller(&task);
    controller.prepare().await.unwrap();
    let directory = silent(&world);
    let follow = LogOptions { follow: true, stdout: true, stderr: true, ..LogOptions::default() };
    for _ in 0..20 {
        let mut lines = controller.logs(&follow);
        until("the follower waits", || {
            assert!(lines.next().now_or_never().is_none(), "it says nothing");
            watchers(&directory) == 1
        })
        .await;
        drop(lines);
        until("its instance is gone", || watchers(&directory) == 0).await;
    }
    // Of the two threads that there are for what blocks, none is held.
    let free = tokio::task::spawn_blocking(|| ());
    assert!(tokio::time::timeout(LIMIT, free).await.is_ok(), "a thread is free");
}

#[test]
fn followers_of_a_silent_task_that_are_abandoned_hold_no_thread_and_no_watch() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.max_blocking_threads(2).enable_all().build().unwrap();
    runtime.block_on(followed_and_abandoned());
    runtime.shutdown_background();
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_done_for_a_task_names_it_in_the_log_on_whatever_thread() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let dispatch = tracing::Dispatch::new(subscriber);
    let hearing = dispatch.clone();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // Threads for what blocks are born here, and heard until they end.
    builder.enable_all().on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&hearing)));
    let runtime = builder.build().unwrap();
    let _heard = tracing::dispatcher::set_default(&dispatch);
    runtime.block_on(async {
        let world = World::new().await;
        let task: Arc<Task> = Arc::new(world.task(1, "app:1"));
        let span = tracing::info_span!("task", task.id = %task.id);
        world.executor.controller(&task).prepare().instrument(span).await.unwrap();
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let created = text.lines().find(|line| line.contains("executor::controller") && line.contains("created"));
    assert!(created.is_some_and(|line| line.contains("task{task.id=task1}")), "{text}");
}
