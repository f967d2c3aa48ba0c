//! The tables of the store and the deterministic application of a transaction to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::{
    Attachment, Cluster, Meta, Network, Node, Object, ObjectKind, Service, StoreAction, StoreSnapshot,
    StoreTransaction, Task, object, store_action,
};

/// Why a transaction does not fit on the state that it met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
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

/// All objects at one version. Cheap to clone (objects are shared); never changed once published.
#[derive(Debug, Clone, Default)]
pub struct View {
    version: u64,
    clusters: BTreeMap<String, Arc<Cluster>>,
    nodes: BTreeMap<String, Arc<Node>>,
    services: BTreeMap<String, Arc<Service>>,
    tasks: BTreeMap<String, Arc<Task>>,
    networks: BTreeMap<String, Arc<Network>>,
    attachments: BTreeMap<String, Arc<Attachment>>,
    tasks_by_service: BTreeMap<String, BTreeSet<String>>,
    tasks_by_node: BTreeMap<String, BTreeSet<String>>,
}

impl View {
    /// Raft index of the last applied transaction.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The one cluster object; absent only before the first transaction of a new swarm.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.clusters.values().next()
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> &BTreeMap<String, Arc<Node>> {
        &self.nodes
    }

    /// All services, by id.
    pub fn services(&self) -> &BTreeMap<String, Arc<Service>> {
        &self.services
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> &BTreeMap<String, Arc<Task>> {
        &self.tasks
    }

    /// All networks, by id.
    pub fn networks(&self) -> &BTreeMap<String, Arc<Network>> {
        &self.networks
    }

    /// All attachments of single containers, by id.
    pub fn attachments(&self) -> &BTreeMap<String, Arc<Attachment>> {
        &self.attachments
    }

    /// The tasks of a service, in the order of their ids.
    pub fn tasks_of_service<'a>(&'a self, service_id: &str) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        self.tasks_by_service.get(service_id).into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// The tasks of a node, in the order of their ids.
    pub fn tasks_of_node<'a>(&'a self, node_id: &str) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        self.tasks_by_node.get(node_id).into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// The state after `transaction`, committed at raft index `version`. All of it applies or nothing does.
    pub fn apply(&mut self, transaction: &StoreTransaction, version: u64) -> Result<(), ApplyError> {
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
    pub fn advance(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Everything, in the form in which it is written to disk and sent to a follower.
    pub fn snapshot(&self) -> StoreSnapshot {
        let mut objects = Vec::new();
        let mut push = |object: object::Object| objects.push(Object { object: Some(object) });
        self.clusters.values().for_each(|o| push(object::Object::Cluster((**o).clone())));
        self.nodes.values().for_each(|o| push(object::Object::Node((**o).clone())));
        self.services.values().for_each(|o| push(object::Object::Service((**o).clone())));
        self.tasks.values().for_each(|o| push(object::Object::Task((**o).clone())));
        self.networks.values().for_each(|o| push(object::Object::Network((**o).clone())));
        self.attachments.values().for_each(|o| push(object::Object::Attachment((**o).clone())));
        StoreSnapshot { objects, version: self.version }
    }

    /// The view that [`View::snapshot`] was taken of.
    pub fn from_snapshot(snapshot: StoreSnapshot) -> Self {
        let mut view = Self { version: snapshot.version, ..Self::default() };
        for object in snapshot.objects.into_iter().filter_map(|o| o.object) {
            view.insert(object);
        }
        view
    }

    fn stored_version(&self, object: &object::Object) -> (&'static str, String, Option<u64>) {
        fn version(meta: Option<&Option<Meta>>) -> Option<u64> {
            meta.map(|m| m.as_ref().map_or(0, |m| m.version))
        }
        let (kind, id, stored) = match object {
            object::Object::Cluster(o) => ("cluster", &o.id, version(self.clusters.get(&o.id).map(|o| &o.meta))),
            object::Object::Node(o) => ("node", &o.id, version(self.nodes.get(&o.id).map(|o| &o.meta))),
            object::Object::Service(o) => ("service", &o.id, version(self.services.get(&o.id).map(|o| &o.meta))),
            object::Object::Task(o) => ("task", &o.id, version(self.tasks.get(&o.id).map(|o| &o.meta))),
            object::Object::Network(o) => ("network", &o.id, version(self.networks.get(&o.id).map(|o| &o.meta))),
            object::Object::Attachment(o) => {
                ("attachment", &o.id, version(self.attachments.get(&o.id).map(|o| &o.meta)))
            }
        };
        (kind, id.clone(), stored)
    }

    fn check(&self, action: &StoreAction) -> Result<(), ApplyError> {
        match &action.action {
            Some(store_action::Action::Create(Object { object: Some(object) })) => match self.stored_version(object) {
                (kind, id, Some(_)) => Err(ApplyError::Exists { kind, id }),
                _ => Ok(()),
            },
            Some(store_action::Action::Update(Object { object: Some(object) })) => {
                let expected = meta_of(object).map_or(0, |m| m.version);
                match self.stored_version(object) {
                    (kind, id, None) => Err(ApplyError::NotFound { kind, id }),
                    (kind, id, Some(stored)) if stored != expected => {
                        Err(ApplyError::Version { kind, id, stored, expected })
                    }
                    _ => Ok(()),
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
            object::Object::Cluster(o) => drop(self.clusters.insert(o.id.clone(), Arc::new(o))),
            object::Object::Node(o) => drop(self.nodes.insert(o.id.clone(), Arc::new(o))),
            object::Object::Service(o) => drop(self.services.insert(o.id.clone(), Arc::new(o))),
            object::Object::Network(o) => drop(self.networks.insert(o.id.clone(), Arc::new(o))),
            object::Object::Attachment(o) => drop(self.attachments.insert(o.id.clone(), Arc::new(o))),
            object::Object::Task(o) => {
                self.unindex_task(&o.id);
                if !o.service_id.is_empty() {
                    self.tasks_by_service.entry(o.service_id.clone()).or_default().insert(o.id.clone());
                }
                if !o.node_id.is_empty() {
                    self.tasks_by_node.entry(o.node_id.clone()).or_default().insert(o.id.clone());
                }
                self.tasks.insert(o.id.clone(), Arc::new(o));
            }
        }
    }

    fn delete(&mut self, kind: ObjectKind, id: &str) {
        match kind {
            ObjectKind::Cluster => drop(self.clusters.remove(id)),
            ObjectKind::Node => drop(self.nodes.remove(id)),
            ObjectKind::Service => drop(self.services.remove(id)),
            ObjectKind::Network => drop(self.networks.remove(id)),
            ObjectKind::Attachment => drop(self.attachments.remove(id)),
            ObjectKind::Task => {
                self.unindex_task(id);
                self.tasks.remove(id);
            }
            ObjectKind::Unspecified => {}
        }
    }

    fn unindex_task(&mut self, id: &str) {
        let Some(task) = self.tasks.get(id) else { return };
        for (index, key) in [(&mut self.tasks_by_service, &task.service_id), (&mut self.tasks_by_node, &task.node_id)] {
            if let Some(ids) = index.get_mut(key) {
                ids.remove(id);
                if ids.is_empty() {
                    index.remove(key);
                }
            }
        }
    }
}

fn meta_of(object: &object::Object) -> Option<&Meta> {
    match object {
        object::Object::Cluster(o) => o.meta.as_ref(),
        object::Object::Node(o) => o.meta.as_ref(),
        object::Object::Service(o) => o.meta.as_ref(),
        object::Object::Task(o) => o.meta.as_ref(),
        object::Object::Network(o) => o.meta.as_ref(),
        object::Object::Attachment(o) => o.meta.as_ref(),
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
        view.apply(&transaction(vec![create(object::Object::Task(task("t", "")))]), 1).unwrap();
        let read = (*view.tasks()["t"]).clone();
        let mut first = read.clone();
        first.node_id = "a".into();
        view.apply(&transaction(vec![update(object::Object::Task(first))]), 2).unwrap();
        let mut second = read;
        second.node_id = "b".into();
        let other = create(object::Object::Task(task("u", "b")));
        let error = view.apply(&transaction(vec![other, update(object::Object::Task(second))]), 3).unwrap_err();
        assert_eq!(error, ApplyError::Version { kind: "task", id: "t".into(), stored: 2, expected: 1 });
        assert_eq!(view.tasks().len(), 1);
        assert_eq!(view.tasks()["t"].node_id, "a");
    }

    #[test]
    fn indexes_follow_the_tasks() {
        let mut view = View::default();
        view.apply(&transaction(vec![create(object::Object::Task(task("t", "a")))]), 1).unwrap();
        let mut moved = (*view.tasks()["t"]).clone();
        moved.node_id = "b".into();
        view.apply(&transaction(vec![update(object::Object::Task(moved))]), 2).unwrap();
        assert_eq!(view.tasks_of_node("a").count(), 0);
        assert_eq!(view.tasks_of_node("b").count(), 1);
        view.apply(&transaction(vec![remove(ObjectKind::Task, "t")]), 3).unwrap();
        assert_eq!(view.tasks_of_service("s").count(), 0);
        assert!(view.tasks_by_node.is_empty());
    }

    #[test]
    fn a_snapshot_restores_the_view() {
        let mut view = View::default();
        view.apply(&transaction(vec![create(object::Object::Task(task("t", "a")))]), 4).unwrap();
        let restored = View::from_snapshot(view.snapshot());
        assert_eq!(restored.version(), 4);
        assert_eq!(restored.tasks()["t"], view.tasks()["t"]);
        assert_eq!(restored.tasks_of_node("a").count(), 1);
    }
}
