//! `service logs`.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use jiff::Timestamp;
use skep_cluster::api::{
    GetTaskRequest, ListNodesRequest, ListServicesRequest, ListTasksRequest, LogMessage, ServiceLogsRequest, Task,
};
use skep_cluster::client::Client;

use super::name_of;
use crate::args::service::Logs;
use crate::commands::container::logs::tail;
use crate::commands::node::hostname;
use crate::context::{self, Node};
use crate::format::human;
use crate::parse::duration::moment;
use crate::swarm::{self, is_not_found, said};

/// `service logs`
pub fn run(node: &Node, args: &Logs) -> Result<i32> {
    let since = args.since.as_deref().map(|text| moment(text, Timestamp::now())).transpose()?;
    let lines = tail(&args.tail)?;
    context::block_on(async {
        let client = swarm::client(node).await?;
        let request = ServiceLogsRequest {
            r#ref: args.service.clone(),
            follow: args.follow,
            tail: lines.map_or(-1, |lines| i64::try_from(lines).unwrap_or(i64::MAX)),
            since_ns: since.map_or(0, |time| i64::try_from(time.as_nanosecond()).unwrap_or(0)),
            stdout: true,
            stderr: true,
        };
        let mut stream = match client.control().service_logs(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if is_not_found(&status) => anyhow::bail!("no such task or service: {}", args.service),
            Err(status) => return Err(said(status)),
        };
        let mut names = Names::new(&client, args).await?;
        while let Some(answer) = stream.message().await.map_err(said)? {
            for message in answer.messages {
                let prefix = names.prefix(&client, &message).await?;
                if !write(&message, &prefix, args.timestamps)? {
                    return Ok(0);
                }
            }
        }
        Ok(0)
    })
}

/// False when nobody reads any more.
fn write(message: &LogMessage, prefix: &str, timestamps: bool) -> Result<bool> {
    let mut line = prefix.as_bytes().to_vec();
    if timestamps {
        line.splice(0..0, format!("{} ", human::rfc3339(human::timestamp(message.timestamp_ns))).into_bytes());
    }
    line.extend(&message.data);
    if !line.ends_with(b"\n") {
        line.push(b'\n');
    }
    let written = match message.stream {
        2 => std::io::stderr().lock().write_all(&line),
        _ => std::io::stdout().lock().write_all(&line),
    };
    match written {
        Err(failure) if failure.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        result => {
            result?;
            Ok(true)
        }
    }
}

/// Who said a line: `web.1.abc123@node1    | `
struct Names<'a> {
    args: &'a Logs,
    services: BTreeMap<String, String>,
    nodes: BTreeMap<String, String>,
    tasks: BTreeMap<String, Task>,
    width: usize,
}

impl<'a> Names<'a> {
    async fn new(client: &Client, args: &'a Logs) -> Result<Self> {
        let services =
            client.control().list_services(ListServicesRequest {}).await.map_err(said)?.into_inner().services;
        let nodes = client.control().list_nodes(ListNodesRequest {}).await.map_err(said)?.into_inner().nodes;
        let tasks = client.control().list_tasks(ListTasksRequest::default()).await.map_err(said)?.into_inner().tasks;
        Ok(Self {
            args,
            services: services.iter().map(|service| (service.id.clone(), name_of(service).to_owned())).collect(),
            nodes: nodes.iter().map(|node| (node.id.clone(), hostname(node).to_owned())).collect(),
            tasks: tasks.into_iter().map(|task| (task.id.clone(), task)).collect(),
            width: 0,
        })
    }

    async fn prefix(&mut self, client: &Client, message: &LogMessage) -> Result<String> {
        if self.args.raw {
            return Ok(String::new());
        }
        if !self.tasks.contains_key(&message.task_id) {
            // Made after the command was started.
            let request = GetTaskRequest { r#ref: message.task_id.clone() };
            let task = client.control().get_task(request).await.ok().and_then(|answer| answer.into_inner().task);
            self.tasks.insert(message.task_id.clone(), task.unwrap_or_default());
        }
        let name = self.name(message);
        self.width = self.width.max(name.len());
        Ok(format!("{name:width$}    | ", width = self.width))
    }

    fn name(&self, message: &LogMessage) -> String {
        let resolved = |map: &BTreeMap<String, String>, id: &str| match self.args.no_resolve {
            true => id.to_owned(),
            false => map.get(id).cloned().unwrap_or_else(|| id.to_owned()),
        };
        let task = self.tasks.get(&message.task_id);
        let service = resolved(&self.services, &message.service_id);
        let slot = task.map_or(0, |task| task.slot);
        let mut name = match slot {
            0 => format!("{service}.{}", message.node_id),
            slot => format!("{service}.{slot}"),
        };
        if !self.args.no_task_ids {
            let id = if self.args.no_trunc { message.task_id.as_str() } else { human::short_id(&message.task_id) };
            name = format!("{name}.{id}");
        }
        format!("{name}@{}", resolved(&self.nodes, &message.node_id))
    }
}
