//! `POST /containers/create`.

use serde::{Deserialize, Serialize};
use skep_runtime::Runtime;

use super::{config, leases};
use crate::blocking::aside;
use crate::docker::create::{CreateRequest, CreateResponse};
use crate::engine::Engine;
use crate::error::Result;
use crate::images::PlatformChoice;

/// A container that is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateContainer {
    /// Its name; none: one is made up.
    pub name: Option<String>,
    /// The platform that its image has to be for, `OS[/ARCHITECTURE[/VARIANT]]`; none: this machine's.
    pub platform: Option<String>,
    /// The rest.
    pub body: CreateRequest,
}

/// A container on its way.
pub enum Begun {
    /// It is made.
    Made(CreateResponse),
    /// The swarm has to lend it an address first: [`Engine::finish_container`].
    OnOverlays(Box<Unfinished>),
}

/// A container that needs an address of the swarm.
pub struct Unfinished {
    runtime: Runtime,
    read: config::Read,
    /// Which of its endpoints are on networks of the swarm.
    overlays: Vec<usize>,
}

impl Engine {
    /// Refuses a request that cannot be carried out whatever images, networks and containers there are.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`], [`crate::ErrorKind::NotSupported`].
    pub fn check_container(&self, request: &CreateContainer) -> Result<()> {
        read(&self.runtime()?, request).map(drop)
    }

    /// Makes a container of an image that is here. An overlay of the swarm lends it an address.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] for an image, network, volume or container that is not there,
    /// [`crate::ErrorKind::Conflict`] for a name that is taken, [`crate::ErrorKind::BadArgument`] and
    /// [`crate::ErrorKind::NotSupported`] for what cannot be.
    pub async fn create_container(&self, request: CreateContainer) -> Result<CreateResponse> {
        let engine = self.clone();
        match aside(move || engine.begin_container(&request)).await? {
            Begun::Made(made) => Ok(made),
            Begun::OnOverlays(unfinished) => self.finish_container(*unfinished).await,
        }
    }

    /// [`Self::create_container`] for who has no async runtime: blocks, and makes the container unless it is on an
    /// overlay of the swarm.
    ///
    /// # Errors
    /// As [`Self::create_container`].
    pub fn begin_container(&self, request: &CreateContainer) -> Result<Begun> {
        let runtime = self.runtime()?;
        let image = runtime.images().resolve(&request.body.config.image)?;
        let mut read = read(&runtime, request)?;
        let choice = PlatformChoice::read(request.platform.as_deref())?;
        read.warnings.extend(choice.check(&request.body.config.image, &image)?);
        let overlays = self.overlays(&runtime, &read.config)?;
        if !overlays.is_empty() {
            return Ok(Begun::OnOverlays(Box::new(Unfinished { runtime, read, overlays })));
        }
        let created = runtime.create(&read.config)?;
        Ok(Begun::Made(CreateResponse { id: created.id, warnings: read.warnings }))
    }

    /// Makes a container, for which the swarm lends addresses.
    ///
    /// # Errors
    /// As [`Self::create_container`].
    pub async fn finish_container(&self, unfinished: Unfinished) -> Result<CreateResponse> {
        let Unfinished { runtime, mut read, overlays } = unfinished;
        let leases = self.lease(&runtime, &mut read.config, &overlays).await?;
        match aside(move || Ok(runtime.create(&read.config)?)).await {
            Ok(created) => Ok(CreateResponse { id: created.id, warnings: read.warnings }),
            Err(error) => {
                self.release(&leases).await;
                Err(error)
            }
        }
    }

    /// The addresses that the swarm has lent to a container.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub fn leases(&self, name_or_id: &str) -> Result<Vec<leases::Lease>> {
        Ok(leases::of_container(&self.runtime()?.record(name_or_id)?.0))
    }
}

fn read(runtime: &Runtime, request: &CreateContainer) -> Result<config::Read> {
    config::read(runtime.net(), request.name.as_deref(), &request.body)
}
