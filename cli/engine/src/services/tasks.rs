//! Tasks of the swarm: look at one, list many.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_cluster::api::{self, GetTaskRequest, ListTasksRequest, TaskState};

use super::{ListServices, shape};
use crate::docker::task::Task;
use crate::error::Result;
use crate::filters::Filters;
use crate::nodes::ListNodes;
use crate::swarm::{Swarm, unless_missing};

/// Which tasks are asked for; all of them by an empty request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListTasks {
    /// Ids of services, of which they have to be one's.
    pub service_ids: Vec<String>,
    /// Ids of nodes, on one of which they have to be.
    pub node_ids: Vec<String>,
    /// `desired-state`, `id`, `label`, `name`, `node`, `service`.
    pub filters: Filters,
}

/// A task in a list, with the names by which people know what it belongs to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListedTask {
    /// The task.
    pub task: Task,
    /// The name of its service, also of one that was removed.
    pub service: String,
    /// The host name of its node; empty before it has one.
    pub node: String,
}

impl ListTasks {
    /// Refuses what cannot be read.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    fn check(&self) -> Result<()> {
        self.filters.accept(&["id", "name", "label", "node", "service", "desired-state"])?;
        self.filters.check("desired-state", &["running", "shutdown", "accepted"])
    }

    fn wants(&self, task: &api::Task, listed: &ListedTask) -> bool {
        let empty = BTreeMap::new();
        let labels = task.annotations.as_ref().map_or(&empty, |annotations| &annotations.labels);
        let desired = match task.desired_state() {
            TaskState::Running | TaskState::Ready => "running",
            state if state > TaskState::Running => "shutdown",
            _ => "accepted",
        };
        let filters = &self.filters;
        filters.any("id", |id| task.id.starts_with(id))
            && filters.any("name", |name| listed.task.name_in(&listed.service).starts_with(name))
            && filters.any("node", |node| task.node_id == node || listed.node == node)
            && filters.any("service", |service| task.service_id == service || listed.service == service)
            && filters.any("desired-state", |wanted| wanted == desired)
            && filters.labels("label", labels)
    }
}

impl Swarm {
    /// One task.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn task(&self, name: &str) -> Result<Task> {
        let found = self.client().get_task(GetTaskRequest { r#ref: name.to_owned() }).await;
        let found = found.map_err(|error| unless_missing(error, || format!("no such task: {name}")))?;
        Ok(shape::task(&found.task.unwrap_or_default()))
    }

    /// The tasks that are asked for.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for a filter that cannot be read, [`crate::ErrorKind::NotAManager`].
    pub async fn list_tasks(&self, request: &ListTasks) -> Result<Vec<ListedTask>> {
        request.check()?;
        let asked = ListTasksRequest { service_ids: request.service_ids.clone(), node_ids: request.node_ids.clone() };
        let tasks = self.client().list_tasks(asked).await?.tasks;
        let services = self.list_services(&ListServices::default()).await?;
        let services = services.into_iter().map(|service| (service.id, service.spec.name.unwrap_or_default()));
        let nodes = self.list_nodes(&ListNodes::default()).await?;
        let nodes = nodes.into_iter().map(|node| (node.id.clone(), node.hostname().to_owned()));
        let names = Names { services: services.collect(), nodes: nodes.collect() };
        let listed = tasks.iter().map(|task| (task, names.listed(task)));
        Ok(listed.filter(|(task, listed)| request.wants(task, listed)).map(|(_, listed)| listed).collect())
    }
}

/// Names by id.
struct Names {
    services: BTreeMap<String, String>,
    nodes: BTreeMap<String, String>,
}

impl Names {
    fn listed(&self, task: &api::Task) -> ListedTask {
        // A service that was removed is still named in its tasks.
        let remembered = task.service_annotations.as_ref().map(|annotations| &annotations.name);
        let service = self.services.get(&task.service_id).or(remembered).unwrap_or(&task.service_id);
        let node = self.nodes.get(&task.node_id).unwrap_or(&task.node_id);
        ListedTask { task: shape::task(task), service: service.clone(), node: node.clone() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn task(desired: TaskState) -> api::Task {
        let annotations = |name: &str, label: &str| api::Annotations {
            name: name.to_owned(),
            labels: [(label.to_owned(), String::new())].into(),
        };
        let mut task = api::Task {
            id: "t1".to_owned(),
            service_id: "s1".to_owned(),
            node_id: "n1".to_owned(),
            slot: 2,
            annotations: Some(annotations("", "mine")),
            service_annotations: Some(annotations("web", "theirs")),
            ..api::Task::default()
        };
        task.set_desired_state(desired);
        task
    }

    fn wanted(desired: TaskState, filters: &[(&str, &str)]) -> Result<bool> {
        let mut request = ListTasks::default();
        for (key, value) in filters {
            request.filters.add(*key, *value);
        }
        request.check()?;
        let names = Names { services: BTreeMap::new(), nodes: [("n1".to_owned(), "node1".to_owned())].into() };
        let task = task(desired);
        Ok(request.wants(&task, &names.listed(&task)))
    }

    #[test]
    fn filters_narrow_a_list() {
        for (filters, expected) in [
            (vec![], true),
            (vec![("id", "t")], true),
            (vec![("name", "web.2")], true),
            (vec![("name", "eb")], false),
            (vec![("node", "n1")], true),
            (vec![("node", "node1")], true),
            (vec![("node", "node")], false),
            (vec![("service", "web"), ("service", "db")], true),
            (vec![("service", "s1"), ("node", "node2")], false),
            (vec![("label", "mine")], true),
            (vec![("label", "theirs")], false),
        ] {
            assert_eq!(wanted(TaskState::Running, &filters).unwrap(), expected, "{filters:?}");
        }
    }

    #[test]
    fn desired_states_have_three_words() {
        for (state, word) in [
            (TaskState::Running, "running"),
            (TaskState::Ready, "running"),
            (TaskState::Accepted, "accepted"),
            (TaskState::Shutdown, "shutdown"),
            (TaskState::Remove, "shutdown"),
        ] {
            assert!(wanted(state, &[("desired-state", word)]).unwrap(), "{state:?}");
        }
        let refused = wanted(TaskState::Running, &[("desired-state", "failed")]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadArgument);
        assert!(wanted(TaskState::Running, &[("state", "running")]).is_err());
    }

    #[test]
    fn a_removed_service_is_still_named() {
        let nothing = Names { services: BTreeMap::new(), nodes: BTreeMap::new() };
        let listed = nothing.listed(&task(TaskState::Shutdown));
        assert_eq!((listed.service.as_str(), listed.node.as_str()), ("web", "n1"));
    }
}
