//! Runs a container, a program in it at a terminal, reads its log, and makes a service: all of it from async code.
//!
//! `container IMAGE ROOT RUN_ROOT CGROUP_PARENT`, as root, on a node that has the image; the service only on a manager.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt as _;
use skep_engine::containers::{CreateContainer, RemoveContainer};
use skep_engine::docker::create::{Config, CreateRequest, HostConfig};
use skep_engine::docker::service::{ContainerSpec, ServiceSpec, TaskSpec};
use skep_engine::services::image::Pinning;
use skep_engine::{Engine, Result};
use skep_image::PullOptions;
use skep_runtime::{Attach, ExecOptions, Input, LogOptions, Output, Roots};

fn main() -> ExitCode {
    // This program is the shim of the containers that it starts, too: nothing may come before.
    if let Some(code) = skep_runtime::dispatch() {
        return ExitCode::from(code as u8);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [image, root, run_root, cgroup_parent] = words.as_slice() else {
        eprintln!("usage: container IMAGE ROOT RUN_ROOT CGROUP_PARENT");
        return ExitCode::from(2);
    };
    let roots = Roots { root: root.into(), run_root: run_root.into(), cgroup_parent: cgroup_parent.clone() };
    let done = tokio::runtime::Runtime::new().map(|runtime| runtime.block_on(run(&Engine::new(roots), image)));
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{}", skep_engine::error::chain_of(&error));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(engine: &Engine, image: &str) -> Result<()> {
    let config = Config {
        image: image.to_owned(),
        cmd: Some(["sh", "-c", "echo the log begins; sleep 1000"].map(str::to_owned).to_vec()),
        ..Config::default()
    };
    let host_config = Some(HostConfig { network_mode: "none".to_owned(), ..HostConfig::default() });
    let body = CreateRequest { config, host_config, ..CreateRequest::default() };
    let id = engine.create_container(CreateContainer { body, ..CreateContainer::default() }).await?.id;
    let shown = show(engine, &id).await;
    engine.remove_container(&id, RemoveContainer { force: true, volumes: true }).await?;
    shown?;
    if engine.is_in_swarm() { serve(engine, image).await } else { Ok(()) }
}

async fn serve(engine: &Engine, image: &str) -> Result<()> {
    let container = ContainerSpec {
        image: Some(image.to_owned()),
        command: Some(["sleep", "1000"].map(str::to_owned).to_vec()),
        ..ContainerSpec::default()
    };
    let task_template = TaskSpec { container_spec: Some(container), ..TaskSpec::default() };
    let spec = ServiceSpec { name: Some("example".to_owned()), task_template, ..ServiceSpec::default() };
    let registries = PullOptions::default();
    let service = engine
        .swarm()
        .await?
        .create_service(&spec, &registries, Pinning { no_resolve: true, with_auth: false })
        .await?;
    println!("service {}", service.id);
    Ok(())
}

async fn show(engine: &Engine, id: &str) -> Result<()> {
    let attach = Attach { stdin: false, stdout: true, stderr: true };
    engine.start_attached(id, attach).await?;
    let options = ExecOptions {
        args: ["sh", "-c", "stty size; read line; echo it says $line"].map(str::to_owned).to_vec(),
        tty: true,
        terminal_size: Some((40, 120)),
        stdin: true,
        ..ExecOptions::default()
    };
    let mut session = engine.exec(id, options).await?;
    session.input().send(Input::Stdin(b"hello\n")).await?;
    while let Some(output) = session.next().await? {
        match output {
            Output::Stdout(bytes) | Output::Stderr(bytes) => print!("{}", String::from_utf8_lossy(&bytes)),
            Output::Ended(code) => println!("the program ended with {code}"),
        }
    }
    let mut log = Box::pin(engine.logs(id, LogOptions { follow: true, ..LogOptions::default() }).await?);
    if let Ok(Some(entry)) = tokio::time::timeout(Duration::from_secs(30), log.next()).await {
        print!("{}", String::from_utf8_lossy(&entry?.line));
    }
    Ok(())
}
