//! Nodes of the swarm: look at, list, change, promote and demote, remove.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_cluster::api::{
    GetNodeRequest, ListNodesRequest, Node, NodeRole, NodeSpec, RemoveNodeRequest, UpdateNodeRequest,
};

use crate::ErrorKind;
use crate::docker::{node as docker, service as docker_service};
use crate::error::{Error, Result};
use crate::filters::Filters;
use crate::services::words::Word;
use crate::swarm::{Role, Swarm};
use crate::time::{rfc3339, timestamp};

/// How often a change may meet somebody else's.
const CHANGES_MAX: usize = 6;

/// Which nodes are asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListNodes {
    /// `id`, `label` (of the machine), `membership`, `name`, `node.label`, `role`.
    pub filters: Filters,
}

impl ListNodes {
    /// Refuses what cannot be read, before anybody is asked.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`].
    pub fn check(&self) -> Result<()> {
        self.filters.accept(&["id", "label", "node.label", "membership", "name", "role"])?;
        for (key, possible) in [("role", ["worker", "manager"]), ("membership", ["accepted", "pending"])] {
            if let Some(value) = self.filters.values(key).iter().find(|value| !possible.contains(&value.as_str())) {
                return Err(Error::bad_argument(format!("invalid {key} filter: '{value}'")));
            }
        }
        Ok(())
    }

    fn wants(&self, node: &docker::Node) -> bool {
        let empty = BTreeMap::new();
        let filters = &self.filters;
        filters.any("id", |id| node.id.starts_with(id))
            && filters.any("name", |name| node.hostname().starts_with(name))
            && filters.any("role", |role| node.spec.role.as_deref() == Some(role))
            // Whoever has a certificate is accepted.
            && filters.any("membership", |membership| membership == "accepted")
            && filters.labels("node.label", node.spec.labels.as_ref().unwrap_or(&empty))
            && filters.labels("label", node.description.engine.labels.as_ref().unwrap_or(&empty))
    }
}

/// The part of a node's specification that an update changes; `None` leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeChange {
    /// `active`, `pause` or `drain`.
    pub availability: Option<String>,
    /// `worker` or `manager`.
    pub role: Option<String>,
    /// Labels that it is to have.
    pub labels_added: BTreeMap<String, String>,
    /// Keys of labels that it has and is not to have.
    pub labels_removed: Vec<String>,
}

impl NodeChange {
    /// Refuses words that are none, before anybody is asked.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`].
    pub fn check(&self) -> Result<()> {
        self.availability.as_deref().map(crate::swarm::availability).transpose()?;
        self.role.as_deref().map(role).transpose()?;
        Ok(())
    }

    fn apply(&self, spec: &mut docker::NodeSpec) -> Result<()> {
        if self.availability.is_some() {
            spec.availability.clone_from(&self.availability);
        }
        if self.role.is_some() {
            spec.role.clone_from(&self.role);
        }
        let labels = spec.labels.get_or_insert_default();
        labels.extend(self.labels_added.clone());
        for key in &self.labels_removed {
            if labels.remove(key).is_none() {
                return Err(Error::not_found(format!("key {key} doesn't exist in node's labels")));
            }
        }
        Ok(())
    }
}

fn role(word: &str) -> Result<NodeRole> {
    NodeRole::of_word(word)
        .ok_or_else(|| Error::bad_argument(format!("invalid role {word:?}, only worker and manager are supported")))
}

impl Swarm {
    /// One node; `self` is this one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotAManager`].
    pub async fn node(&self, name: &str) -> Result<docker::Node> {
        let id = match name {
            "self" => self.info().await?.node_id,
            name => name.to_owned(),
        };
        let found = self.client().get_node(GetNodeRequest { r#ref: id }).await?;
        Ok(shape(&found.node.unwrap_or_default()))
    }

    /// The nodes that are asked for, by host name.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`] for a filter that cannot be read, [`ErrorKind::NotAManager`].
    pub async fn list_nodes(&self, request: &ListNodes) -> Result<Vec<docker::Node>> {
        request.check()?;
        let all = self.client().list_nodes(ListNodesRequest {}).await?.nodes;
        let mut nodes: Vec<_> = all.iter().map(shape).filter(|node| request.wants(node)).collect();
        nodes.sort_by(|a, b| a.hostname().cmp(b.hostname()).then_with(|| a.id.cmp(&b.id)));
        Ok(nodes)
    }

    /// Replaces a node's specification, if it is still of the version that the caller has seen.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::BadArgument`], [`ErrorKind::OutOfSequence`] for an older version.
    pub async fn update_node(&self, id: &str, version: u64, request: &docker::NodeSpec) -> Result<()> {
        let request = UpdateNodeRequest { r#ref: id.to_owned(), version, spec: Some(spec(request)?) };
        self.client().update_node(request).await?;
        Ok(())
    }

    /// Changes a node's specification; what somebody else changed meanwhile is read again, and changed again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], also for a label to be removed, [`ErrorKind::BadArgument`],
    /// [`ErrorKind::OutOfSequence`] if others are faster every time.
    pub async fn change_node(&self, name: &str, change: &NodeChange) -> Result<()> {
        let mut attempt = 0;
        loop {
            let docker::Node { id, version, mut spec, .. } = self.node(name).await?;
            change.apply(&mut spec)?;
            attempt += 1;
            match self.update_node(&id, version.index, &spec).await {
                Err(error) if attempt < CHANGES_MAX && error.kind() == ErrorKind::OutOfSequence => {}
                changed => return changed,
            }
        }
    }

    /// Wants a node to be a manager or a worker; whether it was to be something else until now.
    ///
    /// # Errors
    /// As [`Swarm::change_node`], and what the managers say of one that they need.
    pub async fn set_role(&self, name: &str, role: Role) -> Result<bool> {
        if self.node(name).await?.spec.role.as_deref() == Some(role.word()) {
            return Ok(false);
        }
        let change = NodeChange { role: Some(role.word().to_owned()), ..NodeChange::default() };
        self.change_node(name, &change).await?;
        Ok(true)
    }

    /// Forgets a node.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and what the managers say of one that is there.
    pub async fn remove_node(&self, name: &str, force: bool) -> Result<()> {
        let request = RemoveNodeRequest { r#ref: name.to_owned(), force };
        self.client().remove_node(request).await?;
        Ok(())
    }
}

/// A node as docker's JSON.
fn shape(node: &Node) -> docker::Node {
    let meta = node.meta.unwrap_or_default();
    let wanted = node.spec.clone().unwrap_or_default();
    let annotations = wanted.annotations.clone().unwrap_or_default();
    let description = node.description.clone().unwrap_or_default();
    let platform = description.platform.clone().unwrap_or_default();
    let resources = description.resources.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    docker::Node {
        id: node.id.clone(),
        version: docker_service::Version { index: meta.version },
        created_at: rfc3339(timestamp(meta.created_at_ns)),
        updated_at: rfc3339(timestamp(meta.updated_at_ns)),
        spec: docker::NodeSpec {
            name: Some(annotations.name),
            labels: Some(annotations.labels),
            role: Some(wanted.desired_role().word().to_owned()),
            availability: Some(wanted.availability().word().to_owned()),
        },
        description: docker::NodeDescription {
            hostname: Some(description.hostname),
            platform: docker_service::Platform { architecture: Some(platform.architecture), os: Some(platform.os) },
            resources: docker::Resources {
                nano_cpus: Some(resources.nano_cpus),
                memory_bytes: Some(resources.memory_bytes),
            },
            engine: docker::EngineDescription {
                engine_version: Some(description.engine_version),
                labels: Some(description.engine_labels),
                plugins: None,
                load_balancer: Some(description.load_balancer),
            },
            tls_info: None,
        },
        status: docker::NodeStatus {
            state: Some(status.state().word().to_owned()),
            message: Some(status.message),
            addr: Some(status.addr),
        },
        manager_status: node.manager_status.as_ref().map(|manager| docker::ManagerStatus {
            leader: manager.leader.then_some(true),
            reachability: Some(manager.reachability().word().to_owned()),
            addr: Some(manager.addr.clone()),
        }),
    }
}

/// A node's specification from docker's request.
///
/// # Errors
/// [`ErrorKind::BadArgument`] for a word that is none.
fn spec(request: &docker::NodeSpec) -> Result<NodeSpec> {
    let mut spec = NodeSpec::default();
    let annotations = spec.annotations.get_or_insert_default();
    annotations.name = request.name.clone().unwrap_or_default();
    annotations.labels = request.labels.clone().unwrap_or_default();
    if let Some(word) = request.role.as_deref().filter(|word| !word.is_empty()) {
        spec.set_desired_role(role(word)?);
    }
    if let Some(word) = request.availability.as_deref().filter(|word| !word.is_empty()) {
        spec.set_availability(crate::swarm::availability(word)?);
    }
    Ok(spec)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use skep_cluster::api::ManagerStatus;

    use super::*;

    #[test]
    fn what_is_asked_of_a_node_is_shown() {
        let asked = serde_json::json!({"Name": "", "Labels": {"dc": "1"}, "Role": "manager", "Availability": "drain"});
        let request: docker::NodeSpec = serde_json::from_value(asked.clone()).unwrap();
        let node = Node { spec: Some(spec(&request).unwrap()), ..Node::default() };
        assert_eq!(serde_json::to_value(shape(&node).spec).unwrap(), asked);
        let wrong = docker::NodeSpec { role: Some("boss".to_owned()), ..docker::NodeSpec::default() };
        assert_eq!(spec(&wrong).unwrap_err().kind(), ErrorKind::BadArgument);
    }

    #[test]
    fn only_leaders_say_so() {
        let status = ManagerStatus { leader: false, addr: "a".to_owned(), ..ManagerStatus::default() };
        let node = Node { manager_status: Some(status), ..Node::default() };
        let shown = serde_json::to_value(shape(&node).manager_status).unwrap();
        assert_eq!(shown, serde_json::json!({"Reachability": "unknown", "Addr": "a"}));
    }

    fn listed(filters: &[(&str, &str)]) -> Result<bool> {
        let mut request = ListNodes::default();
        for (key, value) in filters {
            request.filters.add(*key, *value);
        }
        request.check()?;
        let labels = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let mut node = docker::Node { id: "abc123".to_owned(), ..docker::Node::default() };
        node.spec.role = Some("manager".to_owned());
        node.spec.labels = Some(labels("zone", "a"));
        node.description.hostname = Some("node1".to_owned());
        node.description.engine.labels = Some(labels("disk", "ssd"));
        Ok(request.wants(&node))
    }

    #[test]
    fn filters_narrow_a_list() {
        for (filters, wanted) in [
            (vec![], true),
            (vec![("id", "abc")], true),
            (vec![("id", "bc")], false),
            (vec![("name", "node"), ("name", "other")], true),
            (vec![("name", "ode1")], false),
            (vec![("role", "manager")], true),
            (vec![("role", "worker")], false),
            (vec![("role", "worker"), ("role", "manager")], true),
            (vec![("membership", "accepted")], true),
            (vec![("membership", "pending")], false),
            (vec![("node.label", "zone=a"), ("label", "disk")], true),
            (vec![("node.label", "zone=b")], false),
            (vec![("label", "zone")], false),
        ] {
            assert_eq!(listed(&filters).unwrap(), wanted, "{filters:?}");
        }
    }

    #[test]
    fn filters_that_cannot_be_read_are_refused() {
        for (key, value, words) in [
            ("role", "boss", "invalid role filter: 'boss'"),
            ("membership", "maybe", "invalid membership filter: 'maybe'"),
            ("state", "ready", "invalid filter 'state'"),
        ] {
            let refused = listed(&[(key, value)]).unwrap_err();
            assert_eq!((refused.to_string().as_str(), refused.kind()), (words, ErrorKind::BadArgument));
        }
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let labels = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), String::new())).collect();
        let seen = docker::NodeSpec {
            role: Some("worker".to_owned()),
            availability: Some("active".to_owned()),
            labels: Some(labels(&["a", "b"])),
            ..docker::NodeSpec::default()
        };
        let mut changed = seen.clone();
        NodeChange::default().apply(&mut changed).unwrap();
        assert_eq!(changed, seen);
        let change = NodeChange {
            availability: Some("drain".to_owned()),
            labels_added: labels(&["c"]),
            labels_removed: vec!["a".to_owned()],
            ..NodeChange::default()
        };
        change.check().unwrap();
        change.apply(&mut changed).unwrap();
        assert_eq!((changed.role, changed.labels), (seen.role, Some(labels(&["b", "c"]))));
        assert_eq!(changed.availability.as_deref(), Some("drain"));
    }

    #[test]
    fn a_change_that_cannot_be_is_refused() {
        let missing = NodeChange { labels_removed: vec!["x".to_owned()], ..NodeChange::default() };
        let error = missing.apply(&mut docker::NodeSpec::default()).unwrap_err();
        assert_eq!(error.to_string(), "key x doesn't exist in node's labels");
        let boss = NodeChange { role: Some("boss".to_owned()), ..NodeChange::default() };
        assert_eq!(
            boss.check().unwrap_err().to_string(),
            "invalid role \"boss\", only worker and manager are supported"
        );
        let asleep = NodeChange { availability: Some("asleep".to_owned()), ..NodeChange::default() };
        assert_eq!(asleep.check().unwrap_err().kind(), ErrorKind::BadArgument);
    }
}
