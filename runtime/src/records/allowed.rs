//! What the state of a container lets a verb do: the one table, and docker's words for a refusal.
//!
//! Asked by every verb of `lifecycle` and `streams`. Pure: whoever has to act on the answer holds the container's
//! lock, or asks the shim, which knows better.
//!
//! | | created | running | paused | restarting | removing | exited | dead |
//! |---|---|---|---|---|---|---|---|
//! | start | yes | – | no | – | no | yes | no |
//! | stop | – | yes | yes | yes | – | – | – |
//! | kill, top | no | yes | yes | yes | no | no | no |
//! | pause, exec, attach, resize | no | yes | no | no | no | no | no |
//! | unpause | no | no | yes | no | no | no | no |
//! | remove | yes | forced | forced | forced | yes | yes | yes |
//! | rename, update | yes | yes | yes | yes | no | yes | no |
//!
//! A dash: there is nothing to do, and that is no failure.

use crate::error::{Error, Result};
use crate::records::state::Status;

impl Status {
    /// Whether `start` has something to start.
    pub(crate) const fn can_start(self) -> bool {
        matches!(self, Self::Created | Self::Exited)
    }

    /// Whether `start` has nothing to do: it runs, or will soon.
    pub(crate) const fn is_started(self) -> bool {
        matches!(self, Self::Running | Self::Restarting)
    }

    /// Whether `stop` has something to stop.
    pub(crate) const fn can_stop(self) -> bool {
        self.is_active()
    }

    /// Whether there may be a process to signal.
    pub(crate) const fn can_kill(self) -> bool {
        self.is_active()
    }

    /// Whether its processes can be frozen.
    pub(crate) const fn can_pause(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether its processes can be thawed.
    pub(crate) const fn can_unpause(self) -> bool {
        matches!(self, Self::Paused)
    }

    /// Whether a program can be executed in it.
    pub(crate) const fn can_exec(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether its streams can be had.
    pub(crate) const fn can_attach(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether its terminal has somebody who would see its size.
    pub(crate) const fn can_resize(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether its processes can be listed.
    pub(crate) const fn can_top(self) -> bool {
        self.is_active()
    }

    /// Whether it can be removed without being killed first.
    pub(crate) const fn can_remove(self) -> bool {
        !self.is_active()
    }

    /// Whether it can have another name.
    pub(crate) const fn can_rename(self) -> bool {
        !matches!(self, Self::Removing | Self::Dead)
    }

    /// Whether its limits and its restart policy can change.
    pub(crate) const fn can_update(self) -> bool {
        !matches!(self, Self::Removing | Self::Dead)
    }
}

/// What is to be done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Kill,
    Pause,
    Unpause,
    Exec,
    Attach,
    Resize,
    Top,
    Remove,
    Rename,
    Update,
}

impl Verb {
    /// Whether the state allows it.
    const fn is_allowed(self, status: Status) -> bool {
        match self {
            Self::Start => status.can_start(),
            Self::Kill => status.can_kill(),
            Self::Pause => status.can_pause(),
            Self::Unpause => status.can_unpause(),
            Self::Exec => status.can_exec(),
            Self::Attach => status.can_attach(),
            Self::Resize => status.can_resize(),
            Self::Top => status.can_top(),
            Self::Remove => status.can_remove(),
            Self::Rename => status.can_rename(),
            Self::Update => status.can_update(),
        }
    }

    /// Refuses what the state does not allow. `container` is what the words call it: its name for
    /// [`Verb::Remove`], what the user said for [`Verb::Start`], else its id.
    ///
    /// # Errors
    /// One of the errors for states of containers, in docker's words.
    pub(crate) fn require(self, status: Status, container: &str) -> Result<()> {
        if self.is_allowed(status) {
            return Ok(());
        }
        let container = container.to_owned();
        Err(match (self, status) {
            (Self::Start, Status::Paused) => Error::StartPaused,
            (Self::Start | Self::Rename | Self::Update, _) => Error::NoSuchContainer(container),
            (Self::Remove, Status::Paused) => Error::RemovePaused(container),
            (Self::Remove, _) => Error::RemoveRunning(container),
            (Self::Unpause, _) => Error::NotPaused(container),
            (Self::Pause, Status::Paused) => Error::AlreadyPaused(container),
            (Self::Exec, Status::Paused) => Error::Paused(container, "exec"),
            (Self::Attach, Status::Paused) => Error::Paused(container, "attach"),
            (Self::Resize, Status::Paused) => Error::Paused(container, "resize"),
            (Self::Pause | Self::Exec | Self::Attach | Self::Resize, Status::Restarting) => {
                Error::Restarting(container)
            }
            (Self::Kill | Self::Top | Self::Pause | Self::Exec | Self::Attach | Self::Resize, _) => {
                Error::NotRunning(container)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [Status; 7] = [
        Status::Created,
        Status::Running,
        Status::Paused,
        Status::Restarting,
        Status::Removing,
        Status::Exited,
        Status::Dead,
    ];

    #[test]
    fn the_table_is_as_drawn() {
        // One letter a state, in the order of STATES.
        let table = [
            (Verb::Start, "y....y."),
            (Verb::Kill, ".yyy..."),
            (Verb::Pause, ".y....."),
            (Verb::Unpause, "..y...."),
            (Verb::Exec, ".y....."),
            (Verb::Attach, ".y....."),
            (Verb::Resize, ".y....."),
            (Verb::Top, ".yyy..."),
            (Verb::Remove, "y...yyy"),
            (Verb::Rename, "yyyy.y."),
            (Verb::Update, "yyyy.y."),
        ];
        for (verb, line) in table {
            let drawn: String =
                STATES.map(|status| if verb.require(status, "c").is_ok() { 'y' } else { '.' }).iter().collect();
            assert_eq!(drawn, line, "{verb:?}");
        }
        assert_eq!(STATES.map(Status::can_stop), [false, true, true, true, false, false, false]);
        assert_eq!(STATES.map(Status::is_started), [false, true, false, true, false, false, false]);
    }

    #[test]
    fn refusals_are_in_dockers_words() {
        let said = |verb: Verb, status| verb.require(status, "c").err().map(|error| error.to_string());
        for (verb, status, words) in [
            (Verb::Start, Status::Paused, "cannot start a paused container, try unpause instead"),
            (Verb::Start, Status::Removing, "No such container: c"),
            (Verb::Kill, Status::Exited, "container c is not running"),
            (Verb::Pause, Status::Paused, "Container c is already paused"),
            (Verb::Pause, Status::Restarting, "Container c is restarting, wait until the container is running"),
            (Verb::Pause, Status::Created, "container c is not running"),
            (Verb::Unpause, Status::Exited, "Container c is not paused"),
            (Verb::Exec, Status::Paused, "Container c is paused, unpause the container before exec"),
            (Verb::Attach, Status::Paused, "Container c is paused, unpause the container before attach"),
            (Verb::Exec, Status::Restarting, "Container c is restarting, wait until the container is running"),
            (Verb::Top, Status::Dead, "container c is not running"),
            (
                Verb::Remove,
                Status::Restarting,
                "cannot remove container \"/c\": container is running: stop the container before removing or force \
                 remove",
            ),
            (
                Verb::Remove,
                Status::Paused,
                "cannot remove container \"/c\": container is paused and must be unpaused first: unpause and stop the \
                 container before removing or force remove",
            ),
        ] {
            assert_eq!(said(verb, status).as_deref(), Some(words), "{verb:?} {status}");
        }
    }
}
