//! The replicated state: [`View`] is an immutable snapshot, changed only by committed raft entries.

#[cfg(any(test, feature = "sim"))]
mod memory;
mod pack;
mod view;

#[cfg(any(test, feature = "sim"))]
pub(crate) use memory::MemoryStore;
#[cfg(test)]
pub(crate) use pack::TRANSACTION_BYTES_MAX;
pub(crate) use pack::{Packed, TRANSACTION_ACTIONS_MAX, packed};
pub(crate) use view::{ApplyError, View};

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::api::{Object, ObjectKind, ObjectRef, StoreAction, object, store_action};

/// Why a transaction was not committed. Nothing of it was.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ProposeError {
    /// An object was changed or removed since it was read: read again and decide again.
    #[error("update out of sequence")]
    Conflict(#[from] ApplyError),
    /// This manager does not lead; the leader's address is given when it is known.
    #[error("this manager is not the leader{}", .leader.as_deref().map(|a| format!(" (the leader is at {a})")).unwrap_or_default())]
    NotLeader {
        /// HOST:PORT of the leader.
        leader: Option<String>,
    },
    /// No majority of managers answered in time.
    #[error(
        "The swarm does not have a leader. It's possible that too few managers are online. \
         Make sure more than half of the managers are online."
    )]
    NoQuorum,
    /// More than one log entry may hold.
    #[error("a change of {bytes} bytes is too large for the replicated store")]
    TooLarge {
        /// Its size, encoded.
        bytes: usize,
    },
    /// The raft node has stopped.
    #[error("the raft node has stopped: {0}")]
    Stopped(String),
}

/// What the brains and the control API see of the replicated store.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    /// The newest committed state on this manager.
    fn view(&self) -> Arc<View>;

    /// Signals every newly committed view. A hint: the reader looks at the newest view, none in between is promised.
    fn watch(&self) -> watch::Receiver<Arc<View>>;

    /// Commits all actions or none; returns the version (raft index) once they are applied on this manager.
    async fn propose(&self, actions: Vec<StoreAction>) -> Result<u64, ProposeError>;
}

/// A create action.
pub(crate) fn create(object: impl Into<object::Object>) -> StoreAction {
    StoreAction { action: Some(store_action::Action::Create(Object { object: Some(object.into()) })) }
}

/// An update action; applied only if the object's `meta.version` is still the stored one.
pub(crate) fn update(object: impl Into<object::Object>) -> StoreAction {
    StoreAction { action: Some(store_action::Action::Update(Object { object: Some(object.into()) })) }
}

/// A remove action; removing what is gone is no error.
pub(crate) fn remove(kind: ObjectKind, id: impl Into<String>) -> StoreAction {
    StoreAction { action: Some(store_action::Action::Remove(ObjectRef { kind: kind.into(), id: id.into() })) }
}
