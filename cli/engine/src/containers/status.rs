//! How a container stands, in docker's words: `Up 3 minutes (healthy)`.

use jiff::Timestamp;
use skep_runtime::state::{ContainerState, HealthStatus, Status};

/// Docker's STATUS column: `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`, `Created`.
pub fn status_text(state: &ContainerState, now: Timestamp) -> String {
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
        state.health =
            Some(skep_runtime::state::Health { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() });
        assert_eq!(status_text(&state, now), "Up 3 minutes (health: starting)");
        state = ContainerState { status: Status::Exited, exit_code: 7, finished_at: ago(5), ..state };
        assert_eq!(status_text(&state, now), "Exited (7) 5 seconds ago");
    }
}
