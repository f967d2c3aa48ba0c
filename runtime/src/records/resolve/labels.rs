//! Labels: the image's, then the user's over them.
//!
//! Called by [`super::resolve`].

use std::collections::BTreeMap;

/// Beginning of the labels by which the agent knows its tasks.
const RESERVED_LABELS: &str = "com.docker.swarm.";

/// The image's labels without the reserved ones, and the user's.
pub(super) fn labels(user: &BTreeMap<String, String>, image: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels = image.clone();
    // An image does not say whose task a container is.
    labels.retain(|name, _| !name.starts_with(RESERVED_LABELS));
    labels.extend(user.clone());
    labels
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use crate::records::config::ContainerConfig;
    use crate::records::resolve::fixtures::image;
    use crate::records::resolve::resolve;

    #[test]
    fn an_image_does_not_make_its_containers_tasks() {
        let task = "com.docker.swarm.task.id".to_owned();
        let mut image = image();
        image.labels.insert(task.clone(), "x".to_owned());
        let mut config = ContainerConfig::default();
        assert!(!resolve(&config, &image).unwrap().labels.contains_key(&task));
        config.labels.insert(task.clone(), "y".to_owned());
        assert_eq!(resolve(&config, &image).unwrap().labels[&task], "y");
    }
}
