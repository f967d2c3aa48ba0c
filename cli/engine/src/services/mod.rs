//! Services of the swarm: make, look at, change, scale, roll back, remove; their tasks, their output, and how they get
//! on.
//!
//! Requests come as docker's JSON ([`request`]) or, from who edits what is there, as the swarm's own specification.

pub mod check;
pub mod edit;
pub mod image;
pub mod logs;
pub mod progress;
pub mod request;
pub mod shape;
pub mod words;

use skep_cluster::api::{
    CreateServiceRequest, GetServiceRequest, GetTaskRequest, ListServicesRequest, ListTasksRequest,
    RemoveServiceRequest, Service, ServiceCounts, ServiceSpec, Task, UpdateServiceRequest, service_spec,
};
use skep_image::PullOptions;
use skep_runtime::made_up_name;

use crate::ErrorKind;
use crate::docker::service as docker;
use crate::error::{Error, Result};
use crate::swarm::facts::Named;
use crate::swarm::{Swarm, unless_missing};
use image::Pinning;

/// How often a made-up name may be taken.
const NAMES_MAX: usize = 10;

/// How often a change may meet somebody else's.
const CHANGES_MAX: usize = 6;

impl Swarm {
    /// Makes a service from docker's request: checks it, pins its image, names it if it has no name.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`], [`ErrorKind::NotSupported`], [`ErrorKind::Conflict`] for a name that is taken.
    pub async fn service_create(
        &self,
        request: &docker::ServiceSpec,
        registries: &PullOptions,
        pinning: Pinning,
    ) -> Result<docker::CreateResponse> {
        let mut spec = request::spec(request)?;
        check::check(&spec)?;
        let warning = image::settle(spec.task.get_or_insert_default(), registries, pinning).await?;
        let service = self.create_service(spec).await?;
        Ok(docker::CreateResponse { id: service.id, warnings: warning.map(|warning| vec![warning]) })
    }

    /// Makes a service as it is specified; one without a name gets a made-up one.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`], [`ErrorKind::Conflict`] for a name that is taken.
    pub async fn create_service(&self, mut spec: ServiceSpec) -> Result<Service> {
        let nameless = spec.name().is_empty();
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
    pub async fn service(&self, name: &str) -> Result<Service> {
        let request = GetServiceRequest { r#ref: name.to_owned() };
        let found = self.client().get_service(request).await;
        let found = found.map_err(|error| unless_missing(error, || no_service(name)))?;
        Ok(found.service.unwrap_or_default())
    }

    /// All services, each with the counts of its tasks.
    ///
    /// # Errors
    /// The managers cannot be asked.
    pub async fn services(&self) -> Result<Vec<(Service, ServiceCounts)>> {
        let listed = self.client().list_services(ListServicesRequest {}).await?;
        let counts = listed.counts.into_iter().chain(std::iter::repeat(ServiceCounts::default()));
        Ok(listed.services.into_iter().zip(counts).collect())
    }

    /// Changes a service's specification; what somebody else changed meanwhile is read again, and edited again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], what `edit` says, [`ErrorKind::OutOfSequence`] if others are faster every time.
    pub async fn change_service<E: From<Error>>(
        &self,
        name: &str,
        mut edit: impl AsyncFnMut(&Service, &mut ServiceSpec) -> Result<(), E>,
    ) -> Result<Service, E> {
        let mut attempt = 0;
        loop {
            let service = self.service(name).await?;
            let mut spec = service.spec.clone().unwrap_or_default();
            edit(&service, &mut spec).await?;
            attempt += 1;
            match self.update_service(&service, Some(spec)).await {
                Err(error) if attempt < CHANGES_MAX && error.kind() == ErrorKind::OutOfSequence => {}
                changed => return Ok(changed?),
            }
        }
    }

    /// Says how many tasks a service is to have.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::BadArgument`] for a service that follows the nodes.
    pub async fn scale_service(&self, name: &str, replicas: u64) -> Result<Service> {
        self.change_service(name, async |_, spec| match &mut spec.mode {
            Some(service_spec::Mode::Replicated(mode)) => {
                mode.replicas = replicas;
                Ok(())
            }
            _ => Err(Error::bad_argument(format!(
                "{name}: scale can only be used with replicated or replicated-job mode"
            ))),
        })
        .await
    }

    /// Puts a service back to what it was before its last change.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::BadArgument`] if it was never changed.
    pub async fn roll_back_service(&self, name: &str) -> Result<Service> {
        let service = self.service(name).await?;
        if service.previous_spec.is_none() {
            return Err(Error::bad_argument(format!("service {name} does not have a previous spec to roll back to")));
        }
        self.update_service(&service, None).await
    }

    /// Replaces the specification, or without one goes back to the last.
    async fn update_service(&self, seen: &Service, spec: Option<ServiceSpec>) -> Result<Service> {
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

    /// One task.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn task(&self, name: &str) -> Result<Task> {
        let found = self.client().get_task(GetTaskRequest { r#ref: name.to_owned() }).await;
        let found = found.map_err(|error| unless_missing(error, || format!("no such task: {name}")))?;
        Ok(found.task.unwrap_or_default())
    }

    /// The tasks that the request selects; all of them for an empty one.
    ///
    /// # Errors
    /// The managers cannot be asked.
    pub async fn tasks(&self, request: ListTasksRequest) -> Result<Vec<Task>> {
        Ok(self.client().list_tasks(request).await?.tasks)
    }
}

/// Docker's words for a service that is not there.
fn no_service(name: &str) -> String {
    format!("service {name} not found")
}
