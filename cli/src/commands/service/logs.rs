//! `service logs`.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use futures::StreamExt;
use jiff::Timestamp;
use skep_cluster::api::{ListTasksRequest, LogMessage, ServiceLogsRequest, Task};
use skep_engine::swarm::Swarm;
use skep_engine::swarm::facts::{Named, NodeFacts};
use skep_engine::time::moment;

use crate::args::service::Logs;
use crate::commands::container::logs::tail;
use crate::context::{self, Node};
use crate::format::human;

/// `service logs`
pub fn run(node: &Node, args: &Logs) -> Result<i32> {
    let since = args.since.as_deref().map(|text| moment(text, Timestamp::now())).transpose()?;
    let lines = tail(&args.tail)?;
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let request = ServiceLogsRequest {
            r#ref: args.service.clone(),
            follow: args.follow,
            tail: lines.map_or(-1, |lines| i64::try_from(lines).unwrap_or(i64::MAX)),
            since_ns: since.map_or(0, |time| i64::try_from(time.as_nanosecond()).unwrap_or(0)),
            stdout: true,
            stderr: true,
        };
        let mut lines = swarm.service_logs(request).await?;
        let mut names = Names::new(&swarm, args).await?;
        while let Some(message) = lines.next().await {
            let message = message?;
            let prefix = names.prefix(&swarm, &message).await?;
            if !write(&message, &prefix, args.timestamps)? {
                return Ok(0);
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
    async fn new(swarm: &Swarm, args: &'a Logs) -> Result<Self> {
        let services = swarm.services().await?;
        let nodes = swarm.nodes().await?;
        let tasks = swarm.tasks(ListTasksRequest::default()).await?;
        Ok(Self {
            args,
            services: services.iter().map(|(service, _)| (service.id.clone(), service.name().to_owned())).collect(),
            nodes: nodes.iter().map(|node| (node.id.clone(), node.hostname().to_owned())).collect(),
            tasks: tasks.into_iter().map(|task| (task.id.clone(), task)).collect(),
            width: 0,
        })
    }

    async fn prefix(&mut self, swarm: &Swarm, message: &LogMessage) -> Result<String> {
        if self.args.raw {
            return Ok(String::new());
        }
        if !self.tasks.contains_key(&message.task_id) {
            // Made after the command was started.
            let task = swarm.task(&message.task_id).await.unwrap_or_default();
            self.tasks.insert(message.task_id.clone(), task);
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
