//! Who is not let in, and how that is said.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use http_body_util::StreamBody;
use skep_cluster::Error;
use skep_cluster::api::ca_client::CaClient;
use skep_cluster::api::control_client::ControlClient;
use skep_cluster::api::dispatcher_client::DispatcherClient;
use skep_cluster::api::raft_client::RaftClient;
use skep_cluster::api::raft_membership_client::RaftMembershipClient;
use skep_cluster::api::{
    CreateAttachmentRequest, GetRootCaRequest, HeartbeatRequest, IssueCertificateRequest, JoinRaftRequest,
    ListNodesRequest, NodeRole, RaftMessage, RemoveNodeRequest, TakeOverRequest,
};
use skep_cluster::ca::{NODE_VALIDITY, NodeKey, RootKey, new_root, sign_node};
use skep_cluster::surroundings::Surroundings;
use skep_cluster::timing::Timing;
use skep_cluster::wire::{Caller, Credentials, Peers, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tower::ServiceExt;

use crate::lab::{TestNode, eventually, is_ready, set_role};

/// A connection that shows the certificate in a node's files.
fn as_node(node: &TestNode, to: &TestNode) -> Channel {
    let certificates = node.root().join("swarm/certificates");
    let pem = std::fs::read(certificates.join("node.pem")).unwrap();
    let root = std::fs::read(certificates.join("root-ca.crt")).unwrap();
    let tls = Tls::new(Credentials::from_pem(&root, &pem, &pem, &Surroundings::system().clock).unwrap());
    Peers::new(Arc::new(tls), Timing::default(), Surroundings::system().clock).channel(&to.addr).unwrap()
}

/// A connection that shows a certificate of `root` for `caller`, while the server is expected to be of `trusted`.
fn forged(root: &RootKey, trusted: &[u8], caller: &Caller, to: &TestNode) -> Channel {
    let key = NodeKey::generate().unwrap();
    let chain = sign_node(root, &key.request_pem, caller, NODE_VALIDITY, SystemTime::now()).unwrap();
    let mut roots = trusted.to_vec();
    roots.extend_from_slice(root.cert_pem.as_bytes());
    let tls = Tls::new(
        Credentials::from_pem(&roots, chain.as_bytes(), key.key_pem.as_bytes(), &Surroundings::system().clock).unwrap(),
    );
    Peers::new(Arc::new(tls), Timing::default(), Surroundings::system().clock).channel(&to.addr).unwrap()
}

/// What a user would be told.
fn words(refused: &Status) -> String {
    Error::from(refused.clone()).message().to_owned()
}

async fn codes(channel: Channel) -> [Code; 6] {
    let code = |result: Result<(), tonic::Status>| result.map_or_else(|status| status.code(), |()| Code::Ok);
    let raft = RaftMessage { payload: b"{}".to_vec(), to: 1 };
    [
        code(CaClient::new(channel.clone()).get_root_ca(GetRootCaRequest {}).await.map(drop)),
        code(
            DispatcherClient::new(channel.clone())
                .heartbeat(HeartbeatRequest { session_id: "none".into() })
                .await
                .map(drop),
        ),
        code(ControlClient::new(channel.clone()).list_nodes(ListNodesRequest {}).await.map(drop)),
        code(RaftClient::new(channel.clone()).vote(raft).await.map(drop)),
        code(
            RaftMembershipClient::new(channel.clone())
                .join_raft(JoinRaftRequest { raft_id: 7, addr: "127.0.0.1:1".into() })
                .await
                .map(drop),
        ),
        code(RaftMembershipClient::new(channel).take_over(TakeOverRequest {}).await.map(drop)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_call_is_checked_against_the_certificate() {
    let manager = TestNode::start("m1");
    manager.init().await;
    let (token, _) = manager.tokens().await;
    let mut worker = TestNode::start("w1");
    worker.join(&token, &manager).await.unwrap();

    let trusted = std::fs::read(manager.root().join("swarm/certificates/root-ca.crt")).unwrap();
    let nobody = skep_cluster::wire::pinned_client(&trusted, &Surroundings::system().clock).unwrap();
    let nobody =
        skep_cluster::wire::channel_with(&manager.addr, Timing::default(), &Surroundings::system().clock, nobody)
            .unwrap();
    let (out, not) = (Code::Unauthenticated, Code::PermissionDenied);
    assert_eq!(codes(nobody.clone()).await, [Code::Ok, out, out, out, out, out]);

    let [ca, heartbeat, rest @ ..] = codes(as_node(&worker, &manager)).await;
    assert_eq!((ca, rest), (Code::Ok, [not; 4]));
    // It gets as far as the dispatcher, which does not know the session.
    assert!(heartbeat != out && heartbeat != not && heartbeat != Code::Unavailable, "{heartbeat:?}");

    // Nobody but a manager speaks for others.
    let mut request = Request::new(ListNodesRequest {});
    request.metadata_mut().insert("skep-caller", "someone 1 swarm -".parse().unwrap());
    let refused = ControlClient::new(as_node(&worker, &manager)).list_nodes(request).await.unwrap_err();
    assert_eq!(words(&refused), "only managers may speak for other nodes");
    let attach = CreateAttachmentRequest { node_id: manager.id().await, ..CreateAttachmentRequest::default() };
    let refused = ControlClient::new(as_node(&worker, &manager)).create_attachment(attach).await.unwrap_err();
    assert_eq!(refused.code(), not);

    let foreign = new_root(SystemTime::now()).unwrap();
    let caller =
        Caller { node_id: manager.id().await.into(), role: NodeRole::Manager, cluster_id: "swarm".into(), addr: None };
    let [first, ..] = codes(forged(&foreign, &trusted, &caller, &manager)).await;
    // TLS 1.3 tells the client only after it believes to be connected: gRPC may find the connection closed first.
    assert!(matches!(first, Code::Unavailable | Code::Cancelled | Code::Unknown), "no connection at all: {first:?}");

    let id = worker.id().await;
    let channel = as_node(&worker, &manager);
    worker.stop().await.unwrap();
    let remove = RemoveNodeRequest { r#ref: id.clone(), force: true };
    manager.client().await.remove_node(remove).await.unwrap();
    assert_eq!(codes(channel.clone()).await, [not; 6]);
    let refused = CaClient::new(channel).get_root_ca(GetRootCaRequest {}).await.unwrap_err();
    assert_eq!(words(&refused), format!("node {id} was removed from the swarm"));
}

/// What a node that knows how to pass requests on might ask in the name of another manager.
async fn speaks_for(other: &str, channel: &Channel) -> [String; 2] {
    let name: tonic::metadata::MetadataValue<_> = format!("{other} 1 swarm -").parse().unwrap();
    let mut list = Request::new(ListNodesRequest {});
    list.metadata_mut().insert("skep-caller", name.clone());
    let listed = ControlClient::new(channel.clone()).list_nodes(list).await.map(drop);
    let csr_pem = NodeKey::generate().unwrap().request_pem.into_bytes();
    let mut issue = Request::new(IssueCertificateRequest { csr_pem, ..IssueCertificateRequest::default() });
    issue.metadata_mut().insert("skep-caller", name);
    let issued = CaClient::new(channel.clone()).issue_certificate(issue).await.map(drop);
    [listed, issued].map(|answer| answer.map_or_else(|status| words(&status), |()| "done".into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_longer_a_manager_speaks_for_nobody() {
    let manager = TestNode::start("m1");
    manager.init().await;
    let (_, token) = manager.tokens().await;
    let mut other = TestNode::start("m2");
    other.join(&token, &manager).await.unwrap();
    let (first, second) = (manager.id().await, other.id().await);
    let channel = as_node(&other, &manager);
    assert_eq!(speaks_for(&first, &channel).await, ["done", "done"]);

    // The channel goes on showing the certificate of a manager.
    set_role(&manager, &second, NodeRole::Worker).await.unwrap();
    eventually("it is a worker", || async { manager.node(&second).await.filter(|n| n.role() == NodeRole::Worker) })
        .await;
    let refused = speaks_for(&first, &channel).await;
    assert!(refused.iter().all(|words| words.ends_with("may be called by managers only")), "{refused:?}");

    other.stop().await.unwrap();
    let remove = RemoveNodeRequest { r#ref: second.clone(), force: true };
    manager.client().await.remove_node(remove).await.unwrap();
    let words = format!("node {second} was removed from the swarm");
    assert_eq!(speaks_for(&first, &channel).await, [words.clone(), words]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_a_request_is_short_and_sent_at_once() {
    let manager = TestNode::start("m1");
    manager.init().await;
    let trusted = std::fs::read(manager.root().join("swarm/certificates/root-ca.crt")).unwrap();
    let nobody = skep_cluster::wire::pinned_client(&trusted, &Surroundings::system().clock).unwrap();
    let nobody =
        skep_cluster::wire::channel_with(&manager.addr, Timing::default(), &Surroundings::system().clock, nobody)
            .unwrap();
    let issue = IssueCertificateRequest { csr_pem: vec![b'x'; 100 << 10], ..IssueCertificateRequest::default() };
    let refused = CaClient::new(nobody.clone()).issue_certificate(issue).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");

    for method in ["GetRootCa", "IssueCertificate"] {
        let frames = futures::stream::pending::<Result<_, Infallible>>();
        let endless = tonic::body::Body::new(StreamBody::new(frames));
        let uri = format!("https://{}/skep.v1.Ca/{method}", manager.addr);
        let request = tonic::codegen::http::Request::post(uri).header("content-type", "application/grpc");
        let answer = nobody.clone().oneshot(request.body(endless).unwrap()).await.unwrap();
        assert_eq!(Status::from_header_map(answer.headers()).unwrap().code(), Code::DeadlineExceeded);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_refused_and_leave_nothing() {
    let manager = TestNode::start("m1");
    manager.init().await;
    let (token, _) = manager.tokens().await;
    let node = TestNode::start("n1");
    let (head, secret) = token.rsplit_once('-').unwrap();
    let other_secret: String = secret.chars().rev().collect();
    let digest = head.rsplit_once('-').unwrap().1;
    let other_digest: String = digest.chars().rev().collect();
    for (bad, words) in [
        ("SWMTKN-1-x-y".to_owned(), "invalid join token".to_owned()),
        (token[..token.len() - 1].to_owned(), "invalid join token".to_owned()),
        (format!("{head}-{other_secret}"), "invalid join token".to_owned()),
        (
            token.replace(digest, &other_digest),
            format!("remote CA does not match fingerprint. Expected: {other_digest}"),
        ),
    ] {
        let refused = node.join(&bad, &manager).await.unwrap_err();
        assert_eq!(refused.message(), words);
        assert!(!node.root().join("swarm").exists() && !node.root().join("swarm.new").exists());
    }
    assert_eq!(manager.nodes().await.unwrap().len(), 1, "a refused join makes no node");

    // Rotated tokens end the old ones; the node can still join afterwards.
    let rotate = skep_cluster::api::UpdateClusterRequest { rotate_worker_token: true, ..Default::default() };
    manager.client().await.update_cluster(rotate).await.unwrap();
    let refused = node.join(&token, &manager).await.unwrap_err();
    assert_eq!(refused.message(), "invalid join token");
    let (token, _) = manager.tokens().await;
    node.join(&token, &manager).await.unwrap();
    let id = node.id().await;
    eventually("the node is ready", || async { manager.node(&id).await.filter(is_ready) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_listen_joins_as_a_worker_only_and_leaves_nothing() {
    let manager = TestNode::start("m1");
    manager.init().await;
    let (worker, token) = manager.tokens().await;
    let node = TestNode::start("n1");
    let taken = TcpListener::bind(&node.addr).await.unwrap();
    let refused = node.join(&token, &manager).await.unwrap_err();
    assert!(refused.message().starts_with(&format!("cannot listen on {}", node.addr)), "{refused:?}");
    assert_eq!(manager.nodes().await.unwrap().len(), 1, "a refused join makes no node");
    assert_eq!(node.join(&worker, &manager).await.unwrap(), NodeRole::Worker);
    drop(taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_gets_an_alert_and_an_unreachable_manager_is_named() {
    let manager = TestNode::start("m1");
    manager.init().await;
    let mut plain = TcpStream::connect(&manager.addr).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    // A TLS alert and nothing else.
    assert_eq!((answer[0], answer.len()), (21, 7), "{answer:?}");
    let (token, _) = manager.tokens().await;
    let node = TestNode::start("n1");
    let absent = TestNode::start("n2");
    let refused = node.join(&token, &absent).await.unwrap_err();
    assert!(refused.message().contains(&absent.addr), "{refused:?}");
}
