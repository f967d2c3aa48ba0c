//! Issues certificates. Runs on the leader (which alone may create nodes); the root is told by any manager.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use skep_common::duration;
use tonic::{Request, Response, Status};

use super::{CaError, JoinToken, NodeKey, RootKey, new_root, sign_node};
use crate::api::{
    GetRootCaRequest, GetRootCaResponse, IssueCertificateRequest, IssueCertificateResponse, ca_server::Ca,
};
use crate::error::Error;
use crate::model::{Cluster, Node, NodeAvailability, NodeRole, NodeSpec, NodeStatus};
use crate::store::{Store, View, create};
use crate::surroundings::Surroundings;
use crate::wire::{Caller, Peer};

/// First certificates within [`RATE_WINDOW`]; a flood of joins would fill the log with nodes.
const RATE_MAX: usize = 200;
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// The service `Ca`.
pub(crate) struct CaService {
    store: Arc<dyn Store>,
    surroundings: Surroundings,
    root: Vec<u8>,
    recent: Mutex<VecDeque<Instant>>,
}

impl CaService {
    /// Issues with the root key in `store`. `root` (PEM) is what this manager itself trusts: it is told to who asks,
    /// also while the store is still empty.
    pub(crate) fn new(store: Arc<dyn Store>, surroundings: Surroundings, root: Vec<u8>) -> Self {
        Self { store, surroundings, root, recent: Mutex::default() }
    }

    fn cluster(&self) -> Result<Arc<Cluster>, Status> {
        self.store.view().cluster().cloned().ok_or_else(|| Status::unavailable("the swarm is being set up; try again"))
    }

    fn limit(&self) -> Result<(), Status> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.surroundings.clock.instant();
        while recent.front().is_some_and(|at| now.saturating_duration_since(*at) > RATE_WINDOW) {
            recent.pop_front();
        }
        if recent.len() >= RATE_MAX {
            return Err(Status::resource_exhausted("too many nodes are joining at once; try again in a few seconds"));
        }
        recent.push_back(now);
        Ok(())
    }

    async fn first(
        &self,
        cluster: &Cluster,
        request: &IssueCertificateRequest,
        peer: Option<Peer>,
    ) -> Result<Caller, Status> {
        let role =
            role_of(cluster, &request.token).ok_or_else(|| Status::invalid_argument(CaError::Token.to_string()))?;
        if role == NodeRole::Manager && !request.unable_to_manage.is_empty() {
            return Err(Status::failed_precondition(request.unable_to_manage.clone()));
        }
        self.limit()?;
        let node = Caller {
            node_id: self.surroundings.chance.id().into(),
            role,
            cluster_id: cluster.id.to_string(),
            addr: peer.filter(|peer| peer.caller.is_none()).and_then(|peer| peer.addr),
        };
        let object = new_node(&node, request.availability());
        self.store.propose(vec![create(object)]).await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(node)
    }

    fn renewal(&self, cluster: &Cluster, caller: &Caller) -> Result<Caller, Status> {
        let view = self.store.view();
        let node = view.nodes().get(caller.node_id.as_str());
        let node = node.ok_or_else(|| Status::permission_denied("this node was removed from the swarm"))?;
        Ok(Caller { role: node.role, cluster_id: cluster.id.to_string(), ..caller.clone() })
    }
}

#[tonic::async_trait]
impl Ca for CaService {
    async fn get_root_ca(&self, _request: Request<GetRootCaRequest>) -> Result<Response<GetRootCaResponse>, Status> {
        Ok(Response::new(GetRootCaResponse { cert_pem: self.root.clone() }))
    }

    async fn issue_certificate(
        &self,
        request: Request<IssueCertificateRequest>,
    ) -> Result<Response<IssueCertificateResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let peer = request.extensions().get::<Peer>().cloned();
        let request = request.into_inner();
        let cluster = self.cluster()?;
        let csr = std::str::from_utf8(&request.csr_pem)
            .map_err(|_| Status::invalid_argument("the certificate request is not PEM"))?;
        // Before a node object is made for it.
        rcgen::CertificateSigningRequestParams::from_pem(csr)
            .map_err(|error| Status::invalid_argument(format!("the certificate request is not valid: {error}")))?;
        let node = match caller {
            Some(caller) if request.token.is_empty() => self.renewal(&cluster, &caller)?,
            _ => self.first(&cluster, &request, peer).await?,
        };
        let chain = sign(&cluster, csr, &node, self.surroundings.clock.now())
            .map_err(|error| Status::internal(error.to_string()))?;
        tracing::info!(node = %node.node_id, role = node.role.as_str_name(), "issued a certificate");
        Ok(Response::new(IssueCertificateResponse {
            node_id: node.node_id.into(),
            role: node.role.into(),
            cert_chain_pem: chain.into_bytes(),
            cluster_id: node.cluster_id,
        }))
    }
}

/// A node as it is before it first reports.
pub(crate) fn new_node(node: &Caller, availability: NodeAvailability) -> Node {
    Node {
        id: node.node_id.as_str().into(),
        spec: NodeSpec { desired_role: node.role, availability, ..NodeSpec::default() },
        role: node.role,
        status: NodeStatus {
            addr: node.addr.map(|addr| addr.ip().to_string()).unwrap_or_default(),
            ..NodeStatus::default()
        },
        ..Node::default()
    }
}

fn sign(cluster: &Cluster, csr: &str, node: &Caller, now: SystemTime) -> Result<String, CaError> {
    let root = cluster.root_ca.as_ref();
    let pem = |bytes: Option<&Vec<u8>>| {
        String::from_utf8(bytes.cloned().unwrap_or_default())
            .map_err(|_| CaError::Malformed { what: "the root certificate" })
    };
    let root = RootKey { cert_pem: pem(root.map(|r| &r.cert_pem))?, key_pem: pem(root.map(|r| &r.key_pem))? };
    sign_node(&root, csr, node, node_validity(cluster), now)
}

/// Compares with both tokens always, so that the time tells nothing.
fn role_of(cluster: &Cluster, token: &str) -> Option<NodeRole> {
    let given = JoinToken::parse(token).ok()?;
    let tokens = cluster.root_ca.as_ref()?.join_tokens.as_ref()?;
    let (worker, manager) = (given.matches(&tokens.worker), given.matches(&tokens.manager));
    match (worker, manager) {
        (_, true) => Some(NodeRole::Manager),
        (true, false) => Some(NodeRole::Worker),
        _ => None,
    }
}

/// A new certificate for a manager, signed with the root key that every manager has in its state: the way back where no
/// other manager can be reached because certificates have expired. Nobody gains by it who could read that state.
///
/// # Errors
/// If the state has no authority, or not this node as a manager.
pub(crate) fn issue_own(view: &View, node_id: &str, now: SystemTime) -> Result<(NodeKey, Vec<u8>), CaError> {
    let refused = |reason: &str| CaError::Refused(Error::conflict(reason));
    let cluster = view.cluster().ok_or_else(|| refused("this manager has never known the swarm's state"))?;
    let is_manager = view.nodes().get(node_id).is_some_and(|node| node.role == NodeRole::Manager);
    if !is_manager || cluster.blacklisted_nodes.contains_key(node_id) {
        return Err(refused("this node is not a manager in the state that it knows"));
    }
    let own =
        Caller { node_id: node_id.into(), role: NodeRole::Manager, cluster_id: cluster.id.to_string(), addr: None };
    let key = NodeKey::generate()?;
    let chain = sign(cluster, &key.request_pem, &own, now)?;
    Ok((key, chain.into_bytes()))
}

/// The authority of a new swarm with its tokens.
pub(crate) fn new_authority(now: SystemTime) -> Result<crate::api::RootCa, CaError> {
    let root = new_root(now)?;
    let digest = super::digest_of(root.cert_pem.as_bytes())?;
    let token = || JoinToken { digest: digest.clone(), secret: super::new_secret() }.to_string();
    Ok(crate::api::RootCa {
        cert_pem: root.cert_pem.into_bytes(),
        key_pem: root.key_pem.into_bytes(),
        cert_digest: digest.clone(),
        join_tokens: Some(crate::api::JoinTokens { worker: token(), manager: token() }),
    })
}

/// The time (seconds since the epoch) until which a removed node's certificate must be refused.
pub(crate) fn refuse_until(cluster: &Cluster, now_ns: i64) -> i64 {
    now_ns.saturating_add(duration::nanoseconds(node_validity(cluster))) / duration::SECOND_NS
}

fn node_validity(cluster: &Cluster) -> Duration {
    duration::given(cluster.spec.node_cert_expiry_ns).unwrap_or(super::NODE_VALIDITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{StoreAction, StoreTransaction};
    use crate::ca::validity;

    fn view(role: NodeRole, removed: bool) -> View {
        let now = SystemTime::now();
        let blacklisted_nodes = removed.then(|| ("n".into(), i64::MAX)).into_iter().collect();
        let cluster = Cluster {
            id: "c".into(),
            root_ca: Some(new_authority(now).unwrap()),
            blacklisted_nodes,
            ..Cluster::default()
        };
        let node = Node { id: "n".into(), role, ..Node::default() };
        let actions: Vec<StoreAction> = vec![create(cluster), create(node)];
        let mut view = View::default();
        view.apply(&StoreTransaction { actions, time_ns: 1 }, 1).unwrap();
        view
    }

    #[test]
    fn only_a_manager_of_the_state_that_it_holds_signs_for_itself() {
        let now = SystemTime::now() + Duration::from_secs(1 << 30);
        let (_, chain) = issue_own(&view(NodeRole::Manager, false), "n", now).unwrap();
        assert!(validity(&chain).unwrap().contains(&now));
        for (view, node) in [
            (View::default(), "n"),
            (view(NodeRole::Manager, false), "other"),
            (view(NodeRole::Worker, false), "n"),
            (view(NodeRole::Manager, true), "n"),
        ] {
            assert!(matches!(issue_own(&view, node, now), Err(CaError::Refused(_))), "{node}");
        }
    }
}
