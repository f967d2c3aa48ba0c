//! How a container ended of whose end nobody was told: its shim hung up without a word.
//!
//! Called by `wait`, `stop` and whoever is attached. A shim that was killed lets its sockets go
//! before it counts as ended, and another command may be quicker at healing what it left: what
//! state.json says at that moment is not how this life ended.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::lifecycle::heal::KILLED;
use crate::lifecycle::start::SETTLE_PATIENCE;
use crate::records::state::ProcessId;
use crate::runtime::Runtime;

/// How long a shim that hung up may take to end, before it counts as one that lives on.
const DEATH_PATIENCE: Duration = Duration::from_secs(5);

impl Runtime {
    /// The exit code of the life that `shim` minded, after healing what it left.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the shim lives, and has cut this client off.
    pub(crate) fn after_hang_up(&self, id: &str, shim: Option<ProcessId>) -> Result<i32> {
        let began = Instant::now();
        loop {
            let Some((_, state)) = self.load(id)? else { return Ok(KILLED) };
            match state.shim.filter(|now| now.is_alive()) {
                None => break,
                Some(now) if is_another(now, shim) => return Ok(KILLED),
                Some(_) if state.status.is_active() && began.elapsed() > DEATH_PATIENCE => {
                    return Err(Error::HungUp(id.to_owned()));
                }
                Some(_) if began.elapsed() > SETTLE_PATIENCE => return Err(Error::Busy(id.to_owned())),
                Some(_) => sleep(Duration::from_millis(10)),
            }
        }
        let lock = match self.lock(id) {
            Err(Error::NoSuchContainer(_)) => return Ok(KILLED),
            lock => lock?,
        };
        if self.heal_and_resume(id, lock)? {
            return Ok(KILLED);
        }
        Ok(match self.load(id)? {
            Some((_, state)) if !state.shim.is_some_and(|now| is_another(now, shim)) => state.exit_code,
            _ => KILLED,
        })
    }
}

/// Whether a shim minds another life: whoever healed the last one has started it.
fn is_another(now: ProcessId, before: Option<ProcessId>) -> bool {
    before.is_some_and(|before| before != now)
}
