//! Finds what a user means: an id, a name, or the beginning of one id.

use std::sync::Arc;

use crate::error::Error;

use crate::model::{Network, Node, Service, Task};
use crate::store::View;

fn find<'a, T: 'a, Objects: Iterator<Item = &'a Arc<T>>>(
    kind: &str,
    reference: &str,
    objects: impl Fn() -> Objects,
    id: impl Fn(&T) -> &str,
    name: impl Fn(&T) -> &str,
) -> Result<Arc<T>, Error> {
    let not_found = || Error::not_found(format!("{kind} {reference} not found"));
    if reference.is_empty() {
        return Err(Error::bad_argument(format!("no {kind} given")));
    }
    if let Some(found) = objects().find(|object| id(object) == reference) {
        return Ok(found.clone());
    }
    let named: Vec<_> = objects().filter(|object| name(object) == reference).collect();
    let matches = if named.is_empty() { objects().filter(|o| id(o).starts_with(reference)).collect() } else { named };
    match matches.as_slice() {
        [] => Err(not_found()),
        [one] => Ok((*one).clone()),
        many => Err(Error::bad_argument(format!("{kind} {reference} is ambiguous ({} matches found)", many.len()))),
    }
}

/// A service that is not being removed.
///
/// # Errors
/// If there is none, or more than one.
pub(super) fn service(view: &View, reference: &str) -> Result<Arc<Service>, Error> {
    let services = || view.services().values().filter(|service| !service.pending_delete);
    find("service", reference, services, |s| &s.id, Service::name)
}

/// A network that is not being removed.
///
/// # Errors
/// If there is none, or more than one.
pub(super) fn network(view: &View, reference: &str) -> Result<Arc<Network>, Error> {
    let networks = || view.networks().values().filter(|network| !network.pending_delete);
    find("network", reference, networks, |n| &n.id, Network::name)
}

/// A node, by host name too.
///
/// # Errors
/// If there is none, or more than one.
pub(super) fn node(view: &View, reference: &str) -> Result<Arc<Node>, Error> {
    find("node", reference, || view.nodes().values(), |n| &n.id, Node::hostname)
}

/// A task. Its name is `SERVICE.SLOT.ID`.
///
/// # Errors
/// If there is none, or more than one.
pub(super) fn task(view: &View, reference: &str) -> Result<Arc<Task>, Error> {
    let id = reference.rsplit_once('.').map_or(reference, |(_, id)| id);
    find("task", id, || view.tasks().values(), |t| &t.id, |_| "")
        .map_err(|error| Error::new(error.kind(), error.message().replace(id, reference)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::StoreTransaction;
    use crate::model::{Annotations, ServiceSpec};
    use crate::store::create;

    fn view(services: &[(&str, &str, bool)]) -> View {
        let actions = services.iter().map(|(id, name, pending_delete)| {
            let annotations = Annotations { name: (*name).into(), ..Annotations::default() };
            let spec = ServiceSpec { annotations, ..ServiceSpec::default() };
            let service = Service { id: (*id).into(), spec, pending_delete: *pending_delete, ..Service::default() };
            create(service)
        });
        let mut view = View::default();
        view.apply(&StoreTransaction { actions: actions.collect(), time_ns: 1 }, 1).unwrap();
        view
    }

    #[test]
    fn ids_win_over_names_and_names_over_prefixes() {
        let view = view(&[("abc1", "web", false), ("abc2", "abc1", false), ("web9", "old", true)]);
        let check =
            |reference: &str| service(&view, reference).map(|s| s.id.to_string()).map_err(|e| e.message().to_owned());
        assert_eq!(check("abc1"), Ok("abc1".into()));
        assert_eq!(check("web"), Ok("abc1".into()));
        assert_eq!(check("abc2"), Ok("abc2".into()));
        assert_eq!(check("abc"), Err("service abc is ambiguous (2 matches found)".into()));
        assert_eq!(check("old"), Err("service old not found".into()));
        assert_eq!(check("x"), Err("service x not found".into()));
        assert_eq!(check(""), Err("no service given".into()));
    }
}
