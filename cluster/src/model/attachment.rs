//! An address that is lent to a single container.

use super::{AttachmentId, Meta, NetworkId, NodeId};

/// A container that `skep run --network` joins to an attachable overlay.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attachment {
    /// Which.
    pub id: AttachmentId,
    /// What the system keeps of every object.
    pub meta: Meta,
    /// Where.
    pub network_id: NetworkId,
    /// The container's machine.
    pub node_id: NodeId,
    /// The container.
    pub container_id: String,
    /// As its user calls it.
    pub container_name: String,
    /// Further names on the network.
    pub aliases: Vec<String>,
    /// Once allocated with prefix length; before it without, if a certain one was asked for.
    pub address: String,
    /// Why no address could be given ("" when one could or none was tried yet).
    pub allocation_error: String,
}

impl Attachment {
    /// Whether it has its address.
    pub(crate) fn is_allocated(&self) -> bool {
        self.address.contains('/')
    }
}
