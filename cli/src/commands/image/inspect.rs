//! `image inspect`.

use anyhow::Result;
use serde_json::{Value, json};
use skep_image::{Image, Reference};
use skep_runtime::Runtime;

use crate::args::image::Inspect;
use crate::context::Node;
use crate::failure;
use crate::format::{human, output};

/// `image inspect`
pub fn run(node: &Node, args: &Inspect) -> Result<i32> {
    let runtime = node.runtime()?;
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.images {
        match object(&runtime, name) {
            Ok(image) => found.push(image),
            Err(error) => {
                eprintln!("{}", failure::describe(&error).message);
                code = 1;
            }
        }
    }
    output::inspect(&found, args.format.as_deref())?;
    Ok(code)
}

/// One image, in docker's shape.
pub fn object(runtime: &Runtime, name: &str) -> Result<Value> {
    Ok(shape(&runtime.images().resolve(name)?))
}

fn shape(image: &Image) -> Value {
    let config = &image.config;
    let set = |names: &[String]| -> Value {
        match names.is_empty() {
            true => Value::Null,
            false => names.iter().map(|name| (name.clone(), json!({}))).collect::<serde_json::Map<_, _>>().into(),
        }
    };
    let list = |words: &[String]| if words.is_empty() { Value::Null } else { json!(words) };
    let tags: Vec<String> =
        image.references.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
    let digests: Vec<String> = image
        .repo_digests
        .iter()
        .filter_map(|name| name.digest().map(|digest| format!("{}@{digest}", name.familiar_name())))
        .collect();
    let health = config.healthcheck.as_ref().map(|check| {
        json!({
            "Test": check.test,
            "Interval": check.interval_ns,
            "Timeout": check.timeout_ns,
            "StartPeriod": check.start_period_ns,
            "StartInterval": check.start_interval_ns,
            "Retries": check.retries,
        })
    });
    let layers: Vec<String> = image.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": "",
        "Created": human::rfc3339(image.created),
        "DockerVersion": "",
        "Author": image.author.clone().unwrap_or_default(),
        "Config": {
            "User": config.user,
            "ExposedPorts": set(&config.exposed_ports),
            "Env": list(&config.env),
            "Cmd": list(&config.cmd),
            "Healthcheck": health,
            "Volumes": set(&config.volumes),
            "WorkingDir": config.working_dir,
            "Entrypoint": list(&config.entrypoint),
            "Labels": config.labels,
            "StopSignal": config.stop_signal,
            "Shell": list(&config.shell),
        },
        "Architecture": image.architecture,
        "Variant": image.variant.clone().unwrap_or_default(),
        "Os": image.os,
        "Size": image.size,
        "GraphDriver": {"Name": "overlay", "Data": null},
        "RootFS": {"Type": "layers", "Layers": layers},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": {"digest": image.manifest.as_ref().map(ToString::to_string)},
    })
}
