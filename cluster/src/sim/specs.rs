//! Services for simulated swarms.

use crate::model::{Annotations, ContainerSpec, Mode, NetworkAttachmentSpec, PortConfig, ServiceSpec, TaskSpec};

/// So many containers of an image, named "web".
pub fn replicated(replicas: u64, image: &str) -> ServiceSpec {
    ServiceSpec {
        annotations: Annotations { name: "web".into(), ..Annotations::default() },
        task: TaskSpec {
            container: ContainerSpec { image: image.into(), ..ContainerSpec::default() },
            ..TaskSpec::default()
        },
        mode: Mode::Replicated(replicas),
        ..ServiceSpec::default()
    }
}

/// Another number of replicas.
pub fn scale(replicas: u64) -> impl Fn(&mut ServiceSpec) {
    move |spec| spec.mode = Mode::Replicated(replicas)
}

/// Another image.
pub fn image(name: &'static str) -> impl Fn(&mut ServiceSpec) {
    move |spec| name.clone_into(&mut spec.task.container.image)
}

/// The same on a network.
pub fn on_network(mut spec: ServiceSpec, network: &str) -> ServiceSpec {
    let attachment = NetworkAttachmentSpec { target: network.into(), ..NetworkAttachmentSpec::default() };
    spec.task.networks.push(attachment);
    spec
}

/// The same with its port 80 published; 0: on any.
pub fn published(mut spec: ServiceSpec, port: u32) -> ServiceSpec {
    spec.endpoint.ports.push(PortConfig { target_port: 80, published_port: port, ..PortConfig::default() });
    spec
}
