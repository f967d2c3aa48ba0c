//! A node's way to the managers: any of them will do, for they pass on to the leader what only it can answer.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tonic::transport::Channel;

use super::{Peers, WireError};
use crate::api::ManagerPeer;

/// The managers known to this node, and which of them is used now.
#[derive(Debug)]
pub(crate) struct Managers {
    peers: Arc<Peers>,
    known: watch::Sender<Vec<ManagerPeer>>,
    used: Mutex<usize>,
}

impl Managers {
    /// Begins with the managers that the node knew when it last ran, or that it was told to join.
    pub(crate) fn new(peers: Arc<Peers>, known: Vec<ManagerPeer>) -> Self {
        Self { peers, known: watch::Sender::new(known), used: Mutex::new(0) }
    }

    /// The connection to the manager in use. Fails only if none is known: whether the manager answers shows in use.
    ///
    /// # Errors
    /// If no manager is known, or its address is none.
    pub(crate) async fn channel(&self) -> Result<Channel, WireError> {
        let addr = self.address()?;
        self.peers.channel(&addr)
    }

    /// The manager in use did not answer, or could not reach the leader: the next call takes another.
    pub(crate) fn failed(&self) {
        let known = self.known.borrow();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = known.get(*used % known.len().max(1)) {
            self.peers.forget(&peer.addr);
        }
        *used = (*used + 1) % known.len().max(1);
    }

    /// Replaces the list; the manager in use stays in use if it is still in it.
    pub(crate) fn set(&self, managers: Vec<ManagerPeer>) {
        if managers.is_empty() || *self.known.borrow() == managers {
            return;
        }
        let current = self.address().ok();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = managers.iter().position(|m| Some(&m.addr) == current.as_ref()).unwrap_or(0);
        self.known.send_replace(managers);
    }

    /// The list.
    pub(crate) fn known(&self) -> Vec<ManagerPeer> {
        self.known.borrow().clone()
    }

    fn address(&self) -> Result<String, WireError> {
        let known = self.known.borrow();
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(*used % known.len().max(1)).map(|m| m.addr.clone()).ok_or(WireError::NoManagers)
    }
}
