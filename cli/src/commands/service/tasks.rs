//! `service ps`, and the table of tasks that `node ps` shows, too.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use skep_engine::docker;
use skep_engine::docker::task::Task;
use skep_engine::services::tasks::{ListTasks, ListedTask};

use super::{get, image, list};
use crate::args::TaskListFlags;
use crate::args::service::Tasks;
use crate::context::{self, Node};
use crate::failure;
use crate::format::human;
use crate::format::output::{self, List};
use crate::parse::filter;

const ERROR_LENGTH_MAX: usize = 30;

/// `service ps`
pub(crate) fn run(node: &Node, args: &Tasks) -> Result<i32> {
    let mut code = 0;
    let tasks = context::block_on(async {
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
        if service_ids.is_empty() {
            return Ok(Vec::new());
        }
        let filters = filter::all(&args.shown.list.filter);
        Ok(swarm.list_tasks(&ListTasks { service_ids, filters, ..ListTasks::default() }).await?)
    })?;
    if code != 0 && tasks.is_empty() {
        return Ok(code);
    }
    print(tasks, &args.shown)?;
    Ok(code)
}

/// Prints the table.
pub(crate) fn print(mut tasks: Vec<ListedTask>, shown: &TaskListFlags) -> Result<()> {
    let flags = &shown.list;
    if shown.no_resolve {
        for listed in &mut tasks {
            listed.service = listed.task.service_id.clone().unwrap_or_default();
            listed.node = listed.task.node_id.clone().unwrap_or_default();
        }
    }
    // Times of the same form and zone are in order as texts, too.
    tasks.sort_by(|a, b| {
        (&a.service, slot(&a.task), place(&a.task))
            .cmp(&(&b.service, slot(&b.task), place(&b.task)))
            .then_with(|| b.task.created_at.cmp(&a.task.created_at))
            .then_with(|| a.task.id.cmp(&b.task.id))
    });
    let now = Timestamp::now();
    let mut before = String::new();
    let mut rows = Vec::new();
    for listed in &tasks {
        let name = listed.task.name_in(&listed.service);
        let again = name == before && output::given(flags.format.as_deref()).is_none() && !flags.quiet;
        let label = if again { format!(" \\_ {name}") } else { name.clone() };
        rows.push(row(listed, &label, now, shown.no_trunc));
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

fn slot(task: &Task) -> u64 {
    task.slot.unwrap_or_default()
}

/// Global tasks' slot is their node.
fn place(task: &Task) -> &str {
    if slot(task) == 0 { task.node_id.as_deref().unwrap_or_default() } else { "" }
}

fn row(listed: &ListedTask, name: &str, now: Timestamp, no_trunc: bool) -> Value {
    let (task, status) = (&listed.task, &listed.task.status);
    let container = task.spec.container_spec.as_ref();
    let whole = container.and_then(|container| container.image.clone()).unwrap_or_default();
    let since = docker::moment(&status.timestamp)
        .map(|time| human::ago(time, now).to_lowercase())
        .unwrap_or_else(|| "less than a second ago".to_owned());
    let error = match (status.err.as_deref().unwrap_or_default(), no_trunc) {
        ("", _) => String::new(),
        (error, true) => format!("\"{error}\""),
        (error, false) => format!("\"{}\"", human::ellipsis(&error.replace('\n', " "), ERROR_LENGTH_MAX)),
    };
    let state = capital(status.state.as_deref().unwrap_or_default());
    json!({
        "ID": if no_trunc { &task.id } else { human::short_id(&task.id) },
        "Name": name,
        "Image": if no_trunc { whole } else { image::shown(&whole) },
        "Node": listed.node,
        "DesiredState": capital(task.desired_state.as_deref().unwrap_or_default()),
        "CurrentState": format!("{state} {since}"),
        "Error": error,
        "Ports": list::merged(status.port_status.ports.iter().flatten()),
    })
}

/// With a capital at its beginning, as tables have the words of the JSON.
pub(crate) fn capital(word: &str) -> String {
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
