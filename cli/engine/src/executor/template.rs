//! The templates in a service's environment, host name and mounts: `{{.Node.Hostname}}` and its kin.

use serde_json::{Value, json};
use skep_cluster::api::Task;
use skep_cluster::executor::ExecutorError;

use crate::template;

/// What the templates of one task can name.
pub struct Facts(Value);

impl Facts {
    /// Of a task on the node with this host name.
    pub fn new(task: &Task, hostname: &str) -> Self {
        let service = task.service_annotations.clone().unwrap_or_default();
        let slot = if task.slot == 0 { task.node_id.clone() } else { task.slot.to_string() };
        Self(json!({
            "Service": {"ID": task.service_id, "Name": service.name, "Labels": service.labels},
            "Node": {
                "ID": task.node_id,
                "Hostname": hostname,
                "Platform": {"Architecture": std::env::consts::ARCH, "OS": "linux"},
            },
            "Task": {"ID": task.id, "Name": format!("{}.{slot}.{}", service.name, task.id), "Slot": slot},
        }))
    }

    /// The text with its templates expanded.
    pub fn expand(&self, text: &str) -> Result<String, ExecutorError> {
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
    use skep_cluster::api::Annotations;

    #[test]
    fn expands_what_docker_expands() {
        let task = Task {
            id: "t1".to_owned(),
            slot: 2,
            node_id: "n1".to_owned(),
            service_annotations: Some(Annotations { name: "web".to_owned(), ..Annotations::default() }),
            ..Task::default()
        };
        let facts = Facts::new(&task, "host1");
        assert_eq!(facts.expand("{{.Node.Hostname}}-{{.Task.Slot}}").unwrap(), "host1-2");
        assert_eq!(facts.expand("X={{.Task.Name}} {{.Service.Name}}").unwrap(), "X=web.2.t1 web");
        assert_eq!(facts.expand("a\\tb").unwrap(), "a\\tb");
        assert!(facts.expand("{{.Node").is_err());
    }
}
