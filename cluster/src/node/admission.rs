//! Whether a request is let in.
//!
//! A manager that was away works from an old state until it has heard of the leader, and may have been promoted or
//! demoted since. So everywhere the certificate counts; what has become of its owner since counts where the leader
//! answers, whose state is whole. Raft's own messages have to pass before that: there its membership counts.

use skep_common::ErrorKind;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request};
use tonic::{Code, Status};

use crate::error;
use crate::model::NodeRole;
use crate::raft::RaftNode;
use crate::store::{Store, View};
use crate::wire::access::{Access, Place, allows, rule};
use crate::wire::{Caller, Peer};

/// Whom a manager speaks for when it passes a request on; from others it means nothing.
pub(super) const CALLER: &str = "skep-caller";
/// In [`CALLER`]: a node that has no certificate.
const NOBODY: &str = "-";
const RAFT: &str = "/skep.v1.Raft";

/// Who asks for what.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub path: String,
    pub place: Place,
    /// Whose request it is.
    pub caller: Option<Caller>,
    /// Another manager has passed it on.
    pub passed_on: bool,
    access: Access,
    peer: Peer,
}

impl Call {
    /// Reads it from a request's head.
    ///
    /// # Errors
    /// If there is no such method, or somebody speaks for others who may not.
    pub(super) fn read(request: &mut Request<Body>) -> Result<Call, Status> {
        let path = request.uri().path().to_owned();
        let (access, place) = rule(&path).ok_or_else(|| Status::unimplemented(format!("unknown method {path}")))?;
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or(Peer { caller: None, addr: None });
        let header = request.headers_mut().remove(CALLER);
        let passed_on = header.is_some();
        let caller = match header {
            Some(_) if !peer.caller.as_ref().is_some_and(Caller::is_manager) => {
                return Err(Status::permission_denied("only managers may speak for other nodes"));
            }
            Some(value) => read_caller(&value)?,
            None => peer.caller.clone(),
        };
        Ok(Call { path, place, caller, passed_on, access, peer })
    }

    /// Whether it may come in, by the certificates. Who was removed stays out, however old the state is here.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn admit(&self, raft: &RaftNode) -> Result<(), Status> {
        let view = raft.view();
        for node in [&self.peer.caller, &self.caller].into_iter().flatten() {
            if view.cluster().is_some_and(|cluster| cluster.blacklisted_nodes.contains_key(node.node_id.as_str())) {
                return Err(Status::permission_denied(format!("node {} was removed from the swarm", node.node_id)));
            }
        }
        self.check(self.caller.as_ref().map(|caller| caller.role))?;
        match &self.caller {
            Some(caller) if self.path.starts_with(RAFT) && has_left_raft(caller, &view, raft) => {
                self.check(Some(NodeRole::Worker))
            }
            _ => Ok(()),
        }
    }

    /// Whether it may be answered, by a state that is whole. The certificate of a manager that was demoted is valid for
    /// a while yet.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn admit_now(&self, view: &View) -> Result<(), Status> {
        for node in [&self.peer.caller, &self.caller].into_iter().flatten() {
            if !view.nodes().contains_key(node.node_id.as_str()) {
                // Removed so long ago that it is no longer noted.
                return Err(Status::permission_denied(format!("node {} was removed from the swarm", node.node_id)));
            }
        }
        let is_demoted = |caller: &Caller| is_worker(caller, view);
        if self.passed_on && self.peer.caller.as_ref().is_none_or(is_demoted) {
            return Err(self.for_managers());
        }
        self.check(self.caller.as_ref().map(|caller| if is_demoted(caller) { NodeRole::Worker } else { caller.role }))
    }

    fn check(&self, role: Option<NodeRole>) -> Result<(), Status> {
        match (allows(self.access, role), role) {
            (true, _) => Ok(()),
            (false, None) => Err(Status::unauthenticated(format!("{} needs a certificate of this swarm", self.path))),
            (false, Some(_)) => Err(self.for_managers()),
        }
    }

    fn for_managers(&self) -> Status {
        let words = format!("{} may be called by managers only", self.path);
        error::status(Code::PermissionDenied, ErrorKind::NotAManager, words)
    }

    /// Tells the log of a refusal.
    pub(super) fn refused(&self, status: &Status) {
        let from = self.peer.addr.map(|addr| addr.to_string());
        let node = self.peer.caller.as_ref().map(|caller| caller.node_id.as_str());
        tracing::warn!(path = self.path, from, node, reason = status.message(), "refused a request");
    }

    /// The value of [`CALLER`] for whoever answers instead.
    ///
    /// # Errors
    /// If the caller cannot be written in a header.
    pub(super) fn header(&self) -> Result<HeaderValue, Status> {
        let text = match &self.caller {
            None => NOBODY.to_owned(),
            Some(caller) => {
                let addr = caller.addr.map_or_else(|| NOBODY.to_owned(), |addr| addr.to_string());
                format!("{} {} {} {addr}", caller.node_id, i32::from(caller.role), caller.cluster_id)
            }
        };
        HeaderValue::try_from(text).map_err(|error| Status::internal(error.to_string()))
    }
}

fn is_worker(caller: &Caller, view: &View) -> bool {
    view.nodes().get(caller.node_id.as_str()).is_some_and(|node| node.role == NodeRole::Worker)
}

/// Whether a node was demoted, and that is known for sure: another leads, and neither the state nor raft's membership,
/// of which a member learns before it is committed, has it as a manager.
fn has_left_raft(caller: &Caller, view: &View, raft: &RaftNode) -> bool {
    let led_by_another =
        raft.leadership().borrow().leader.as_ref().is_some_and(|leader| caller.node_id != leader.node_id);
    led_by_another && is_worker(caller, view) && raft.members().iter().all(|member| caller.node_id != member.node_id)
}

fn read_caller(value: &HeaderValue) -> Result<Option<Caller>, Status> {
    let malformed = || Status::invalid_argument("the caller's name was passed on in an unknown form");
    let text = value.to_str().map_err(|_| malformed())?;
    if text == NOBODY {
        return Ok(None);
    }
    let words: Vec<&str> = text.split(' ').collect();
    let [node_id, role, cluster_id, addr] = words.as_slice() else { return Err(malformed()) };
    let role = role.parse().ok().and_then(|role: i32| NodeRole::try_from(role).ok()).ok_or_else(malformed)?;
    let addr = if *addr == NOBODY { None } else { Some(addr.parse().map_err(|_| malformed())?) };
    Ok(Some(Caller { node_id: (*node_id).into(), role, cluster_id: (*cluster_id).to_owned(), addr }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(caller: Option<Caller>) -> Call {
        let peer = Peer { caller: None, addr: None };
        let (path, place, access) = ("/skep.v1.Control/ListNodes".into(), Place::Leader, Access::Manager);
        Call { path, place, caller, passed_on: false, access, peer }
    }

    #[test]
    fn a_caller_survives_being_passed_on() {
        let caller = Caller {
            node_id: "n".into(),
            role: NodeRole::Manager,
            cluster_id: "c".into(),
            addr: Some(([10, 0, 0, 1], 5).into()),
        };
        let local = Caller { addr: None, ..caller.clone() };
        for caller in [Some(caller), Some(local), None] {
            assert_eq!(read_caller(&call(caller.clone()).header().unwrap()).unwrap(), caller);
        }
        for bad in ["", "n 1 c", "n 9 c -", "n x c -", "n 1 c nowhere"] {
            assert!(read_caller(&HeaderValue::from_static(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_is_not_in_the_whole_state_is_not_answered_whatever_its_certificate_says() {
        let named =
            |id: &str| Some(Caller { node_id: id.into(), role: NodeRole::Manager, cluster_id: "c".into(), addr: None });
        let node = crate::model::Node { id: "n".into(), role: NodeRole::Manager, ..Default::default() };
        let actions = vec![crate::store::create(node)];
        let mut view = View::default();
        view.apply(&crate::api::StoreTransaction { actions, time_ns: 1 }, 1).unwrap();
        let asked_by = |peer: &str, caller: &str| Call {
            peer: Peer { caller: named(peer), addr: None },
            passed_on: peer != caller,
            ..call(named(caller))
        };
        assert!(asked_by("n", "n").admit_now(&view).is_ok());
        for (peer, caller) in [("gone", "gone"), ("n", "gone"), ("gone", "n")] {
            let refused = asked_by(peer, caller).admit_now(&view).unwrap_err();
            assert_eq!(
                (refused.code(), refused.message()),
                (Code::PermissionDenied, "node gone was removed from the swarm")
            );
        }
    }
}
