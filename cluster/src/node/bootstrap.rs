//! The first transaction of a swarm. It lies sealed beside the raft files until it has been committed, so that an
//! agent killed in the middle of `swarm init` completes it when it is started again.

use std::path::Path;
use std::time::Duration;

use prost::Message;
use skep_common::ErrorKind;
use skep_common::duration::{self, nanoseconds};

use super::NodeError;
use super::layout::{context, write_private};
use crate::api::{InitRequest, StoreAction, StoreTransaction, object, store_action};
use crate::ca;
use crate::model::subnet::overlap;
use crate::model::{
    Annotations, Cluster, ClusterSpec, DATA_PATH_PORT_DEFAULT, HEARTBEAT_DEFAULT, HISTORY_DEFAULT, ManagerStatus,
    Network, NetworkSpec, NodeDescription, RootCa,
};
use crate::raft::DiskKey;
use crate::store::{TRANSACTION_ACTIONS_MAX, View, create, packed};
use crate::surroundings::Surroundings;
use crate::wire::Caller;

const CONTEXT: &[u8] = b"bootstrap 1";
const DEFAULT_POOL: &str = "10.0.0.0/8";
const DEFAULT_SUBNET_SIZE: u32 = 24;
pub(super) const DEFAULT_SNAPSHOT_INTERVAL: u64 = 10_000;

/// Cluster, first node and ingress network.
///
/// # Errors
/// What of the request cannot be.
pub(super) fn first_objects(
    node: &Caller,
    authority: RootCa,
    request: InitRequest,
    description: NodeDescription,
    surroundings: &Surroundings,
) -> Result<StoreTransaction, NodeError> {
    let port = if request.data_path_port == 0 { DATA_PATH_PORT_DEFAULT } else { request.data_path_port };
    if !(1024..=49151).contains(&port) {
        return Err(NodeError::refused(
            ErrorKind::BadArgument,
            format!("data path port {port} is not between 1024 and 49151"),
        ));
    }
    let pools = check_pools(&request.default_address_pool)?;
    let subnet_size = if request.subnet_size == 0 { DEFAULT_SUBNET_SIZE } else { request.subnet_size };
    if !(8..=29).contains(&subnet_size) {
        return Err(NodeError::refused(
            ErrorKind::BadArgument,
            format!("subnet size {subnet_size} is not between 8 and 29"),
        ));
    }
    let cluster = Cluster {
        id: node.cluster_id.as_str().into(),
        spec: complete(request.spec.clone().unwrap_or_default()),
        root_ca: Some(authority),
        default_address_pool: pools,
        subnet_size,
        data_path_port: port,
        ..Cluster::default()
    };
    let mut first = ca::new_node(node, request.availability());
    first.description = Some(description);
    first.manager_status =
        Some(ManagerStatus { addr: node.addr.map(|addr| addr.to_string()).unwrap_or_default(), ..Default::default() });
    let ingress = Network {
        id: surroundings.chance.id().into(),
        spec: NetworkSpec {
            annotations: Annotations { name: "ingress".into(), ..Annotations::default() },
            driver: "overlay".into(),
            ingress: true,
            ..NetworkSpec::default()
        },
        ..Network::default()
    };
    let actions = vec![create(cluster), create(first), create(ingress)];
    Ok(StoreTransaction { actions, time_ns: surroundings.clock.now_ns() })
}

/// The swarm's settings with defaults where nothing was asked for.
fn complete(mut spec: ClusterSpec) -> ClusterSpec {
    let annotations = spec.annotations.get_or_insert_default();
    if annotations.name.is_empty() {
        annotations.name = "default".into();
    }
    spec.task_history_limit.get_or_insert(HISTORY_DEFAULT);
    if spec.snapshot_interval == 0 {
        spec.snapshot_interval = DEFAULT_SNAPSHOT_INTERVAL;
    }
    if spec.dispatcher_heartbeat_ns == 0 {
        spec.dispatcher_heartbeat_ns = nanoseconds(HEARTBEAT_DEFAULT);
    }
    if spec.node_cert_expiry_ns == 0 {
        spec.node_cert_expiry_ns = nanoseconds(ca::NODE_VALIDITY);
    }
    spec
}

/// How long the node's certificates are valid under these settings.
pub(super) fn node_validity(spec: Option<&ClusterSpec>) -> Duration {
    spec.and_then(|spec| duration::given(spec.node_cert_expiry_ns)).unwrap_or(ca::NODE_VALIDITY)
}

fn check_pools(pools: &[String]) -> Result<Vec<String>, NodeError> {
    if pools.is_empty() {
        return Ok(vec![DEFAULT_POOL.into()]);
    }
    let mut parsed: Vec<ipnet::Ipv4Net> = Vec::new();
    for text in pools {
        let pool = text.parse().map_err(|_| {
            NodeError::refused(
                ErrorKind::BadArgument,
                format!("invalid default address pool {text:?}: give ADDRESS/LENGTH"),
            )
        })?;
        if let Some(other) = parsed.iter().find(|other| overlap(other, &pool)) {
            return Err(NodeError::refused(
                ErrorKind::BadArgument,
                format!("default address pool {pool} overlaps with {other}"),
            ));
        }
        parsed.push(pool);
    }
    Ok(pools.to_vec())
}

/// Writes the transaction, sealed: it holds the root's key.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn save(path: &Path, key: &DiskKey, transaction: &StoreTransaction) -> Result<(), NodeError> {
    let sealed = key
        .seal(CONTEXT, transaction.encode_to_vec())
        .map_err(|error| NodeError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
    write_private(path, &sealed)
}

/// The transaction, if it is still to be committed.
///
/// # Errors
/// If the file is there, and cannot be read or opened with the key.
pub(super) fn load(path: &Path, key: &DiskKey) -> Result<Option<StoreTransaction>, NodeError> {
    let sealed = match std::fs::read(path) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(context("read", path)(error)),
    };
    let damaged = |reason: String| NodeError::Damaged { path: path.to_owned(), reason };
    let plain = key.open(CONTEXT, &sealed).map_err(|error| damaged(error.to_string()))?;
    StoreTransaction::decode(plain.as_slice()).map(Some).map_err(|error| damaged(error.to_string()))
}

/// It has been committed.
///
/// # Errors
/// If the file cannot be removed.
pub(super) fn done(path: &Path) -> Result<(), NodeError> {
    std::fs::remove_file(path).map_err(context("remove", path))
}

/// What of the first objects is not in the store yet, in transactions that the log can hold. The cluster is last: once
/// it is there, all are.
pub(super) fn missing(view: &View, first: StoreTransaction) -> Vec<Vec<StoreAction>> {
    if view.cluster().is_some() {
        return Vec::new();
    }
    let is_cluster = |action: &StoreAction| matches!(created(action), Some(object::Object::Cluster(_)));
    let (last, mut all): (Vec<_>, Vec<_>) = first.actions.into_iter().partition(is_cluster);
    // A part of them was committed before the agent was killed.
    all.retain(|action| !created(action).is_some_and(|object| exists(view, object)));
    all.extend(last);
    let units = all.into_iter().map(|action| vec![action]);
    packed(units, TRANSACTION_ACTIONS_MAX).into_iter().map(|part| part.actions).collect()
}

fn created(action: &StoreAction) -> Option<&object::Object> {
    match &action.action {
        Some(store_action::Action::Create(created)) => created.object.as_ref(),
        _ => None,
    }
}

fn exists(view: &View, object: &object::Object) -> bool {
    match object {
        object::Object::Cluster(o) => view.cluster().is_some_and(|cluster| cluster.id == o.id),
        object::Object::Node(o) => view.nodes().contains_key(o.id.as_str()),
        object::Object::Service(o) => view.services().contains_key(o.id.as_str()),
        object::Object::Task(o) => view.tasks().contains_key(o.id.as_str()),
        object::Object::Network(o) => view.networks().contains_key(o.id.as_str()),
        object::Object::Attachment(o) => view.attachments().contains_key(o.id.as_str()),
    }
}

/// All that a surviving manager knows, as the first transaction of a swarm with this manager alone.
pub(super) fn surviving(view: &View, node_id: &str, addr: &str, now_ns: i64) -> StoreTransaction {
    let objects = view.snapshot().objects.into_iter().filter_map(|object| object.object);
    let actions = objects
        .map(|mut kept| {
            if let object::Object::Node(node) = &mut kept {
                let own = node.id == node_id;
                node.manager_status = own.then(|| ManagerStatus { addr: addr.to_owned(), ..ManagerStatus::default() });
                if !own {
                    // The others left raft without knowing: they come back as workers.
                    node.set_role(crate::api::NodeRole::Worker);
                    node.spec.get_or_insert_default().set_desired_role(crate::api::NodeRole::Worker);
                }
            }
            create(kept)
        })
        .collect();
    StoreTransaction { actions, time_ns: now_ns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Service;

    #[test]
    fn no_history_is_not_the_same_as_no_word_about_it() {
        let spec = |task_history_limit| ClusterSpec { task_history_limit, ..ClusterSpec::default() };
        assert_eq!(complete(spec(None)).task_history_limit, Some(5));
        assert_eq!(complete(spec(Some(0))).task_history_limit, Some(0));
        assert_eq!(complete(spec(Some(-1))).task_history_limit, Some(-1));
    }

    #[test]
    fn first_objects_come_in_parts_and_whoever_was_interrupted_goes_on() {
        let cluster = Cluster { id: "c".into(), ..Cluster::default() };
        let mut actions = vec![create(cluster)];
        for index in 0..5 {
            let mut service = Service { id: format!("s{index}").into(), ..Service::default() };
            service.allocation_error = "x".repeat(1 << 20);
            actions.push(create(service));
        }
        let first = StoreTransaction { actions, time_ns: 1 };
        let whole = missing(&View::default(), first.clone());
        assert_eq!(whole.len(), 5, "each part is one service, as two and their frames are too much");
        for cut in 0..=whole.len() {
            let mut view = View::default();
            let parts = |view: &View| missing(view, first.clone());
            for (index, actions) in parts(&view).into_iter().take(cut).enumerate() {
                view.apply(&StoreTransaction { actions, time_ns: 1 }, index as u64 + 1).unwrap();
            }
            assert_eq!(view.cluster().is_some(), cut == whole.len());
            for (index, actions) in parts(&view).into_iter().enumerate() {
                view.apply(&StoreTransaction { actions, time_ns: 1 }, index as u64 + 10).unwrap();
            }
            assert!(view.cluster().is_some() && view.services().size() == 5);
            assert!(parts(&view).is_empty());
        }
    }
}
