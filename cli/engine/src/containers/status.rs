//! How a container stands, in docker's words: `Up 3 minutes (healthy)`.

use jiff::Timestamp;
use skep_common::human;
use skep_runtime::state::{ContainerState, HealthStatus, Status};

/// Docker's STATUS column: `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`, `Created`.
pub(crate) fn status_text(state: &ContainerState, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| time.map(|time| human::duration(now.duration_since(time).as_secs()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_in_dockers_words() {
        let now = Timestamp::from_second(1_000_000).unwrap_or_default();
        let ago = |seconds: i64| Timestamp::from_second(1_000_000 - seconds).ok();
        let mut state = ContainerState { status: Status::Running, started_at: ago(180), ..ContainerState::default() };
        assert_eq!(status_text(&state, now), "Up 3 minutes");
        state.health =
            Some(skep_runtime::state::Health { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() });
        assert_eq!(status_text(&state, now), "Up 3 minutes (health: starting)");
        state = ContainerState { status: Status::Exited, exit_code: 7, finished_at: ago(5), ..state };
        assert_eq!(status_text(&state, now), "Exited (7) 5 seconds ago");
    }
}
