//! What is said in the log, and of whom: a task can be followed by its id, and a request by what was asked and by whom.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use skep_cluster::api::{ListTasksRequest, RemoveServiceRequest};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Level};

use crate::lab::{TestNode, eventually};

/// While only one is listening, tracing asks whoever meets a place in the code first whether it is of interest, and that
/// may be another test's thread, on which nobody listens.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

/// What was logged, as a person reads it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Takes what the swarm says, from the decisions on.
    fn dispatch(&self) -> Dispatch {
        LazyLock::force(&ANOTHER);
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter(format!("skep_cluster={}", Level::DEBUG))
            .with_writer(move || writer.clone())
            .finish();
        Dispatch::new(subscriber)
    }

    /// The lines that have all of these words.
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let told = |line: &&str| words.iter().all(|word| line.contains(word));
        text.lines().filter(told).map(str::to_owned).collect()
    }

    async fn until_said(&self, words: &[&str]) -> Vec<String> {
        eventually(&format!("a line with {words:?}"), || async {
            Some(self.lines(words)).filter(|lines| !lines.is_empty())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_task_can_be_followed_by_its_id_through_every_part() {
    let log = Log::default();
    let node = TestNode::start_heard("one", log.dispatch());
    node.init().await;
    let service = node.create_service("web", 2).await.unwrap();
    eventually("two running tasks", || async { (node.running_tasks().await == Some(2)).then_some(()) }).await;
    let client = node.client().await;
    let tasks = client.list_tasks(ListTasksRequest::default()).await.unwrap().tasks;
    let (followed, other) = (&tasks[0].id, &tasks[1].id);
    client.remove_service(RemoveServiceRequest { r#ref: service.id }).await.unwrap();
    let task = format!("task.id={followed}");
    for words in [
        ["brain.name=\"orchestrator\"", "skep_cluster::brain: decided"],
        ["brain.name=\"allocator\"", "skep_cluster::brain: decided"],
        ["brain.name=\"scheduler\"", "skep_cluster::brain: decided"],
        ["skep_cluster::dispatcher: sent to its node", "remove=false"],
        ["skep_cluster::agent::task: task", "state=Preparing"],
        ["skep_cluster::dispatcher: its node reports", "state=Some(Running)"],
        ["skep_cluster::agent::task: task", "state=Shutdown"],
        ["skep_cluster::dispatcher: sent to its node", "remove=true"],
    ] {
        // Each part says it within a span of this task, and of no other.
        let lines = log.until_said(&[words[0], words[1], "task{", &task]).await;
        assert!(lines.iter().all(|line| !line.contains(other.as_str())), "{lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_what_was_asked_and_by_whom() {
    let log = Log::default();
    let manager = TestNode::start_heard("m1", log.dispatch());
    manager.init().await;
    let (token, _) = manager.tokens().await;
    let worker = TestNode::start("w1");
    worker.join(&token, &manager).await.unwrap();
    manager.create_service("web", 1).await.unwrap();
    let own = format!("node.id=\"{}\"", manager.id().await);
    // At the manager's own socket.
    log.until_said(&["request{method=\"/skep.v1.Control/CreateService\"", &own, "skep_cluster::control: committed"])
        .await;
    // From another node, over TLS.
    let other = format!("node.id=\"{}\"", worker.id().await);
    let registered = ["request{method=\"/skep.v1.Dispatcher/Session\"", "peer.addr=127.", &other, "node registered"];
    log.until_said(&registered).await;
}
