//! What is asked of the swarm's objects as they come from the managers. Who decides over them converts them to
//! [`skep_cluster::model`] first.

use skep_cluster::api::{Annotations, Network, Node, NodeAvailability, NodeRole, NodeState, Service, ServiceSpec};

/// What a user gave a name.
pub trait Named {
    /// As the user calls it; empty where nothing was said.
    fn name(&self) -> &str;
}

fn name(annotations: Option<&Annotations>) -> &str {
    annotations.map_or("", |annotations| annotations.name.as_str())
}

impl Named for ServiceSpec {
    fn name(&self) -> &str {
        name(self.annotations.as_ref())
    }
}

impl Named for Service {
    fn name(&self) -> &str {
        self.spec.as_ref().map_or("", ServiceSpec::name)
    }
}

impl Named for Network {
    fn name(&self) -> &str {
        name(self.spec.as_ref().and_then(|spec| spec.annotations.as_ref()))
    }
}

/// What is told of a node.
pub trait NodeFacts {
    /// As its machine calls it; empty before it first registered.
    fn hostname(&self) -> &str;

    /// Whether it is there.
    fn state(&self) -> NodeState;

    /// What it may be used for.
    fn availability(&self) -> NodeAvailability;

    /// What the user wants it to be.
    fn desired_role(&self) -> NodeRole;
}

impl NodeFacts for Node {
    fn hostname(&self) -> &str {
        self.description.as_ref().map_or("", |description| description.hostname.as_str())
    }

    fn state(&self) -> NodeState {
        self.status.as_ref().map(|status| status.state()).unwrap_or_default()
    }

    fn availability(&self) -> NodeAvailability {
        self.spec.as_ref().map(|spec| spec.availability()).unwrap_or_default()
    }

    fn desired_role(&self) -> NodeRole {
        self.spec.as_ref().map(|spec| spec.desired_role()).unwrap_or_default()
    }
}
