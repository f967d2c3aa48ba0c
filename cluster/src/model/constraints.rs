//! Placement constraints: `KEY==VALUE` or `KEY!=VALUE` over what is known of a node; values compare without case.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Node, NodeRole};

/// Why a constraint cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// Neither `==` nor `!=`.
    #[error("invalid constraint '{0}': use KEY==VALUE or KEY!=VALUE")]
    Operator(String),
    /// Not a key that nodes have.
    #[error(
        "invalid constraint '{0}': the key must be node.id, node.hostname, node.ip, node.role, node.platform.os, node.platform.arch, node.labels.NAME or engine.labels.NAME"
    )]
    Key(String),
    /// The value is empty or has characters that no value has.
    #[error("invalid constraint '{0}': the value may have letters, digits and -_.:/*, and must not be empty")]
    Value(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Architecture,
    Label(String),
    EngineLabel(String),
}

/// One constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    key: Key,
    equal: bool,
    value: String,
}

/// Reads all constraints, or tells what is wrong with the first bad one.
///
/// # Errors
/// The first that is not one.
pub fn parse(constraints: &[String]) -> Result<Vec<Constraint>, ConstraintError> {
    constraints.iter().map(|text| parse_one(text)).collect()
}

fn parse_one(text: &str) -> Result<Constraint, ConstraintError> {
    let (key, equal, value) = match (text.split_once("=="), text.split_once("!=")) {
        (Some((key, value)), None) => (key, true, value),
        (None, Some((key, value))) => (key, false, value),
        (Some(equal), Some(unequal)) if equal.0.len() < unequal.0.len() => (equal.0, true, equal.1),
        (_, Some(unequal)) => (unequal.0, false, unequal.1),
        (None, None) => return Err(ConstraintError::Operator(text.into())),
    };
    let (key, value) = (key.trim(), value.trim());
    let allowed = |c: char| c.is_alphanumeric() || "-_.:/* ".contains(c);
    if value.is_empty() || !value.chars().all(allowed) {
        return Err(ConstraintError::Value(text.into()));
    }
    let key = parse_key(key).ok_or_else(|| ConstraintError::Key(text.into()))?;
    Ok(Constraint { key, equal, value: value.to_owned() })
}

fn parse_key(key: &str) -> Option<Key> {
    let lower = key.to_ascii_lowercase();
    Some(match lower.as_str() {
        "node.id" => Key::Id,
        "node.hostname" => Key::Hostname,
        "node.ip" => Key::Ip,
        "node.role" => Key::Role,
        "node.platform.os" => Key::Os,
        "node.platform.arch" => Key::Architecture,
        _ => {
            let label = |prefix: &str| {
                (lower.starts_with(prefix) && key.len() > prefix.len()).then(|| key[prefix.len()..].to_owned())
            };
            match label("node.labels.") {
                Some(name) => Key::Label(name),
                None => Key::EngineLabel(label("engine.labels.")?),
            }
        }
    })
}

/// One name for what kernels, Go and images call differently.
pub(crate) fn architecture(name: &str) -> String {
    skep_common::architecture(&name.to_lowercase()).to_owned()
}

impl Constraint {
    /// Whether the node meets it. What is not known of the node counts as empty.
    pub(crate) fn matches(&self, node: &Node) -> bool {
        let platform = node.platform();
        let is = |actual: &str| actual.to_lowercase() == self.value.to_lowercase();
        let equal = match &self.key {
            Key::Id => is(&node.id),
            Key::Hostname => is(node.hostname()),
            Key::Ip => self.matches_ip(&node.status.addr),
            Key::Role => is(match node.role {
                NodeRole::Worker => "worker",
                NodeRole::Manager => "manager",
            }),
            Key::Os => is(platform.map_or("", |p| &p.os)),
            Key::Architecture => architecture(platform.map_or("", |p| &p.architecture)) == architecture(&self.value),
            Key::Label(name) => is(node.label(name).unwrap_or_default()),
            Key::EngineLabel(name) => is(node.engine_label(name).unwrap_or_default()),
        };
        equal == self.equal
    }

    fn matches_ip(&self, addr: &str) -> bool {
        let Ok(addr) = addr.parse::<IpAddr>() else { return false };
        match (self.value.parse::<IpNet>(), self.value.parse::<IpAddr>()) {
            (Ok(network), _) => network.contains(&addr),
            (_, Ok(wanted)) => wanted == addr,
            _ => false,
        }
    }
}

/// The node's value for a descriptor to spread over (`node.labels.zone`); `None` if it is no such descriptor.
pub(crate) fn descriptor<'a>(node: &'a Node, descriptor: &str) -> Option<&'a str> {
    Some(match parse_key(descriptor)? {
        Key::Id => &node.id,
        Key::Hostname => node.hostname(),
        Key::Label(name) => node.label(&name).unwrap_or_default(),
        Key::EngineLabel(name) => node.engine_label(&name).unwrap_or_default(),
        Key::Ip | Key::Role | Key::Os | Key::Architecture => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Annotations, NodeDescription, NodeSpec, NodeStatus, Platform};

    fn node() -> Node {
        let labels = BTreeMap::from([("Zone".to_owned(), "East".to_owned())]);
        Node {
            id: "abc".into(),
            role: NodeRole::Manager,
            spec: NodeSpec {
                annotations: Annotations { labels: labels.clone(), ..Annotations::default() },
                ..NodeSpec::default()
            },
            description: Some(NodeDescription {
                hostname: "host1".into(),
                platform: Some(Platform { architecture: "x86_64".into(), os: "linux".into() }),
                engine_labels: labels,
                ..NodeDescription::default()
            }),
            status: NodeStatus { addr: "10.1.2.3".into(), ..NodeStatus::default() },
            ..Node::default()
        }
    }

    fn check(text: &str, expect: bool) {
        let rules = parse(&[text.to_owned()]).unwrap();
        assert_eq!(rules[0].matches(&node()), expect, "{text}");
    }

    #[test]
    fn values_compare_without_case_and_unknown_counts_as_empty() {
        for text in [
            "node.id==ABC",
            "node.hostname == host1",
            "node.role!=worker",
            "Node.Role==manager",
            "node.ip==10.1.2.3",
            "node.ip==10.1.0.0/16",
            "node.ip!=10.2.0.0/16",
            "node.platform.os==linux",
            "node.platform.arch==amd64",
            "node.labels.Zone==east",
            "node.labels.none!=x",
            "engine.labels.Zone==EAST",
        ] {
            check(text, true);
        }
        for text in ["node.labels.Zone!=east", "node.labels.none==x", "node.role==worker", "node.ip==nonsense"] {
            check(text, false);
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let refused = |text: &str| parse(&[text.to_owned()]).unwrap_err().to_string();
        assert!(refused("node.id=x").starts_with("invalid constraint 'node.id=x': use KEY==VALUE"));
        assert!(refused("node.shoe==x").contains("the key must be node.id"));
        assert!(refused("node.labels.==x").contains("the key must be node.id"));
        assert!(refused("node.id==").contains("must not be empty"));
        assert!(refused("node.id==a$b").contains("the value may have"));
    }
}
