//! Services of the swarm: make, look at, list, change, scale, roll back, remove; their tasks, their output, and how they
//! get on.
//!
//! Requests and answers are docker's JSON; who edits what is there says what goes and what comes ([`edit`]).

mod check;
pub mod edit;
pub mod image;
pub mod logs;
pub mod progress;
mod request;
mod shape;
pub mod tasks;
pub(crate) mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_cluster::api::{
    CreateServiceRequest, GetServiceRequest, ListServicesRequest, RemoveServiceRequest, Service, ServiceSpec,
    UpdateServiceRequest, service_spec,
};
use skep_image::{PullError, PullOptions};
use skep_runtime::made_up_name;

use crate::ErrorKind;
use crate::docker::service as docker;
use crate::error::{Error, Result};
use crate::filters::Filters;
use crate::swarm::{Swarm, unless_missing};
use edit::Edit;
use image::Pinning;

/// How often a made-up name may be taken.
const NAMES_MAX: usize = 10;

/// How often a change may meet somebody else's.
const CHANGES_MAX: usize = 6;

/// Which services are asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListServices {
    /// `id`, `label`, `mode`, `name`.
    pub filters: Filters,
}

impl ListServices {
    /// Refuses what cannot be read, before anybody is asked.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`].
    pub fn check(&self) -> Result<()> {
        self.filters.accept(&["id", "label", "mode", "name"])
    }

    fn wants(&self, service: &docker::Service) -> bool {
        let (filters, spec, empty) = (&self.filters, &service.spec, BTreeMap::new());
        filters.any("id", |id| service.id.starts_with(id))
            && filters.any("name", |name| service.name().starts_with(name))
            && filters.any("mode", |mode| mode == spec.mode.word())
            && filters.labels("label", spec.labels.as_ref().unwrap_or(&empty))
    }
}

/// A service that was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub id: String,
    /// What its user should know, in docker's words.
    pub warnings: Vec<String>,
}

/// Refuses what contradicts itself in a request to make a service, before a registry or a manager is asked.
///
/// # Errors
/// [`ErrorKind::BadArgument`], [`ErrorKind::NotSupported`].
pub fn check(request: &docker::ServiceSpec) -> Result<()> {
    check::check(&request::spec(request)?)
}

impl Swarm {
    /// Makes a service: checks it, pins its image, names it if it has no name.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`], [`ErrorKind::NotSupported`], [`ErrorKind::Conflict`] for a name that is taken.
    pub async fn create_service(
        &self,
        request: &docker::ServiceSpec,
        registries: &PullOptions,
        pinning: Pinning,
    ) -> Result<docker::CreateResponse> {
        let mut spec = request::spec(request)?;
        check::check(&spec)?;
        let warning = image::settle(spec.task.get_or_insert_default(), registries, pinning).await?;
        let id = self.make_service(spec).await?.id;
        Ok(docker::CreateResponse { id, warnings: warning.map(|warning| vec![warning]) })
    }

    /// Makes a service as it is specified; one without a name gets a made-up one.
    async fn make_service(&self, mut spec: ServiceSpec) -> Result<Service> {
        let nameless = spec.annotations.get_or_insert_default().name.is_empty();
        let mut attempt = 0;
        loop {
            if nameless {
                spec.annotations.get_or_insert_default().name = made_up_name(attempt);
            }
            let request = CreateServiceRequest { spec: Some(spec.clone()) };
            attempt += 1;
            match self.client().create_service(request).await {
                Err(error) if nameless && attempt < NAMES_MAX && error.kind() == ErrorKind::Conflict => {}
                made => return Ok(made?.service.unwrap_or_default()),
            }
        }
    }

    /// One service.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn service(&self, name: &str) -> Result<docker::Service> {
        Ok(shape::service(&self.find_service(name).await?, None))
    }

    async fn find_service(&self, name: &str) -> Result<Service> {
        let request = GetServiceRequest { r#ref: name.to_owned() };
        let found = self.client().get_service(request).await;
        let found = found.map_err(|error| unless_missing(error, || no_service(name)))?;
        Ok(found.service.unwrap_or_default())
    }

    /// The services that are asked for, by name, each with the counts of its tasks.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`] for a filter that cannot be read, [`ErrorKind::NotAManager`].
    pub async fn list_services(&self, request: &ListServices) -> Result<Vec<docker::Service>> {
        request.check()?;
        let listed = self.client().list_services(ListServicesRequest {}).await?;
        let counts = listed.counts.into_iter().map(Some).chain(std::iter::repeat(None));
        let all = listed.services.iter().zip(counts);
        let mut services: Vec<docker::Service> =
            all.map(|(service, counts)| shape::service(service, Some(counts.unwrap_or_default()))).collect();
        services.retain(|service| request.wants(service));
        services.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(services)
    }

    /// Changes a service piece by piece, and pins its image if it gets another one. `registries` says how they are to be
    /// asked, if one has to be.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], also for a network to be removed, [`ErrorKind::BadArgument`],
    /// [`ErrorKind::NotSupported`], [`ErrorKind::OutOfSequence`] if others are faster every time.
    pub async fn edit_service(
        &self,
        name: &str,
        edit: &Edit,
        registries: impl Fn() -> Result<PullOptions, PullError>,
        pinning: Pinning,
    ) -> Result<Changed> {
        let mut warning = None;
        let changed = self
            .change_service(name, async |spec| {
                self.apply(edit, spec).await?;
                let task = spec.task.get_or_insert_default();
                if edit.image().is_some() {
                    warning = image::settle(task, &registries()?, pinning).await?;
                } else if pinning.with_auth {
                    image::send_credentials(task, &registries()?).await?;
                }
                Ok(())
            })
            .await?;
        Ok(Changed { id: changed.id, warnings: warning.into_iter().collect() })
    }

    /// Changes a service's specification; what somebody else changed meanwhile is read again, and edited again.
    async fn change_service(
        &self,
        name: &str,
        mut edit: impl AsyncFnMut(&mut ServiceSpec) -> Result<()>,
    ) -> Result<Service> {
        let mut attempt = 0;
        loop {
            let service = self.find_service(name).await?;
            let mut spec = service.spec.clone().unwrap_or_default();
            edit(&mut spec).await?;
            attempt += 1;
            match self.replace_service(&service, Some(spec)).await {
                Err(error) if attempt < CHANGES_MAX && error.kind() == ErrorKind::OutOfSequence => {}
                changed => return changed,
            }
        }
    }

    /// Says how many tasks a service is to have.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::BadArgument`] for a service that follows the nodes.
    pub async fn scale_service(&self, name: &str, replicas: u64) -> Result<Changed> {
        let scaled = self.change_service(name, async |spec| match &mut spec.mode {
            Some(service_spec::Mode::Replicated(mode)) => {
                mode.replicas = replicas;
                Ok(())
            }
            _ => Err(Error::bad_argument(format!(
                "{name}: scale can only be used with replicated or replicated-job mode"
            ))),
        });
        Ok(Changed { id: scaled.await?.id, warnings: Vec::new() })
    }

    /// Puts a service back to what it was before its last change.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::BadArgument`] if it was never changed.
    pub async fn roll_back_service(&self, name: &str) -> Result<Changed> {
        let service = self.find_service(name).await?;
        if service.previous_spec.is_none() {
            return Err(Error::bad_argument(format!("service {name} does not have a previous spec to roll back to")));
        }
        Ok(Changed { id: self.replace_service(&service, None).await?.id, warnings: Vec::new() })
    }

    /// Replaces the specification, or without one goes back to the last.
    async fn replace_service(&self, seen: &Service, spec: Option<ServiceSpec>) -> Result<Service> {
        let request = UpdateServiceRequest {
            r#ref: seen.id.clone(),
            version: seen.meta.unwrap_or_default().version,
            rollback: spec.is_none(),
            spec,
        };
        Ok(self.client().update_service(request).await?.service.unwrap_or_default())
    }

    /// Removes a service; its tasks end in the background.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn remove_service(&self, name: &str) -> Result<()> {
        let request = RemoveServiceRequest { r#ref: name.to_owned() };
        let removed = self.client().remove_service(request).await;
        removed.map(|_| ()).map_err(|error| unless_missing(error, || no_service(name)))
    }
}

/// Docker's words for a service that is not there.
fn no_service(name: &str) -> String {
    format!("service {name} not found")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wanted(filters: &[(&str, &str)]) -> Result<bool> {
        let mut request = ListServices::default();
        for (key, value) in filters {
            request.filters.add(*key, *value);
        }
        request.check()?;
        let mut service = docker::Service { id: "abc".to_owned(), ..docker::Service::default() };
        service.spec.name = Some("web".to_owned());
        service.spec.labels = Some([("a".to_owned(), "b".to_owned())].into());
        service.spec.mode.global = Some(crate::docker::Empty {});
        Ok(request.wants(&service))
    }

    #[test]
    fn filters_narrow_a_list() {
        for (filters, expected) in [
            (vec![], true),
            (vec![("id", "ab")], true),
            (vec![("name", "we")], true),
            (vec![("name", "eb"), ("name", "db")], false),
            (vec![("mode", "global")], true),
            (vec![("mode", "replicated")], false),
            (vec![("label", "a=b"), ("mode", "global")], true),
            (vec![("label", "a=c")], false),
        ] {
            assert_eq!(wanted(&filters).unwrap(), expected, "{filters:?}");
        }
        assert_eq!(wanted(&[("image", "x")]).unwrap_err().kind(), ErrorKind::BadArgument);
    }
}
