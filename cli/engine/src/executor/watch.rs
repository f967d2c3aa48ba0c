//! Waiting for containers' state files to change: one inotify(7) instance for all of them.
//!
//! Used by the controllers. What is seen is a hint; who waits looks for itself, and never waits for ever.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::sync::Notify;

/// Bytes of events read at once.
const BUFFER: usize = 16 * 1024;

/// How long the reading thread outlives the watcher at most, milliseconds.
const PATIENCE_MS: u16 = 5000;

/// All watched directories.
pub(super) struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    inotify: OwnedFd,
    /// Who waits, by watch descriptor; many may wait for one directory.
    waiting: Mutex<HashMap<i32, Weak<Notify>>>,
}

/// One directory, watched for as long as this lives.
pub(super) struct Watched {
    shared: Arc<Shared>,
    descriptor: i32,
    notify: Arc<Notify>,
}

impl Watcher {
    /// A watcher that watches nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { inotify, waiting: Mutex::default() });
        start(&shared)?;
        Ok(Self { shared })
    }

    /// Watches for files that are replaced in a directory.
    pub(super) fn watch(&self, directory: &Path) -> io::Result<Watched> {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR;
        let descriptor = inotify::add_watch(&self.shared.inotify, directory, flags)?;
        let notify = waiting.get(&descriptor).and_then(Weak::upgrade).unwrap_or_default();
        waiting.insert(descriptor, Arc::downgrade(&notify));
        Ok(Watched { shared: Arc::clone(&self.shared), descriptor, notify })
    }
}

impl Watched {
    /// Returns at the next change.
    pub(super) async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may watch the same directory.
        if Arc::strong_count(&self.notify) == 1 {
            waiting.remove(&self.descriptor);
            inotify::remove_watch(&self.shared.inotify, self.descriptor).ok();
        }
    }
}

/// Reads events for as long as the watcher lives, on a thread of its own.
fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let inotify = shared.inotify.try_clone()?;
    let shared = Arc::downgrade(shared);
    let read = move || {
        while shared.strong_count() > 0 {
            let mut ready = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
            // Interrupted or out of time: whether anybody still waits is looked at again.
            if !matches!(poll(&mut ready, PollTimeout::from(PATIENCE_MS)), Ok(1..)) {
                continue;
            }
            let Some(shared) = shared.upgrade() else { return };
            let mut buffer = [MaybeUninit::uninit(); BUFFER];
            let mut events = inotify::Reader::new(&inotify, &mut buffer);
            while let Ok(event) = events.next() {
                let waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(notify) = waiting.get(&event.wd()).and_then(Weak::upgrade) {
                    // Kept for one who looks only later.
                    notify.notify_one();
                }
            }
        }
    };
    std::thread::Builder::new().name("watcher".to_owned()).spawn(read)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_replaced_file_wakes_who_waits() {
        let directory = tempfile::tempdir().unwrap();
        let watcher = Watcher::new().unwrap();
        let watched = watcher.watch(directory.path()).unwrap();
        std::fs::write(directory.path().join("state.json.new"), "{}").unwrap();
        std::fs::rename(directory.path().join("state.json.new"), directory.path().join("state.json")).unwrap();
        tokio::time::timeout(Duration::from_secs(30), watched.changed()).await.expect("no change was seen");
        drop(watched);
        assert!(watcher.shared.waiting.lock().unwrap().is_empty());
    }
}
