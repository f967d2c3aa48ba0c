//! The templates in a service's environment, host name and mounts: `{{.Node.Hostname}}` and its kin.

use serde_json::{Value, json};
use skep_cluster::executor::ExecutorError;
use skep_cluster::model::Task;

use crate::template;

/// What the templates of one task can name.
pub(super) struct Facts(Value);

impl Facts {
    /// Of a task on the node with this host name.
    pub(super) fn new(task: &Task, hostname: &str) -> Self {
        let service = &task.service_annotations;
        let slot = if task.slot == 0 { task.node_id.to_string() } else { task.slot.to_string() };
        Self(json!({
            "Service": {"ID": task.service_id.as_str(), "Name": service.name, "Labels": service.labels},
            "Node": {
                "ID": task.node_id.as_str(),
                "Hostname": hostname,
                "Platform": {"Architecture": std::env::consts::ARCH, "OS": "linux"},
            },
            "Task": {"ID": task.id.as_str(), "Name": format!("{}.{slot}.{}", service.name, task.id), "Slot": slot},
        }))
    }

    /// The text with its templates expanded.
    pub(super) fn expand(&self, text: &str) -> Result<String, ExecutorError> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let expanded = template::compile_verbatim(text).and_then(|template| template.render(&self.0));
        expanded.map_err(|error| ExecutorError::Fatal(format!("cannot expand {text:?}: {error}")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use skep_cluster::model::Annotations;

    #[test]
    fn expands_what_docker_expands() {
        let task = Task {
            id: "t1".into(),
            slot: 2,
            node_id: "n1".into(),
            service_annotations: Annotations { name: "web".to_owned(), ..Annotations::default() },
            ..Task::default()
        };
        let facts = Facts::new(&task, "host1");
        assert_eq!(facts.expand("{{.Node.Hostname}}-{{.Task.Slot}}").unwrap(), "host1-2");
        assert_eq!(facts.expand("X={{.Task.Name}} {{.Service.Name}}").unwrap(), "X=web.2.t1 web");
        assert_eq!(facts.expand("a\\tb").unwrap(), "a\\tb");
        assert!(facts.expand("{{.Node").is_err());
    }
}
