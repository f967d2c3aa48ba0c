//! Which role may call what. One table; what is not in it nobody may call.

use crate::api::NodeRole;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Also a node that has no certificate yet.
    Anyone,
    /// Every node of the swarm.
    Node,
    /// Managers.
    Manager,
}

/// Who answers a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The manager that was asked.
    Here,
    /// The leader: others pass the request on.
    Leader,
}

/// Both for the method at `path` (`/skep.v1.Service/Method`); `None` for what does not exist.
pub(crate) fn rule(path: &str) -> Option<(Access, Place)> {
    let (service, method) = path.strip_prefix("/skep.v1.")?.split_once('/')?;
    Some(match (service, method) {
        ("Ca", "GetRootCa") => (Access::Anyone, Place::Here),
        ("Ca", "IssueCertificate") => (Access::Anyone, Place::Leader),
        ("Dispatcher", "Session" | "Heartbeat" | "Assignments" | "UpdateTaskStatus" | "SignOff")
        | ("LogBroker", "ListenSubscriptions" | "PublishLogs")
        | ("Control", "CreateAttachment" | "RemoveAttachment") => (Access::Node, Place::Leader),
        ("Raft", "AppendEntries" | "Vote" | "InstallSnapshot") => (Access::Manager, Place::Here),
        ("RaftMembership", "TakeOver") => (Access::Manager, Place::Here),
        ("RaftMembership", "JoinRaft" | "LeaveRaft") | ("Control", _) => (Access::Manager, Place::Leader),
        _ => return None,
    })
}

/// Whether a node of `role` (`None`: no certificate) passes.
pub(crate) fn allows(access: Access, role: Option<NodeRole>) -> bool {
    match access {
        Access::Anyone => true,
        Access::Node => role.is_some(),
        Access::Manager => role == Some(NodeRole::Manager),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_protocol_has_a_rule_and_nothing_else_has() {
        let descriptors = protox::compile(["proto/node.proto", "proto/control.proto"], ["proto"]).unwrap();
        let mut methods = 0;
        for service in descriptors.file.iter().flat_map(|file| &file.service) {
            for method in &service.method {
                let path = format!("/skep.v1.{}/{}", service.name(), method.name());
                // The node's own affairs are served on its unix socket alone.
                assert_eq!(rule(&path).is_some(), service.name() != "Local", "{path}");
                methods += 1;
            }
        }
        assert!(methods > 30);
        assert_eq!(rule("/skep.v1.Raft/Other"), None);
        assert_eq!(rule("/grpc.health.v1.Health/Check"), None);
    }

    #[test]
    fn a_certificate_is_needed_for_all_but_the_first_certificate() {
        let open = |path| allows(rule(path).unwrap().0, None);
        assert!(open("/skep.v1.Ca/GetRootCa") && open("/skep.v1.Ca/IssueCertificate"));
        assert!(!open("/skep.v1.Dispatcher/Session") && !open("/skep.v1.Control/ListNodes"));
        assert!(!open("/skep.v1.Raft/Vote") && !open("/skep.v1.RaftMembership/JoinRaft"));
        let worker = |path| allows(rule(path).unwrap().0, Some(NodeRole::Worker));
        assert!(worker("/skep.v1.Dispatcher/Session") && worker("/skep.v1.LogBroker/PublishLogs"));
        assert!(!worker("/skep.v1.Raft/Vote") && !worker("/skep.v1.Control/GetCluster"));
        assert!(!worker("/skep.v1.RaftMembership/JoinRaft") && !worker("/skep.v1.RaftMembership/TakeOver"));
    }
}
