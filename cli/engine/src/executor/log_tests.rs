//! Where the log names the task for which something is done.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock, Mutex};

use skep_cluster::executor::Executor;
use skep_cluster::model::Task;
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Instrument};

use super::pull_tests::World;

/// While only one is listening, tracing asks whoever meets a place in the code first whether it is of interest, and that
/// may be another test's thread, on which nobody listens.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

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
    LazyLock::force(&ANOTHER);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let dispatch = Dispatch::new(subscriber);
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
