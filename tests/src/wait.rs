//! Waiting for something to become true, never for time to pass.

use std::thread;
use std::time::{Duration, Instant};

/// `limit` stretched by `SKEP_TEST_SLOW` (a whole factor; software emulation needs about 10).
#[must_use]
pub fn slow(limit: Duration) -> Duration {
    let factor = std::env::var("SKEP_TEST_SLOW").ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(1);
    limit * factor.max(1)
}

/// Asks `condition` until it answers `Ok`, at most `limit` (stretched on slow machines), and returns its value.
///
/// # Panics
/// When the time is over, with `what` was waited for and the last reason `condition` gave.
#[track_caller]
pub fn wait_until<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    match try_until(limit, &mut condition) {
        Ok(value) => value,
        Err(reason) => panic!("waited {:?} for {what}: {reason}", slow(limit)),
    }
}

/// As [`wait_until`], but returns the last reason instead of panicking.
///
/// # Errors
/// The last reason `condition` gave when the time is over.
pub fn try_until<T>(limit: Duration, condition: &mut impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = Instant::now() + slow(limit);
    let mut pause = Duration::from_millis(10);
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() > deadline => return Err(reason),
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}
