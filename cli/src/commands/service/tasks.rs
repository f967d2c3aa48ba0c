//! `service ps`, and the table of tasks that `node ps` shows, too.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use skep_cluster::api::{ListTasksRequest, Node as SwarmNode, Service, ServiceCounts, Task, TaskState};
use skep_engine::filters::Filters;
use skep_engine::services::words::Word;
use skep_engine::swarm::facts::{Named, NodeFacts};

use super::{get, image, list};
use crate::args::TaskListFlags;
use crate::args::service::Tasks;
use crate::context::{self, Node};
use crate::failure;
use crate::format::human;
use crate::format::output::{self, List};
use crate::parse::filter;

const ERROR_LENGTH_MAX: usize = 30;

/// What the table is made from.
pub struct View<'a> {
    /// The tasks to show.
    pub tasks: &'a [Task],
    /// For the nodes' names.
    pub nodes: &'a [SwarmNode],
    /// For the services' names.
    pub services: &'a [Service],
}

/// `service ps`
pub fn run(node: &Node, args: &Tasks) -> Result<i32> {
    let mut code = 0;
    let (tasks, nodes, services) = context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let mut service_ids = Vec::new();
        for name in &args.services {
            match get(&swarm, name).await {
                Ok(service) => service_ids.push(service.id),
                Err(error) => {
                    eprintln!("{}", failure::describe(&error).message);
                    code = 1;
                }
            }
        }
        let tasks = match service_ids.is_empty() {
            true => Vec::new(),
            false => swarm.tasks(ListTasksRequest { service_ids, ..ListTasksRequest::default() }).await?,
        };
        let (nodes, services) = (swarm.nodes().await?, names(swarm.services().await?));
        Ok((tasks, nodes, services))
    })?;
    if code != 0 && tasks.is_empty() {
        return Ok(code);
    }
    let view = View { tasks: &tasks, nodes: &nodes, services: &services };
    print(&view, &args.shown)?;
    Ok(code)
}

/// The services alone.
pub fn names(services: Vec<(Service, ServiceCounts)>) -> Vec<Service> {
    services.into_iter().map(|(service, _)| service).collect()
}

/// Prints the table.
pub fn print(view: &View<'_>, shown: &TaskListFlags) -> Result<()> {
    let flags = &shown.list;
    let filters = filter::known(&flags.filter, &["id", "name", "label", "node", "service", "desired-state"])?;
    filters.check("desired-state", &["running", "shutdown", "accepted"])?;
    let names = Names::new(view, shown.no_resolve);
    let mut tasks: Vec<&Task> = view.tasks.iter().filter(|task| matches(task, &names, &filters)).collect();
    let created = |task: &Task| task.meta.unwrap_or_default().created_at_ns;
    tasks.sort_by(|a, b| {
        (names.service(a), a.slot, place(a))
            .cmp(&(names.service(b), b.slot, place(b)))
            .then_with(|| created(b).cmp(&created(a)))
            .then_with(|| a.id.cmp(&b.id))
    });
    let now = Timestamp::now();
    let mut before = String::new();
    let mut rows = Vec::new();
    for task in tasks {
        let name = names.task(task);
        let again = name == before && output::given(flags.format.as_deref()).is_none() && !flags.quiet;
        let label = if again { format!(" \\_ {name}") } else { name.clone() };
        rows.push(row(task, &label, &names, now, shown.no_trunc));
        before = name;
    }
    let list = List {
        columns: &[
            ("ID", "ID"),
            ("NAME", "Name"),
            ("IMAGE", "Image"),
            ("NODE", "Node"),
            ("DESIRED STATE", "DesiredState"),
            ("CURRENT STATE", "CurrentState"),
            ("ERROR", "Error"),
            ("PORTS", "Ports"),
        ],
        more: &[],
        rows,
    };
    list.print(flags.format.as_deref(), flags.quiet.then_some("ID"))
}

/// Global tasks' slot is their node.
fn place(task: &Task) -> &str {
    if task.slot == 0 { &task.node_id } else { "" }
}

struct Names<'a> {
    services: BTreeMap<&'a str, &'a str>,
    nodes: BTreeMap<&'a str, &'a str>,
}

impl<'a> Names<'a> {
    fn new(view: &View<'a>, no_resolve: bool) -> Self {
        if no_resolve {
            return Self { services: BTreeMap::new(), nodes: BTreeMap::new() };
        }
        Self {
            services: view.services.iter().map(|service| (service.id.as_str(), service.name())).collect(),
            nodes: view.nodes.iter().map(|node| (node.id.as_str(), node.hostname())).collect(),
        }
    }

    fn service<'t>(&'t self, task: &'t Task) -> &'t str {
        match self.services.get(task.service_id.as_str()) {
            Some(name) => name,
            // The service was removed; its tasks still know its name.
            None if !self.services.is_empty() => {
                task.service_annotations.as_ref().map_or(task.service_id.as_str(), |annotations| &annotations.name)
            }
            None => &task.service_id,
        }
    }

    fn node<'t>(&'t self, task: &'t Task) -> &'t str {
        self.nodes.get(task.node_id.as_str()).copied().unwrap_or(&task.node_id)
    }

    fn task(&self, task: &Task) -> String {
        match task.slot {
            0 => format!("{}.{}", self.service(task), task.node_id),
            slot => format!("{}.{slot}", self.service(task)),
        }
    }
}

fn matches(task: &Task, names: &Names<'_>, filters: &Filters) -> bool {
    let empty = BTreeMap::new();
    let labels = task.annotations.as_ref().map_or(&empty, |annotations| &annotations.labels);
    let desired = match task.desired_state() {
        TaskState::Running | TaskState::Ready => "running",
        state if state > TaskState::Running => "shutdown",
        _ => "accepted",
    };
    filters.any("id", |id| task.id.starts_with(id))
        && filters.any("name", |name| names.task(task).starts_with(name))
        && filters.any("node", |node| task.node_id == node || names.node(task) == node)
        && filters.any("service", |service| task.service_id == service || names.service(task) == service)
        && filters.any("desired-state", |wanted| wanted == desired)
        && filters.labels("label", labels)
}

fn row(task: &Task, name: &str, names: &Names<'_>, now: Timestamp, no_trunc: bool) -> Value {
    let status = task.status.clone().unwrap_or_default();
    let container = task.spec.as_ref().and_then(|spec| spec.container.as_ref());
    let whole = container.map(|container| container.image.clone()).unwrap_or_default();
    let since = human::timestamp(status.timestamp_ns)
        .map(|time| human::ago(time, now).to_lowercase())
        .unwrap_or_else(|| "less than a second ago".to_owned());
    let error = match (status.err.is_empty(), no_trunc) {
        (true, _) => String::new(),
        (false, true) => format!("\"{}\"", status.err),
        (false, false) => format!("\"{}\"", human::ellipsis(&status.err.replace('\n', " "), ERROR_LENGTH_MAX)),
    };
    let ports = status.port_status.clone().unwrap_or_default().ports;
    json!({
        "ID": if no_trunc { &task.id } else { human::short_id(&task.id) },
        "Name": name,
        "Image": if no_trunc { whole } else { image::shown(&whole) },
        "Node": names.node(task),
        "DesiredState": capital(task.desired_state().word()),
        "CurrentState": format!("{} {since}", capital(status.state().word())),
        "Error": error,
        "Ports": list::merged(&ports),
    })
}

/// With a capital at its beginning, as tables have the words of the JSON.
pub fn capital(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_capitalised() {
        assert_eq!(capital("running"), "Running");
        assert_eq!(capital(""), "");
    }
}
