//! What a docker client posts and a docker engine answers is read and written back unchanged: bodies recorded from
//! docker 20.10 (`fixtures/`), one test for each kind of body.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]
#![allow(clippy::panic)]

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use skep_engine::docker::{container, create, image, info, network, node, service, swarm, task, volume};

/// Objects whose fields docker 20.10 writes in another order than API 1.50, of which skep has its order, or that skep
/// has always written in its own: a field of each by which it is known.
const OTHER_ORDER: [&str; 5] = ["Healthcheck", "HairpinMode", "IPAMConfig", "Hard", "IPRange"];

fn check<T: Serialize + DeserializeOwned>(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let read: T = serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let written = serde_json::to_value(&read).unwrap_or_else(|error| panic!("{name}: {error}"));
    same(name, &body, &written);
}

fn same(place: &str, body: &Value, written: &Value) {
    match (body, written) {
        (Value::Object(body), Value::Object(written)) => {
            let (mut before, mut after): (Vec<&str>, Vec<&str>) =
                (body.keys().map(String::as_str).collect(), written.keys().map(String::as_str).collect());
            if before.iter().any(|key| OTHER_ORDER.contains(key)) {
                before.sort_unstable();
                after.sort_unstable();
            }
            assert_eq!(before, after, "{place}");
            for (key, value) in body {
                same(&format!("{place}.{key}"), value, &written[key]);
            }
        }
        (Value::Array(body), Value::Array(written)) if body.len() == written.len() => {
            for (index, (body, written)) in body.iter().zip(written).enumerate() {
                same(&format!("{place}[{index}]"), body, written);
            }
        }
        _ => assert_eq!(body, written, "{place}"),
    }
}

#[test]
fn containers() {
    for name in ["c1", "c2", "c2-size", "c3", "c4"] {
        check::<container::Container>(&format!("container-inspect-{name}.json"));
    }
    for name in ["container-list.json", "container-list-size.json"] {
        check::<Vec<container::Summary>>(name);
    }
}

#[test]
fn requests_for_containers() {
    for number in 1..=4 {
        check::<create::CreateRequest>(&format!("request-containers-create-{number}.json"));
    }
    check::<create::UpdateRequest>("request-containers-c2-update.json");
}

#[test]
fn images() {
    check::<image::Image>("image-inspect.json");
    check::<Vec<image::Summary>>("image-list.json");
}

#[test]
fn networks() {
    for name in ["app", "bridge", "mynet", "none"] {
        check::<network::Network>(&format!("network-inspect-{name}.json"));
    }
    check::<Vec<network::Network>>("network-list.json");
    for number in 1..=3 {
        check::<network::CreateRequest>(&format!("request-networks-create-{number}.json"));
    }
}

#[test]
fn volumes() {
    check::<volume::Volume>("volume-inspect.json");
    check::<volume::List>("volume-list.json");
    check::<volume::CreateRequest>("request-volumes-create.json");
}

#[test]
fn services() {
    for name in ["s1", "s2", "s3", "j1"] {
        check::<service::Service>(&format!("service-inspect-{name}.json"));
    }
    for name in ["service-list.json", "service-list-status.json"] {
        check::<Vec<service::Service>>(name);
    }
}

#[test]
fn requests_for_services() {
    for number in 1..=4 {
        check::<service::ServiceSpec>(&format!("request-services-create-{number}.json"));
    }
    for number in 1..=3 {
        check::<service::ServiceSpec>(&format!("request-services-ID-update-{number}.json"));
    }
}

#[test]
fn tasks() {
    check::<task::Task>("task-inspect.json");
    check::<Vec<task::Task>>("task-list.json");
}

#[test]
fn nodes() {
    check::<Vec<node::Node>>("node-list.json");
    check::<node::NodeSpec>("request-nodes-ID-update.json");
}

#[test]
fn the_swarm() {
    check::<swarm::Swarm>("swarm-inspect.json");
    check::<swarm::InitRequest>("request-swarm-init.json");
    check::<swarm::SwarmSpec>("request-swarm-update.json");
}

#[test]
fn the_machine() {
    check::<info::Info>("info.json");
    check::<info::Info>("info-swarm.json");
    check::<info::Version>("version.json");
}
