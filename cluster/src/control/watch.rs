//! A service with its tasks, at every change.

use std::collections::BTreeSet;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{ControlService, Stream, refs};
use crate::api::{WatchServiceRequest, WatchServiceResponse};
use crate::error::Error;
use crate::model::{Node, Service, ServiceId, Task};
use crate::store::{ProposeError, View};

/// Changes that a slow reader has not taken yet; the newest state comes after them.
const QUEUE: usize = 4;

impl ControlService {
    pub(super) async fn watch_service(
        &self,
        request: WatchServiceRequest,
    ) -> Result<Stream<WatchServiceResponse>, Error> {
        let view = self.read().await?;
        let id = refs::service(&view, &request.r#ref)?.id.clone();
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.streams.spawn(follow(self.clone(), id, sender));
        Ok(ReceiverStream::new(receiver).boxed())
    }
}

async fn follow(control: ControlService, id: ServiceId, sender: mpsc::Sender<Result<WatchServiceResponse, Error>>) {
    let mut views = control.store.watch();
    let mut last = None;
    loop {
        let view = views.borrow_and_update().clone();
        let now = snapshot(&view, &id);
        let removed = now.removed;
        if last.as_ref() != Some(&now) {
            last = Some(now.clone());
            if sender.send(Ok(now)).await.is_err() {
                return;
            }
        }
        if removed {
            return;
        }
        // Cancel safe: all arms only wait.
        tokio::select! {
            () = sender.closed() => return,
            () = control.stop.cancelled() => {
                let _ = sender.send(Err(super::refusal(&ProposeError::NoQuorum))).await;
                return;
            }
            changed = views.changed() => if changed.is_err() { return },
        }
    }
}

fn snapshot(view: &View, id: &str) -> WatchServiceResponse {
    let service = view.services().get(id).filter(|service| !service.pending_delete);
    let node_ids: BTreeSet<&str> = view.tasks_of_service(id).map(|task| task.node_id.as_str()).collect();
    let nodes = node_ids.into_iter().filter_map(|id| view.nodes().get(id));
    WatchServiceResponse {
        nodes: nodes.map(|node| Node::clone(node).into()).collect(),
        removed: service.is_none(),
        service: service.map(|service| Service::clone(service).into()),
        tasks: view.tasks_of_service(id).map(|task| Task::clone(task).into()).collect(),
    }
}
