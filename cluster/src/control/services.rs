//! Services and their tasks.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use skep_common::ErrorKind;
use tonic::Request;

use super::{ControlService, Stream, out_of_sequence, refs, spec};
use crate::api::{
    self, CreateServiceRequest, CreateServiceResponse, GetServiceRequest, GetServiceResponse, GetTaskRequest,
    GetTaskResponse, ListServicesRequest, ListServicesResponse, ListTasksRequest, ListTasksResponse,
    RemoveServiceRequest, RemoveServiceResponse, ServiceCounts, ServiceLogsRequest, ServiceLogsResponse,
    UpdateServiceRequest, UpdateServiceResponse,
};
use crate::error::Error;
use crate::model::{
    LogOptions, Mode, Phase, Service, ServiceId, ServiceSpec, Task, TaskLine, UpdateState, UpdateStatus,
};
use crate::store::{View, create, update};

impl ControlService {
    pub(super) async fn create_service(
        &self,
        request: Request<CreateServiceRequest>,
    ) -> Result<CreateServiceResponse, Error> {
        let asked = request.into_inner().spec.ok_or_else(|| Error::bad_argument("no specification given"))?;
        let asked = spec::read_service(asked)?;
        let id = self.surroundings.chance.id();
        self.write(|view| {
            let mut wanted = asked.clone();
            spec::check_service(view, &mut wanted, None)?;
            check_free(view, &wanted)?;
            let service = Service {
                id: id.as_str().into(),
                spec: wanted,
                spec_version: view.version() + 1,
                ..Service::default()
            };
            Ok((vec![create(service)], ()))
        })
        .await?;
        Ok(CreateServiceResponse { service: self.stored(&id) })
    }

    pub(super) async fn list_services(&self, _: Request<ListServicesRequest>) -> Result<ListServicesResponse, Error> {
        let view = self.read().await?;
        let services: Vec<_> = view.services().values().filter(|service| !service.pending_delete).collect();
        Ok(ListServicesResponse {
            counts: services.iter().map(|service| counts(&view, service)).collect(),
            services: services.into_iter().map(|service| without_credentials(service).into()).collect(),
        })
    }

    pub(super) async fn get_service(&self, request: Request<GetServiceRequest>) -> Result<GetServiceResponse, Error> {
        let view = self.read().await?;
        let service = refs::service(&view, &request.into_inner().r#ref)?;
        Ok(GetServiceResponse { service: Some(Service::clone(&service).into()) })
    }

    pub(super) async fn update_service(
        &self,
        request: Request<UpdateServiceRequest>,
    ) -> Result<UpdateServiceResponse, Error> {
        let request = request.into_inner();
        let id = self
            .write(|view| {
                let stored = refs::service(view, &request.r#ref)?;
                // What the system wrote since is no reason to refuse: the specification is still the one that was read.
                let read_since = stored.spec_version..=stored.meta.version;
                if !read_since.contains(&request.version) {
                    return Err(out_of_sequence());
                }
                let updated = match request.rollback {
                    true => rolled_back(view, &stored, self.surroundings.clock.now_ns())?,
                    false => {
                        let wanted = request.spec.clone();
                        let wanted = wanted.ok_or_else(|| Error::bad_argument("no specification given"))?;
                        updated(view, &stored, spec::read_service(wanted)?)?
                    }
                };
                let id = updated.id.clone();
                Ok((vec![update(updated)], id))
            })
            .await?;
        Ok(UpdateServiceResponse { service: self.stored(&id) })
    }

    pub(super) async fn remove_service(
        &self,
        request: Request<RemoveServiceRequest>,
    ) -> Result<RemoveServiceResponse, Error> {
        let request = request.into_inner();
        let mut found = None;
        let id = self
            .write(|view| {
                // Found once: when the decision is repeated, the name may be another service's.
                let id = match &found {
                    Some(id) => ServiceId::clone(id),
                    None => refs::service(view, &request.r#ref)?.id.clone(),
                };
                found = Some(id.clone());
                let Some(service) = view.services().get(&id) else { return Ok((vec![], id)) };
                let mut service = Service::clone(service);
                service.pending_delete = true;
                Ok((vec![update(service)], id))
            })
            .await?;
        Ok(RemoveServiceResponse { id: id.into() })
    }

    pub(super) async fn list_tasks(&self, request: Request<ListTasksRequest>) -> Result<ListTasksResponse, Error> {
        let request = request.into_inner();
        let view = self.read().await?;
        let any = |ids: &[String], id: &str| ids.is_empty() || ids.iter().any(|one| one == id);
        let tasks = view.tasks().values();
        let tasks = tasks.filter(|t| any(&request.service_ids, &t.service_id) && any(&request.node_ids, &t.node_id));
        Ok(ListTasksResponse { tasks: tasks.map(|task| Task::clone(task).into()).collect() })
    }

    pub(super) async fn get_task(&self, request: Request<GetTaskRequest>) -> Result<GetTaskResponse, Error> {
        let view = self.read().await?;
        let task = refs::task(&view, &request.into_inner().r#ref)?;
        Ok(GetTaskResponse { task: Some(Task::clone(&task).into()) })
    }

    pub(super) async fn service_logs(&self, request: ServiceLogsRequest) -> Result<Stream<ServiceLogsResponse>, Error> {
        let view = self.read().await?;
        let target = match refs::service(&view, &request.r#ref) {
            Ok(service) => service.id.to_string(),
            Err(no_service) => match refs::task(&view, &request.r#ref) {
                Ok(task) => task.id.to_string(),
                Err(_) if no_service.kind() != ErrorKind::NotFound => return Err(no_service),
                Err(_) => return Err(Error::not_found(format!("no such task or service: {}", request.r#ref))),
            },
        };
        let lines = self.logs.service_logs(&target, LogOptions::from(&request))?;
        let written =
            |lines: Vec<TaskLine>| ServiceLogsResponse { messages: lines.into_iter().map(Into::into).collect() };
        Ok(lines.map_ok(written).boxed())
    }

    fn stored(&self, id: &str) -> Option<api::Service> {
        self.store.view().services().get(id).map(|service| Service::clone(service).into())
    }
}

fn check_free(view: &View, wanted: &ServiceSpec) -> Result<(), Error> {
    let name = &wanted.annotations.name;
    let taken = view.services().values().any(|s| !s.pending_delete && s.name() == *name);
    if taken {
        return Err(Error::conflict(format!("name conflicts with an existing object: service {name} already exists")));
    }
    Ok(())
}

fn updated(view: &View, stored: &Service, mut wanted: ServiceSpec) -> Result<Service, Error> {
    spec::check_service(view, &mut wanted, Some(&stored.id))?;
    let previous = stored.spec.clone();
    if (previous.mode == Mode::Global) != (wanted.mode == Mode::Global) {
        return Err(Error::not_supported("service mode change is not allowed"));
    }
    if previous.annotations.name != wanted.annotations.name {
        return Err(Error::not_supported("renaming services is not supported"));
    }
    let mut service = stored.clone();
    let redeploys = previous.task != wanted.task || previous.endpoint != wanted.endpoint;
    let paused = stored.phase() == Phase::Paused;
    // Asking for the same again must not lose the way back to what was before.
    if previous != wanted {
        service.previous_spec_version = stored.spec_version;
        service.previous_spec = Some(previous);
    }
    service.spec = wanted;
    service.spec_version = view.version() + 1;
    // Every update takes up a paused one.
    if redeploys || paused {
        service.update_status = None;
    }
    Ok(service)
}

fn rolled_back(view: &View, stored: &Service, now_ns: i64) -> Result<Service, Error> {
    let Some(mut previous) = stored.previous_spec.clone() else {
        return Err(Error::conflict(format!("service {} does not have a previous spec", stored.name())));
    };
    spec::check_service(view, &mut previous, Some(&stored.id))?;
    let mut service = stored.clone();
    service.previous_spec = Some(stored.spec.clone());
    service.previous_spec_version = stored.spec_version;
    service.spec = previous;
    service.spec_version = view.version() + 1;
    service.update_status = Some(UpdateStatus {
        state: UpdateState::RollbackStarted,
        started_at_ns: now_ns,
        message: "manually requested rollback".into(),
        ..UpdateStatus::default()
    });
    Ok(service)
}

fn counts(view: &View, service: &Service) -> ServiceCounts {
    let tasks = || view.tasks_of_service(&service.id);
    let running = tasks().filter(|task| task.is_up()).count() as u64;
    let desired = match service.spec.mode {
        Mode::Replicated(replicas) => replicas,
        // A task that waits to replace another one of its node does not count twice.
        Mode::Global => {
            tasks().filter(|task| task.is_wanted()).map(|task| &task.node_id).collect::<BTreeSet<_>>().len() as u64
        }
    };
    ServiceCounts { running, desired }
}

/// A list is for looking at; credentials are only needed by who changes the service.
fn without_credentials(service: &Service) -> Service {
    let mut service = service.clone();
    for spec in std::iter::once(&mut service.spec).chain(&mut service.previous_spec) {
        spec.task.container.registry_auth.clear();
    }
    service
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Annotations, ContainerSpec, TaskSpec};

    fn spec(image: &str) -> ServiceSpec {
        let container = ContainerSpec { image: image.into(), ..ContainerSpec::default() };
        ServiceSpec {
            annotations: Annotations { name: "web".into(), ..Annotations::default() },
            task: TaskSpec { container, ..TaskSpec::default() },
            ..ServiceSpec::default()
        }
    }

    #[test]
    fn a_paused_update_is_taken_up_by_any_other_and_the_way_back_stays() {
        for (state, kept) in [
            (UpdateState::Paused, false),
            (UpdateState::RollbackPaused, false),
            (UpdateState::Updating, true),
            (UpdateState::Completed, true),
        ] {
            let stored = Service {
                id: "w".into(),
                spec: spec("new"),
                previous_spec: Some(spec("old")),
                update_status: Some(UpdateStatus { state, ..UpdateStatus::default() }),
                ..Service::default()
            };
            let same = updated(&View::default(), &stored, spec("new")).unwrap();
            assert_eq!(same.update_status.is_some(), kept, "{state:?}");
            assert_eq!(same.previous_spec, Some(spec("old")));
            let other = updated(&View::default(), &stored, spec("newer")).unwrap();
            assert_eq!((other.update_status, other.previous_spec), (None, Some(spec("new"))));
        }
    }
}
