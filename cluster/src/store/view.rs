//! The tables of the store and the deterministic application of a transaction to them.

use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::api::{Object, ObjectKind, StoreAction, StoreSnapshot, StoreTransaction, object, store_action};
use crate::model::{
    Attachment, AttachmentId, Cluster, ClusterId, Meta, Network, NetworkId, Node, NodeId, Service, ServiceId, Task,
    TaskId,
};

/// Why a transaction does not fit on the state that it met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApplyError {
    /// Create of an id that exists.
    #[error("{kind} {id} already exists")]
    Exists {
        /// Table name.
        kind: &'static str,
        /// Object id.
        id: String,
    },
    /// Update of an id that does not exist.
    #[error("{kind} {id} not found")]
    NotFound {
        /// Table name.
        kind: &'static str,
        /// Object id.
        id: String,
    },
    /// Update of an object that has changed since it was read.
    #[error("{kind} {id} was changed meanwhile (version {stored}, expected {expected})")]
    Version {
        /// Table name.
        kind: &'static str,
        /// Object id.
        id: String,
        /// The version in the store.
        stored: u64,
        /// The version that the update was based on.
        expected: u64,
    },
    /// An action or object of a kind that this release does not know.
    #[error("unknown action in transaction: this node runs an older release than the leader; upgrade it")]
    Unknown,
}

/// All objects of a kind, by id.
pub(crate) type Table<K, V> = RedBlackTreeMapSync<K, Arc<V>>;
/// The tasks that belong to a service or a node.
type Index<K> = RedBlackTreeMapSync<K, RedBlackTreeSetSync<TaskId>>;

/// All objects at one version. Never changed once published. A clone costs nothing, and a change copies only the way
/// to what it changes: two versions share the rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    version: u64,
    clusters: Table<ClusterId, Cluster>,
    nodes: Table<NodeId, Node>,
    services: Table<ServiceId, Service>,
    tasks: Table<TaskId, Task>,
    networks: Table<NetworkId, Network>,
    attachments: Table<AttachmentId, Attachment>,
    tasks_by_service: Index<ServiceId>,
    tasks_by_node: Index<NodeId>,
}

impl View {
    /// Raft index of the last applied transaction.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The one cluster object; absent only before the first transaction of a new swarm.
    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.clusters.values().next()
    }

    /// All nodes, by id.
    pub(crate) fn nodes(&self) -> &Table<NodeId, Node> {
        &self.nodes
    }

    /// All services, by id.
    pub(crate) fn services(&self) -> &Table<ServiceId, Service> {
        &self.services
    }

    /// All tasks, by id.
    pub(crate) fn tasks(&self) -> &Table<TaskId, Task> {
        &self.tasks
    }

    /// All networks, by id.
    pub(crate) fn networks(&self) -> &Table<NetworkId, Network> {
        &self.networks
    }

    /// All attachments of single containers, by id.
    pub(crate) fn attachments(&self) -> &Table<AttachmentId, Attachment> {
        &self.attachments
    }

    /// The tasks of a service, in the order of their ids.
    pub(crate) fn tasks_of_service<'a>(&'a self, service_id: &str) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        self.tasks_by_service.get(service_id).into_iter().flat_map(|ids| ids.iter()).filter_map(|id| self.tasks.get(id))
    }

    /// The tasks of a node, in the order of their ids.
    pub(crate) fn tasks_of_node<'a>(&'a self, node_id: &str) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        self.tasks_by_node.get(node_id).into_iter().flat_map(|ids| ids.iter()).filter_map(|id| self.tasks.get(id))
    }

    /// The state after `transaction`, committed at raft index `version`. All of it applies or nothing does.
    ///
    /// # Errors
    /// If it does not fit on this state; nothing of it was applied then.
    pub(crate) fn apply(&mut self, transaction: &StoreTransaction, version: u64) -> Result<(), ApplyError> {
        for action in &transaction.actions {
            self.check(action)?;
        }
        for action in &transaction.actions {
            match &action.action {
                Some(store_action::Action::Create(object)) | Some(store_action::Action::Update(object)) => {
                    self.put(object, version, transaction.time_ns);
                }
                Some(store_action::Action::Remove(reference)) => self.delete(reference.kind(), &reference.id),
                None => {}
            }
        }
        self.version = version;
        Ok(())
    }

    /// Marks that the entry at `version` was seen, though it changed nothing.
    pub(crate) fn advance(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Everything, in the form in which it is written to disk and sent to a follower.
    pub(crate) fn snapshot(&self) -> StoreSnapshot {
        fn all<K: Ord, V: Clone + Into<object::Object>>(table: &Table<K, V>) -> impl Iterator<Item = Object> {
            table.values().map(|found| Object { object: Some(V::clone(found).into()) })
        }
        let objects = all(&self.clusters)
            .chain(all(&self.nodes))
            .chain(all(&self.services))
            .chain(all(&self.tasks))
            .chain(all(&self.networks))
            .chain(all(&self.attachments));
        StoreSnapshot { objects: objects.collect(), version: self.version }
    }

    /// The view that [`View::snapshot`] was taken of.
    pub(crate) fn from_snapshot(snapshot: StoreSnapshot) -> Self {
        let mut view = Self { version: snapshot.version, ..Self::default() };
        for object in snapshot.objects.into_iter().filter_map(|o| o.object) {
            view.insert(object);
        }
        view
    }

    /// The stored object's version; `None` if there is none.
    fn stored_version(&self, kind: ObjectKind, id: &str) -> Option<u64> {
        match kind {
            ObjectKind::Cluster => self.clusters.get(id).map(|found| found.meta.version),
            ObjectKind::Node => self.nodes.get(id).map(|found| found.meta.version),
            ObjectKind::Service => self.services.get(id).map(|found| found.meta.version),
            ObjectKind::Task => self.tasks.get(id).map(|found| found.meta.version),
            ObjectKind::Network => self.networks.get(id).map(|found| found.meta.version),
            ObjectKind::Attachment => self.attachments.get(id).map(|found| found.meta.version),
            ObjectKind::Unspecified => None,
        }
    }

    fn check(&self, action: &StoreAction) -> Result<(), ApplyError> {
        match &action.action {
            Some(store_action::Action::Create(Object { object: Some(object) })) => {
                let (kind, id, _) = key(object);
                match self.stored_version(kind, id) {
                    Some(_) => Err(ApplyError::Exists { kind: name(kind), id: id.to_owned() }),
                    None => Ok(()),
                }
            }
            Some(store_action::Action::Update(Object { object: Some(object) })) => {
                let (kind, id, meta) = key(object);
                let expected = meta.map_or(0, |meta| meta.version);
                match self.stored_version(kind, id) {
                    None => Err(ApplyError::NotFound { kind: name(kind), id: id.to_owned() }),
                    Some(stored) if stored != expected => {
                        Err(ApplyError::Version { kind: name(kind), id: id.to_owned(), stored, expected })
                    }
                    Some(_) => Ok(()),
                }
            }
            Some(store_action::Action::Remove(reference)) if reference.kind() != ObjectKind::Unspecified => Ok(()),
            _ => Err(ApplyError::Unknown),
        }
    }

    fn put(&mut self, object: &Object, version: u64, time_ns: i64) {
        let Some(mut object) = object.object.clone() else { return };
        let meta = match &mut object {
            object::Object::Cluster(o) => &mut o.meta,
            object::Object::Node(o) => &mut o.meta,
            object::Object::Service(o) => &mut o.meta,
            object::Object::Task(o) => &mut o.meta,
            object::Object::Network(o) => &mut o.meta,
            object::Object::Attachment(o) => &mut o.meta,
        };
        let created_at_ns = meta.as_ref().map_or(0, |m| m.created_at_ns);
        *meta = Some(Meta {
            version,
            created_at_ns: if created_at_ns == 0 { time_ns } else { created_at_ns },
            updated_at_ns: time_ns,
        });
        self.insert(object);
    }

    fn insert(&mut self, object: object::Object) {
        match object {
            object::Object::Cluster(o) => put(&mut self.clusters, Cluster::from(o), |o| &o.id),
            object::Object::Node(o) => put(&mut self.nodes, Node::from(o), |o| &o.id),
            object::Object::Service(o) => put(&mut self.services, Service::from(o), |o| &o.id),
            object::Object::Network(o) => put(&mut self.networks, Network::from(o), |o| &o.id),
            object::Object::Attachment(o) => put(&mut self.attachments, Attachment::from(o), |o| &o.id),
            object::Object::Task(o) => self.insert_task(Task::from(o)),
        }
    }

    fn insert_task(&mut self, task: Task) {
        let known = self.tasks.get(&task.id);
        if !known.is_some_and(|old| old.service_id == task.service_id && old.node_id == task.node_id) {
            self.unindex_task(&task.id.clone());
            if !task.service_id.is_empty() {
                index(&mut self.tasks_by_service, &task.service_id, &task.id);
            }
            if !task.node_id.is_empty() {
                index(&mut self.tasks_by_node, &task.node_id, &task.id);
            }
        }
        put(&mut self.tasks, task, |o| &o.id);
    }

    fn delete(&mut self, kind: ObjectKind, id: &str) {
        match kind {
            ObjectKind::Cluster => self.clusters.remove_mut(id),
            ObjectKind::Node => self.nodes.remove_mut(id),
            ObjectKind::Service => self.services.remove_mut(id),
            ObjectKind::Network => self.networks.remove_mut(id),
            ObjectKind::Attachment => self.attachments.remove_mut(id),
            ObjectKind::Task => {
                self.unindex_task(id);
                self.tasks.remove_mut(id)
            }
            ObjectKind::Unspecified => false,
        };
    }

    fn unindex_task(&mut self, id: &str) {
        let Some(task) = self.tasks.get(id).cloned() else { return };
        unindex(&mut self.tasks_by_service, &task.service_id, id);
        unindex(&mut self.tasks_by_node, &task.node_id, id);
    }
}

fn put<K: Ord + Clone, V>(table: &mut Table<K, V>, object: V, id: impl Fn(&V) -> &K) {
    table.insert_mut(id(&object).clone(), Arc::new(object));
}

fn index<K: Ord + Clone>(index: &mut Index<K>, key: &K, task: &TaskId) {
    let mut tasks = index.get(key).cloned().unwrap_or_default();
    tasks.insert_mut(task.clone());
    index.insert_mut(key.clone(), tasks);
}

fn unindex<K: Ord + Clone>(index: &mut Index<K>, key: &K, task: &str) {
    let Some(mut tasks) = index.get(key).cloned() else { return };
    tasks.remove_mut(task);
    if tasks.is_empty() {
        index.remove_mut(key);
    } else {
        index.insert_mut(key.clone(), tasks);
    }
}

/// Names a kind in an error.
fn name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Cluster => "cluster",
        ObjectKind::Node => "node",
        ObjectKind::Service => "service",
        ObjectKind::Task => "task",
        ObjectKind::Network => "network",
        ObjectKind::Attachment => "attachment",
        ObjectKind::Unspecified => "object",
    }
}

/// What an object is called, and what the system keeps of it.
fn key(object: &object::Object) -> (ObjectKind, &str, Option<&Meta>) {
    match object {
        object::Object::Cluster(o) => (ObjectKind::Cluster, &o.id, o.meta.as_ref()),
        object::Object::Node(o) => (ObjectKind::Node, &o.id, o.meta.as_ref()),
        object::Object::Service(o) => (ObjectKind::Service, &o.id, o.meta.as_ref()),
        object::Object::Task(o) => (ObjectKind::Task, &o.id, o.meta.as_ref()),
        object::Object::Network(o) => (ObjectKind::Network, &o.id, o.meta.as_ref()),
        object::Object::Attachment(o) => (ObjectKind::Attachment, &o.id, o.meta.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{create, remove, update};

    fn transaction(actions: Vec<StoreAction>) -> StoreTransaction {
        StoreTransaction { actions, time_ns: 7 }
    }

    fn task(id: &str, node: &str) -> Task {
        Task { id: id.into(), service_id: "s".into(), node_id: node.into(), ..Task::default() }
    }

    #[test]
    fn an_update_of_an_old_version_changes_nothing() {
        let mut view = View::default();
        view.apply(&transaction(vec![create(task("t", ""))]), 1).unwrap();
        let read = (*view.tasks()["t"]).clone();
        let mut first = read.clone();
        first.node_id = "a".into();
        view.apply(&transaction(vec![update(first)]), 2).unwrap();
        let mut second = read;
        second.node_id = "b".into();
        let other = create(task("u", "b"));
        let error = view.apply(&transaction(vec![other, update(second)]), 3).unwrap_err();
        assert_eq!(error, ApplyError::Version { kind: "task", id: "t".into(), stored: 2, expected: 1 });
        assert_eq!(view.tasks().size(), 1);
        assert_eq!(view.tasks()["t"].node_id, "a");
    }

    #[test]
    fn indexes_follow_the_tasks() {
        let mut view = View::default();
        view.apply(&transaction(vec![create(task("t", "a"))]), 1).unwrap();
        let mut moved = (*view.tasks()["t"]).clone();
        moved.node_id = "b".into();
        view.apply(&transaction(vec![update(moved)]), 2).unwrap();
        assert_eq!(view.tasks_of_node("a").count(), 0);
        assert_eq!(view.tasks_of_node("b").count(), 1);
        view.apply(&transaction(vec![remove(ObjectKind::Task, "t")]), 3).unwrap();
        assert_eq!(view.tasks_of_service("s").count(), 0);
        assert!(view.tasks_by_node.is_empty());
    }

    #[test]
    fn two_versions_share_what_did_not_change() {
        let mut view = View::default();
        let tasks = (0..100).map(|index| create(task(&format!("t{index}"), "a")));
        view.apply(&transaction(tasks.collect()), 1).unwrap();
        let before = view.clone();
        view.apply(&transaction(vec![remove(ObjectKind::Task, "t7")]), 2).unwrap();
        assert_eq!((before.tasks().size(), view.tasks().size()), (100, 99));
        assert_eq!((before.tasks_of_node("a").count(), view.tasks_of_node("a").count()), (100, 99));
        assert!(Arc::ptr_eq(&before.tasks()["t8"], &view.tasks()["t8"]));
        assert!(before.nodes.ptr_eq(&view.nodes));
    }

    #[test]
    fn a_snapshot_restores_the_view() {
        let mut view = View::default();
        view.apply(&transaction(vec![create(task("t", "a"))]), 4).unwrap();
        let restored = View::from_snapshot(view.snapshot());
        assert_eq!(restored.version(), 4);
        assert_eq!(restored.tasks()["t"], view.tasks()["t"]);
        assert_eq!(restored.tasks_of_node("a").count(), 1);
    }
}
