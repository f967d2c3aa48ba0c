//! Whether and when an ended container is started again. Pure.

use std::time::Duration;

use crate::records::config::RestartPolicy;

const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(60);
/// A container that was up this long starts over with the shortest delay.
const STEADY: Duration = Duration::from_secs(10);

/// The growing delay between restarts.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The delay before the next start of a container that was up for `uptime`.
    pub(super) fn next(&mut self, uptime: Duration) -> Duration {
        let delay = match self.last {
            Some(last) if uptime < STEADY => (last * 2).min(DELAY_MAX),
            _ => DELAY_MIN,
        };
        self.last = Some(delay);
        delay
    }
}

/// Whether the policy wants a container started again that ended by itself.
pub(crate) fn wanted(policy: RestartPolicy, exit_code: i32, restarts: u32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(times) => exit_code != 0 && (times == 0 || restarts < times),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_a_minute_and_falls_back() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let delays: Vec<u128> = (0..12).map(|_| backoff.next(short).as_millis()).collect();
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[9..], [51_200, 60_000, 60_000]);
        assert_eq!(backoff.next(STEADY), DELAY_MIN);
    }

    #[test]
    fn each_policy_decides_as_docker_does() {
        assert!(!wanted(RestartPolicy::No, 1, 0));
        assert!(wanted(RestartPolicy::Always, 0, 1000));
        assert!(wanted(RestartPolicy::UnlessStopped, 0, 0));
        assert!(!wanted(RestartPolicy::OnFailure(2), 0, 0));
        assert!(wanted(RestartPolicy::OnFailure(2), 1, 1));
        assert!(!wanted(RestartPolicy::OnFailure(2), 1, 2));
        assert!(wanted(RestartPolicy::OnFailure(0), 1, 99));
    }
}
