//! `service logs`.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use futures::StreamExt;
use jiff::Timestamp;
use skep_engine::docker::task::Task;
use skep_engine::nodes::ListNodes;
use skep_engine::services::ListServices;
use skep_engine::services::logs::{ReadServiceLogs, ServiceLogLine};
use skep_engine::services::tasks::ListTasks;
use skep_engine::swarm::Swarm;
use skep_engine::time::moment;
use skep_runtime::LogStream;

use crate::args::service::Logs;
use crate::commands::container::logs::tail;
use crate::context::{self, Node};
use crate::format::human;

/// `service logs`
pub(crate) fn run(node: &Node, args: &Logs) -> Result<i32> {
    let since = args.since.as_deref().map(|text| moment(text, Timestamp::now())).transpose()?;
    let asked = ReadServiceLogs { follow: args.follow, tail: tail(&args.tail)?, since };
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let mut lines = swarm.service_logs(&args.service, &asked).await?;
        let mut names = Names::new(&swarm, args).await?;
        while let Some(line) = lines.next().await {
            let line = line?;
            let prefix = names.prefix(&swarm, &line).await?;
            if !write(&line, &prefix, args.timestamps)? {
                return Ok(0);
            }
        }
        Ok(0)
    })
}

/// False when nobody reads any more.
fn write(said: &ServiceLogLine, prefix: &str, timestamps: bool) -> Result<bool> {
    let mut line = prefix.as_bytes().to_vec();
    if timestamps {
        line.splice(0..0, format!("{} ", human::rfc3339(said.time)).into_bytes());
    }
    line.extend(&said.line);
    if !line.ends_with(b"\n") {
        line.push(b'\n');
    }
    let written = match said.stream {
        LogStream::Stderr => std::io::stderr().lock().write_all(&line),
        LogStream::Stdout => std::io::stdout().lock().write_all(&line),
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
        let services = swarm.list_services(&ListServices::default()).await?;
        let nodes = swarm.list_nodes(&ListNodes::default()).await?;
        let tasks = swarm.list_tasks(&ListTasks::default()).await?.into_iter().map(|listed| listed.task);
        Ok(Self {
            args,
            services: services.iter().map(|service| (service.id.clone(), service.name().to_owned())).collect(),
            nodes: nodes.iter().map(|node| (node.id.clone(), node.hostname().to_owned())).collect(),
            tasks: tasks.map(|task| (task.id.clone(), task)).collect(),
            width: 0,
        })
    }

    async fn prefix(&mut self, swarm: &Swarm, line: &ServiceLogLine) -> Result<String> {
        if self.args.raw {
            return Ok(String::new());
        }
        if !self.tasks.contains_key(&line.task_id) {
            // Made after the command was started.
            let task = swarm.task(&line.task_id).await.unwrap_or_default();
            self.tasks.insert(line.task_id.clone(), task);
        }
        let name = self.name(line);
        self.width = self.width.max(name.len());
        Ok(format!("{name:width$}    | ", width = self.width))
    }

    fn name(&self, line: &ServiceLogLine) -> String {
        let resolved = |map: &BTreeMap<String, String>, id: &str| match self.args.no_resolve {
            true => id.to_owned(),
            false => map.get(id).cloned().unwrap_or_else(|| id.to_owned()),
        };
        let slot = self.tasks.get(&line.task_id).and_then(|task| task.slot).unwrap_or_default();
        let service = resolved(&self.services, &line.service_id);
        let mut name = match slot {
            0 => format!("{service}.{}", line.node_id),
            slot => format!("{service}.{slot}"),
        };
        if !self.args.no_task_ids {
            let id = if self.args.no_trunc { line.task_id.as_str() } else { human::short_id(&line.task_id) };
            name = format!("{name}.{id}");
        }
        format!("{name}@{}", resolved(&self.nodes, &line.node_id))
    }
}
