//! Nodes of the swarm: look at, change, promote and demote, remove.

use skep_cluster::api::{
    GetNodeRequest, ListNodesRequest, Node, NodeRole, NodeSpec, Reachability, RemoveNodeRequest, UpdateNodeRequest,
};

use crate::ErrorKind;
use crate::docker::{node as docker, service as docker_service};
use crate::error::{Error, Result};
use crate::services::words::Word;
use crate::swarm::Swarm;
use crate::swarm::facts::NodeFacts;
use crate::time::{rfc3339, timestamp};

/// How often a change may meet somebody else's.
const CHANGES_MAX: usize = 6;

impl Swarm {
    /// One node; `self` is this one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotAManager`].
    pub async fn node(&self, name: &str) -> Result<Node> {
        let id = match name {
            "self" => self.info().await?.node_id,
            name => name.to_owned(),
        };
        Ok(self.client().get_node(GetNodeRequest { r#ref: id }).await?.node.unwrap_or_default())
    }

    /// All nodes.
    ///
    /// # Errors
    /// [`ErrorKind::NotAManager`].
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self.client().list_nodes(ListNodesRequest {}).await?.nodes)
    }

    /// Changes a node's specification; what somebody else changed meanwhile is read again, and edited again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], what `edit` says, [`ErrorKind::OutOfSequence`] if others are faster every time.
    pub async fn change_node(&self, name: &str, edit: impl Fn(&mut NodeSpec) -> Result<()>) -> Result<()> {
        let mut attempt = 0;
        loop {
            let found = self.node(name).await?;
            let mut spec = found.spec.clone().unwrap_or_default();
            edit(&mut spec)?;
            let request = UpdateNodeRequest {
                r#ref: found.id.clone(),
                version: found.meta.unwrap_or_default().version,
                spec: Some(spec),
            };
            attempt += 1;
            match self.client().update_node(request).await {
                Err(error) if attempt < CHANGES_MAX && error.kind() == ErrorKind::OutOfSequence => {}
                changed => return Ok(changed.map(|_| ())?),
            }
        }
    }

    /// Wants a node to be a manager or a worker; whether it was to be something else until now.
    ///
    /// # Errors
    /// As [`Swarm::change_node`], and what the managers say of one that they need.
    pub async fn set_role(&self, name: &str, role: NodeRole) -> Result<bool> {
        if self.node(name).await?.desired_role() == role {
            return Ok(false);
        }
        self.change_node(name, |spec| {
            spec.set_desired_role(role);
            Ok(())
        })
        .await?;
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

/// Takes a label from a node's specification.
///
/// # Errors
/// [`ErrorKind::NotFound`] if it has none.
pub fn remove_label(spec: &mut NodeSpec, key: &str) -> Result<()> {
    match spec.annotations.get_or_insert_default().labels.remove(key) {
        Some(_) => Ok(()),
        None => Err(Error::not_found(format!("key {key} doesn't exist in node's labels"))),
    }
}

/// A node as docker's JSON.
pub fn shape(node: &Node) -> docker::Node {
    let meta = node.meta.unwrap_or_default();
    let annotations = node.spec.clone().unwrap_or_default().annotations.unwrap_or_default();
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
            role: Some(node.desired_role().word().to_owned()),
            availability: Some(node.availability().word().to_owned()),
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

/// Whether a manager answers the others.
pub fn is_reachable(node: &Node) -> bool {
    node.manager_status.as_ref().is_some_and(|status| status.reachability() == Reachability::Reachable)
}

/// A node's specification from docker's request.
///
/// # Errors
/// [`ErrorKind::BadArgument`] for a word that is none.
pub fn spec(request: &docker::NodeSpec) -> Result<NodeSpec> {
    let invalid = |what: &str, word: &str| Error::bad_argument(format!("invalid {what} {word:?}"));
    let mut spec = NodeSpec::default();
    let annotations = spec.annotations.get_or_insert_default();
    annotations.name = request.name.clone().unwrap_or_default();
    annotations.labels = request.labels.clone().unwrap_or_default();
    if let Some(word) = request.role.as_deref().filter(|word| !word.is_empty()) {
        spec.set_desired_role(NodeRole::of_word(word).ok_or_else(|| invalid("role", word))?);
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

    #[test]
    fn a_label_that_is_not_there_cannot_be_taken() {
        let error = remove_label(&mut NodeSpec::default(), "x").unwrap_err();
        assert_eq!(error.to_string(), "key x doesn't exist in node's labels");
    }
}
