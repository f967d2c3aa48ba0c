//! `ps`: what there is, in short.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use skep_net::BoundPort;

use crate::error::{DisplayChain, Result};
use crate::lifecycle::heal::unknown_state;
use crate::records::config::{ContainerRecord, MountType, NetworkMode};
use crate::records::state::{ContainerState, HealthStatus, Status};
use crate::runtime::Runtime;

/// One container, in short.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image, as it was asked for.
    pub image: String,
    /// `sha256:…`.
    pub image_id: String,
    /// What it runs, arguments joined by spaces.
    pub command: String,
    /// When it was created.
    pub created: Timestamp,
    /// How it stands.
    pub state: ContainerState,
    /// Published ports, while it runs.
    pub ports: Vec<BoundPort>,
    /// Exposed ports (`80/tcp`).
    pub exposed: Vec<String>,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Names of its networks.
    pub networks: Vec<String>,
    /// Its addresses, by network, while it runs.
    pub addresses: Vec<(String, Ipv4Addr)>,
    /// Names of volumes and paths of bind mounts.
    pub mounts: Vec<String>,
}

impl Runtime {
    /// The containers, newest first; without `all`, those that run. Heals what it finds broken.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn list(&self, all: bool) -> Result<Vec<ContainerSummary>> {
        if let Err(error) = self.heal() {
            tracing::warn!(error = %DisplayChain(&error), "not everything was healed");
        }
        let mut summaries = Vec::new();
        for record in self.records()? {
            let state = match self.state(&record.id) {
                Ok(Some(state)) => state,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(container.id = %record.id, error = %DisplayChain(&error), "state not known");
                    unknown_state(&record)
                }
            };
            if all || state.status.is_active() {
                summaries.push(self.summary(record, state));
            }
        }
        summaries.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(summaries)
    }

    fn summary(&self, record: ContainerRecord, state: ContainerState) -> ContainerSummary {
        let sandbox = match state.status.is_active() {
            true => skep_net::SandboxId::new(&record.id).and_then(|id| self.net().sandbox(&id)).ok().flatten(),
            false => None,
        };
        let networks = network_names(&record);
        let addresses = sandbox.iter().flat_map(|sandbox| &sandbox.endpoints);
        let addresses = addresses.map(|leg| (leg.network_name.clone(), leg.address.addr())).collect();
        let ports = sandbox.map(|sandbox| sandbox.ports).unwrap_or_default();
        let command: Vec<&str> =
            record.resolved.entrypoint.iter().chain(&record.resolved.cmd).map(String::as_str).collect();
        ContainerSummary {
            command: command.join(" "),
            networks,
            addresses,
            ports,
            mounts: record.mounts.iter().map(|point| mount_name(&point.kind, &point.target)).collect(),
            id: record.id,
            name: record.name,
            image: record.config.image,
            image_id: record.image_id,
            created: record.created,
            state,
            exposed: record.resolved.exposed_ports,
            labels: record.resolved.labels,
        }
    }
}

/// Names of the networks a container is, or will be, on.
pub(crate) fn network_names(record: &ContainerRecord) -> Vec<String> {
    let config = &record.config;
    match &config.network {
        NetworkMode::Host => vec!["host".to_owned()],
        NetworkMode::None => vec!["none".to_owned()],
        NetworkMode::Container(_) => Vec::new(),
        NetworkMode::Endpoints if config.endpoints.is_empty() => vec!["bridge".to_owned()],
        NetworkMode::Endpoints => config
            .endpoints
            .iter()
            .map(|endpoint| endpoint.network_name.clone().unwrap_or_else(|| endpoint.network.clone()))
            .collect(),
    }
}

fn mount_name(kind: &MountType, target: &str) -> String {
    match kind {
        MountType::Bind { source, .. } => source.display().to_string(),
        MountType::Volume { name, .. } => name.clone(),
        MountType::Tmpfs { .. } => target.to_owned(),
    }
}

impl ContainerSummary {
    /// Docker's STATUS column: `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`, `Created`.
    pub fn status_text(&self, now: Timestamp) -> String {
        status_text(&self.state, now)
    }
}

pub(crate) fn status_text(state: &ContainerState, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| time.map(|time| human_duration(now.duration_since(time).as_secs()));
    match state.status {
        Status::Running => {
            let up = since(state.started_at).unwrap_or_default();
            match state.health.as_ref().map(|health| health.status) {
                Some(HealthStatus::Starting) => format!("Up {up} (health: starting)"),
                Some(health) => format!("Up {up} ({})", health.as_str()),
                None => format!("Up {up}"),
            }
        }
        Status::Paused => format!("Up {} (Paused)", since(state.started_at).unwrap_or_default()),
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at).unwrap_or_default())
        }
        Status::Exited => match since(state.finished_at) {
            Some(ago) => format!("Exited ({}) {ago} ago", state.exit_code),
            None => format!("Exited ({})", state.exit_code),
        },
        Status::Created => "Created".to_owned(),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
    }
}

/// A time in docker's words, as in `3 minutes`.
pub fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_dockers() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (179, "2 minutes"),
            (3600, "About an hour"),
            (2 * 3600, "2 hours"),
            (49 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (61 * 86400, "2 months"),
            (731 * 86400, "2 years"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn states_are_told_in_dockers_words() {
        let now = Timestamp::from_second(1_000_000).unwrap_or_default();
        let ago = |seconds: i64| Timestamp::from_second(1_000_000 - seconds).ok();
        let mut state = ContainerState { status: Status::Running, started_at: ago(180), ..ContainerState::default() };
        assert_eq!(status_text(&state, now), "Up 3 minutes");
        state.health = Some(crate::records::state::Health::starting());
        assert_eq!(status_text(&state, now), "Up 3 minutes (health: starting)");
        state = ContainerState { status: Status::Exited, exit_code: 7, finished_at: ago(5), ..state };
        assert_eq!(status_text(&state, now), "Exited (7) 5 seconds ago");
    }
}
