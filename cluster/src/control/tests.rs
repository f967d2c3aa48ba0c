//! Every refusal is of the kind on which its callers branch, and still is behind the wire.

use skep_common::ErrorKind::{
    BadArgument, Conflict, Forbidden, InUse, NoQuorum, NotFound, NotSupported, OutOfSequence, Timeout,
};
use tonic::{Request, Status};

use super::*;
use crate::api::{
    Annotations, Attachment, Cluster, ClusterSpec, ContainerSpec, EndpointSpec, GlobalService, IpamConfig, Network,
    NetworkAttachmentSpec, NetworkSpec, Node, NodeDescription, NodeSpec, NodeState, NodeStatus, Placement, PortConfig,
    PublishMode, ReplicatedService, Service, ServiceSpec, TaskSpec, object, service_spec,
};
use crate::store::{ApplyError, MemoryStore, create};

fn annotations(name: &str) -> Option<Annotations> {
    Some(Annotations { name: name.into(), ..Annotations::default() })
}

fn service(name: &str, networks: &[&str]) -> ServiceSpec {
    let container = ContainerSpec { image: "busybox".into(), ..ContainerSpec::default() };
    let networks =
        networks.iter().map(|target| NetworkAttachmentSpec { target: (*target).into(), ..Default::default() });
    ServiceSpec {
        annotations: annotations(name),
        task: Some(TaskSpec { container: Some(container), networks: networks.collect(), ..TaskSpec::default() }),
        mode: Some(service_spec::Mode::Replicated(ReplicatedService { replicas: 1 })),
        ..ServiceSpec::default()
    }
}

fn network(name: &str) -> NetworkSpec {
    NetworkSpec { annotations: annotations(name), ..NetworkSpec::default() }
}

/// A manager that is down, a worker that is ready, services `web` (on `back`) and `old`, networks `back` and `front`.
async fn control() -> (ControlService, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let node = |id: &str, role: i32, state: NodeState| {
        object::Object::Node(Node {
            id: id.into(),
            spec: Some(NodeSpec { desired_role: role, ..NodeSpec::default() }),
            role,
            status: Some(NodeStatus { state: state.into(), ..NodeStatus::default() }),
            description: Some(NodeDescription { hostname: format!("host-{id}"), ..NodeDescription::default() }),
            ..Node::default()
        })
    };
    let of_network = |id: &str, spec: NetworkSpec| {
        let ipam = vec![IpamConfig { subnet: "10.9.0.0/24".into(), ..IpamConfig::default() }];
        object::Object::Network(Network { id: id.into(), spec: Some(spec), ipam, vni: 1, ..Network::default() })
    };
    let of_service = |id: &str, spec: ServiceSpec| {
        object::Object::Service(Service { id: id.into(), spec: Some(spec), ..Service::default() })
    };
    let mut published = service("published", &[]);
    let port = PortConfig { target_port: 80, published_port: 80, ..PortConfig::default() };
    assert_eq!(port.publish_mode(), PublishMode::Ingress);
    published.endpoint = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
    let attachment = Attachment { id: "a1".into(), network_id: "net2".into(), ..Attachment::default() };
    let objects = [
        object::Object::Cluster(Cluster { id: "c".into(), ..Cluster::default() }),
        node("m1", 1, NodeState::Down),
        node("w1", 0, NodeState::Ready),
        of_network("net1", network("back")),
        of_network("net2", NetworkSpec { attachable: true, ..network("front") }),
        of_network("net3", NetworkSpec { ingress: true, ..network("ingress") }),
        of_service("svc1", service("web", &["net1"])),
        of_service("svc2", service("old", &[])),
        of_service("svc3", published),
        object::Object::Attachment(attachment),
    ];
    store.propose(objects.into_iter().map(create).collect()).await.unwrap();
    let stop = CancellationToken::new();
    let logs = LogBroker::new(store.clone(), Surroundings::system(), stop.clone());
    (ControlService::new(store.clone(), None, logs, Timing::scaled(0.01), Surroundings::system(), stop), store)
}

/// The kind with which the call is refused, as it is read behind the wire.
fn kind<T>(answer: Result<T, Error>) -> Option<ErrorKind> {
    let status = Status::from(answer.err()?);
    let response: tonic::codegen::http::Response<tonic::body::Body> = status.into_http();
    Some(Error::from(Status::from_header_map(response.headers()).unwrap()).kind())
}

#[tokio::test]
async fn refusals_about_services_are_of_the_right_kind() {
    let (control, store) = control().await;
    let stored = store.view().services()["svc1"].clone();
    let (now, unchanged) = (stored.meta.version, ServiceSpec::from(stored.spec.clone()));
    let create = async |spec: Option<ServiceSpec>| {
        kind(control.create_service(Request::new(CreateServiceRequest { spec })).await)
    };
    let changed = |change: &dyn Fn(&mut ServiceSpec)| {
        let mut spec = service("new", &[]);
        change(&mut spec);
        Some(spec)
    };
    for (spec, expected) in [
        (None, BadArgument),
        (changed(&|spec| spec.annotations = annotations("-")), BadArgument),
        (changed(&|spec| spec.task = None), BadArgument),
        (changed(&|spec| spec.mode = None), BadArgument),
        (
            changed(&|spec| spec.endpoint = Some(store.view().services()["svc3"].spec.endpoint.clone().into())),
            BadArgument,
        ),
        (
            changed(&|spec| {
                let placement = Placement { constraints: vec!["node.id".into()], ..Placement::default() };
                spec.task.as_mut().unwrap().placement = Some(placement);
            }),
            BadArgument,
        ),
        (Some(service("web", &[])), Conflict),
        (Some(service("new", &["nowhere"])), NotFound),
        (Some(service("new", &["ingress"])), BadArgument),
    ] {
        assert_eq!(create(spec.clone()).await, Some(expected), "{spec:?}");
    }
    let update = async |reference: &str, version, spec: Option<ServiceSpec>, rollback| {
        let request = UpdateServiceRequest { r#ref: reference.into(), version, spec, rollback };
        kind(control.update_service(Request::new(request)).await)
    };
    let global = ServiceSpec { mode: Some(service_spec::Mode::Global(GlobalService {})), ..unchanged.clone() };
    let renamed = ServiceSpec { annotations: annotations("other"), ..unchanged.clone() };
    for (reference, at, spec, rollback, expected) in [
        ("nothing", now, None, false, NotFound),
        ("", now, None, false, BadArgument),
        ("svc", now, None, false, BadArgument),
        ("web", now + 1, Some(unchanged.clone()), false, OutOfSequence),
        ("web", now, None, false, BadArgument),
        ("web", now, Some(global), false, NotSupported),
        ("web", now, Some(renamed), false, NotSupported),
        ("web", now, None, true, Conflict),
    ] {
        assert_eq!(update(reference, at, spec, rollback).await, Some(expected), "{reference} {rollback}");
    }
    let r#ref = || "nothing".to_owned();
    assert_eq!(kind(control.get_service(Request::new(GetServiceRequest { r#ref: r#ref() })).await), Some(NotFound));
    assert_eq!(kind(control.get_task(Request::new(GetTaskRequest { r#ref: r#ref() })).await), Some(NotFound));
    assert_eq!(kind(control.watch_service(WatchServiceRequest { r#ref: r#ref() }).await), Some(NotFound));
    let logs = |reference: &str| ServiceLogsRequest { r#ref: reference.into(), ..ServiceLogsRequest::default() };
    assert_eq!(kind(control.service_logs(logs("nothing")).await), Some(NotFound));
    assert_eq!(kind(control.service_logs(logs("svc")).await), Some(BadArgument));
    let request = Request::new(RemoveServiceRequest { r#ref: r#ref() });
    assert_eq!(kind(control.remove_service(request).await), Some(NotFound));
}

#[tokio::test]
async fn refusals_about_networks_are_of_the_right_kind() {
    let (control, _) = control().await;
    let pool = IpamConfig { subnet: "10.9.0.0/28".into(), ..IpamConfig::default() };
    let encrypted = [("encrypted".to_owned(), String::new())].into();
    for (spec, expected) in [
        (None, BadArgument),
        (Some(network("a b")), BadArgument),
        (Some(NetworkSpec { driver: "bridge".into(), ..network("new") }), BadArgument),
        (Some(NetworkSpec { driver_options: encrypted, ..network("new") }), BadArgument),
        (Some(NetworkSpec { ipam: vec![pool], ..network("new") }), Conflict),
        (Some(NetworkSpec { ingress: true, ..network("new") }), Conflict),
        (Some(network("back")), Conflict),
        (Some(network("host")), Forbidden),
    ] {
        let request = Request::new(CreateNetworkRequest { spec: spec.clone() });
        assert_eq!(kind(control.create_network(request).await), Some(expected), "{spec:?}");
    }
    for (reference, expected) in
        [("nothing", NotFound), ("net", BadArgument), ("back", InUse), ("front", InUse), ("ingress", InUse)]
    {
        let request = Request::new(RemoveNetworkRequest { r#ref: reference.into() });
        assert_eq!(kind(control.remove_network(request).await), Some(expected), "{reference}");
    }
    let request = Request::new(GetNetworkRequest { r#ref: "nothing".into() });
    assert_eq!(kind(control.get_network(request).await), Some(NotFound));
    // No allocator runs here: no address comes.
    for (reference, expected) in [("nothing", NotFound), ("back", Forbidden), ("front", Timeout)] {
        let request = CreateAttachmentRequest { network_ref: reference.into(), ..CreateAttachmentRequest::default() };
        assert_eq!(kind(control.create_attachment(Request::new(request)).await), Some(expected), "{reference}");
    }
    let caller = crate::wire::Caller {
        node_id: "w1".into(),
        role: crate::api::NodeRole::Worker,
        cluster_id: "c".into(),
        addr: None,
    };
    let mut request =
        Request::new(CreateAttachmentRequest { node_id: "m1".into(), ..CreateAttachmentRequest::default() });
    request.extensions_mut().insert(caller);
    assert_eq!(kind(control.create_attachment(request).await), Some(Forbidden));
}

#[tokio::test]
async fn refusals_about_nodes_and_the_swarm_are_of_the_right_kind() {
    let (control, store) = control().await;
    let now = store.view().nodes()["m1"].meta.version;
    let worker = Some(NodeSpec { desired_role: 0, ..NodeSpec::default() });
    for (reference, at, spec, expected) in [
        ("host-m1", now, None, BadArgument),
        ("nothing", now, worker.clone(), NotFound),
        ("host-m1", now + 1, worker.clone(), OutOfSequence),
        ("host-m1", now, worker, Conflict),
    ] {
        let request = UpdateNodeRequest { r#ref: reference.into(), version: at, spec };
        assert_eq!(kind(control.update_node(Request::new(request)).await), Some(expected), "{reference} {at}");
    }
    for (reference, expected) in [("nothing", NotFound), ("w1", Conflict)] {
        let request = RemoveNodeRequest { r#ref: reference.into(), force: false };
        assert_eq!(kind(control.remove_node(Request::new(request)).await), Some(expected), "{reference}");
    }
    assert_eq!(kind(control.get_node(Request::new(GetNodeRequest { r#ref: "x".into() })).await), Some(NotFound));
    let at = store.view().cluster().unwrap().meta.version;
    let spec = |expiry, heartbeat| {
        Some(ClusterSpec { node_cert_expiry_ns: expiry, dispatcher_heartbeat_ns: heartbeat, ..ClusterSpec::default() })
    };
    for (version, spec, expected) in
        [(at, spec(1, 0), BadArgument), (at, spec(0, -1), BadArgument), (at + 1, spec(0, 0), OutOfSequence)]
    {
        let request = UpdateClusterRequest { version, spec, ..UpdateClusterRequest::default() };
        assert_eq!(kind(control.update_cluster(Request::new(request)).await), Some(expected));
    }
}

#[test]
fn refusals_of_the_store_are_of_the_right_kind() {
    let gone = ApplyError::NotFound { kind: "service", id: "s".into() };
    for (error, expected, words) in [
        (ProposeError::Conflict(gone), OutOfSequence, "update out of sequence: service s not found"),
        (ProposeError::TooLarge { bytes: 5 }, BadArgument, "a change of 5 bytes is too large"),
        (ProposeError::NoQuorum, NoQuorum, "The swarm does not have a leader."),
        (ProposeError::NotLeader { leader: None }, NoQuorum, "The swarm does not have a leader."),
        (ProposeError::Stopped("disk".into()), NoQuorum, "The swarm does not have a leader."),
    ] {
        let refused = refusal(&error);
        assert_eq!(refused.kind(), expected, "{error}");
        assert!(refused.message().starts_with(words), "{refused}");
    }
}
