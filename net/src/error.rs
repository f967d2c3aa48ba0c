//! Everything that can go wrong in this crate, one variant per failed operation.
//!
//! Returned by every public function; messages name the thing and, where there is one, the remedy.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use skep_common::files::{FileError, LoadError};
use skep_common::{ErrorKind, PortProtocol};

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed network operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name or id holds a character that is not allowed, or is empty or too long.
    #[error("invalid {kind} {value:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* up to 128 characters is allowed")]
    InvalidName {
        /// What is named ("network name", "sandbox id").
        kind: &'static str,
        /// The offending text.
        value: String,
    },
    /// Text is not a MAC address.
    #[error("invalid MAC address {value:?}: expected six hexadecimal octets such as 02:42:ac:11:00:02")]
    InvalidMac {
        /// The offending text.
        value: String,
    },
    /// A network of that name exists.
    #[error("network with name {name} already exists")]
    NetworkNameTaken {
        /// The name asked for.
        name: String,
    },
    /// No network has this name, id or id prefix.
    #[error("network {name} not found")]
    NetworkNotFound {
        /// What was looked for.
        name: String,
    },
    /// More than one network id starts with the given prefix.
    #[error("network {prefix} is ambiguous: {count} networks match")]
    NetworkAmbiguous {
        /// The prefix given.
        prefix: String,
        /// How many ids start with it.
        count: usize,
    },
    /// A predefined network (bridge, host, none) can be neither made nor removed.
    #[error("{name} is a pre-defined network and cannot be {verb}")]
    NetworkPredefined {
        /// Its name.
        name: String,
        /// "created" or "removed".
        verb: &'static str,
    },
    /// Containers are still connected.
    #[error("network {name} has active endpoints ({users}): disconnect or remove them first")]
    NetworkInUse {
        /// The network's name.
        name: String,
        /// Names of the containers, joined by commas.
        users: String,
    },
    /// The subnet overlaps another network of ours or a route of the host.
    #[error("subnet {subnet} overlaps with {other}: choose another with --subnet")]
    SubnetOverlaps {
        /// The subnet asked for.
        subnet: Ipv4Net,
        /// What it overlaps: a network's name and subnet, or a host route.
        other: String,
    },
    /// Subnet, gateway or range do not fit together.
    #[error("invalid address configuration of network {network}: {reason}")]
    InvalidSubnet {
        /// The network's name.
        network: String,
        /// What does not fit.
        reason: String,
    },
    /// Every default pool overlaps something.
    #[error("no free subnet left in the default address pools: give one with --subnet")]
    PoolExhausted,
    /// Every address of the subnet is in use.
    #[error("no available addresses left in {subnet} of network {network}")]
    SubnetExhausted {
        /// The network's name.
        network: String,
        /// Its subnet.
        subnet: Ipv4Net,
    },
    /// The address asked for is taken, or is not one of the network's.
    #[error("address {address} cannot be used on network {network}: {reason}")]
    AddressUnavailable {
        /// The address asked for.
        address: Ipv4Addr,
        /// The network's name.
        network: String,
        /// Why not.
        reason: String,
    },
    /// An intent contradicts itself.
    #[error("invalid network intent of {subject}: {reason}")]
    InvalidIntent {
        /// Sandbox, network or service the error is about.
        subject: String,
        /// What is wrong.
        reason: String,
    },
    /// An overlay with `encrypted` was asked for.
    #[error("network {name} asks for encryption, which this version does not do: create it without --opt encrypted")]
    EncryptionUnsupported {
        /// The overlay's name.
        name: String,
    },
    /// The overlay is not part of this node's applied intent.
    #[error("overlay network {network} is not on this node: it appears when the node is given a task of it")]
    OverlayNotHere {
        /// The overlay's id.
        network: String,
    },
    /// Another container, or the routing mesh, publishes the port.
    #[error("Bind for {host_ip}:{port} failed: port is already allocated (by {owner})")]
    PortAllocated {
        /// Address asked for; 0.0.0.0 for all.
        host_ip: Ipv4Addr,
        /// Port asked for.
        port: u16,
        /// Who has it.
        owner: String,
    },
    /// A program outside of skep listens on the port.
    #[error(
        "cannot publish {host_ip}:{port}/{protocol}: address already in use: stop the program listening there, or choose another port"
    )]
    PortForeign {
        /// Address asked for; 0.0.0.0 for all.
        host_ip: Ipv4Addr,
        /// Port asked for.
        port: u16,
        /// Protocol of the port.
        protocol: PortProtocol,
        /// The refused bind.
        #[source]
        source: io::Error,
    },
    /// The host has no such address.
    #[error("cannot publish on {host_ip}: this host has no such address")]
    HostAddressMissing {
        /// Address asked for.
        host_ip: Ipv4Addr,
        /// The refused bind.
        #[source]
        source: io::Error,
    },
    /// No port between 32768 and 60999 is free.
    #[error("no free host port left between 32768 and 60999 for {protocol}")]
    PortsExhausted {
        /// Protocol of the port.
        protocol: PortProtocol,
    },
    /// The sandbox is unknown.
    #[error("network sandbox {id} not found")]
    SandboxNotFound {
        /// Its id.
        id: String,
    },
    /// The kernel cannot make VXLAN links.
    #[error("kernel has no vxlan: run `modprobe vxlan` (or install the kernel's extra modules package) and try again")]
    NoVxlan {
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The UDP port of the overlays is taken.
    #[error(
        "cannot open the VXLAN port UDP {port}: already in use: stop the program (or other overlay software) bound to it"
    )]
    VxlanPortTaken {
        /// The port.
        port: u16,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The kernel has no nftables, or misses an expression.
    #[error(
        "kernel refused the firewall rules of {place} ({detail}): nf_tables, nft_chain_nat, nft_fib_ipv4 and nft_numgen are needed"
    )]
    Firewall {
        /// The namespace.
        place: String,
        /// Which message of the batch was refused.
        detail: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// A link, address, route or neighbour operation was refused.
    #[error("cannot {operation} in {place}")]
    Kernel {
        /// What was tried.
        operation: String,
        /// The namespace.
        place: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// Reading the state of the kernel failed.
    #[error("cannot read {what} of {place}")]
    Observe {
        /// What was read ("links", "routes").
        what: &'static str,
        /// The namespace.
        place: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// A netlink socket could not be opened.
    #[error("cannot open a netlink socket in {place}")]
    Socket {
        /// The namespace.
        place: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// A network namespace could not be made, entered or removed.
    #[error("cannot {operation} network namespace {path}", path = path.display())]
    Namespace {
        /// "create", "enter", "remove".
        operation: &'static str,
        /// Its file.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// A thread could not be started, or it panicked.
    #[error("the thread for network namespace {path} did not finish", path = path.display())]
    NamespaceThread {
        /// The namespace's file.
        path: PathBuf,
    },
    /// A kernel setting could not be written.
    #[error("cannot set sysctl {name}={value} in {place}")]
    Sysctl {
        /// Path below /proc/sys, with slashes.
        name: String,
        /// Value to write.
        value: String,
        /// The namespace.
        place: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// A state file could not be read, written, locked or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A state file does not hold what it should.
    #[error("damaged state file {path}", path = path.display())]
    ParseState {
        /// The file.
        path: PathBuf,
        /// Where it is damaged.
        #[source]
        source: serde_json::Error,
    },
    /// Tearing down went on to the end, but not everything could be removed.
    #[error("{count} of the network's objects could not be removed; first failure: {first}")]
    Teardown {
        /// How many operations failed.
        count: usize,
        /// The first failure.
        #[source]
        first: Box<Error>,
    },
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::File(error) => Self::File(error),
            LoadError::Damaged { path, source } => Self::ParseState { path, source },
        }
    }
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NetworkNotFound { .. } | Self::SandboxNotFound { .. } => ErrorKind::NotFound,
            Self::InvalidName { .. }
            | Self::InvalidMac { .. }
            | Self::NetworkAmbiguous { .. }
            | Self::InvalidSubnet { .. }
            | Self::InvalidIntent { .. }
            | Self::HostAddressMissing { .. } => ErrorKind::BadArgument,
            Self::NetworkNameTaken { .. }
            | Self::SubnetOverlaps { .. }
            | Self::AddressUnavailable { .. }
            | Self::PortAllocated { .. }
            | Self::PortForeign { .. }
            | Self::VxlanPortTaken { .. } => ErrorKind::Conflict,
            Self::NetworkInUse { .. } => ErrorKind::InUse,
            Self::NetworkPredefined { .. } => ErrorKind::Forbidden,
            Self::EncryptionUnsupported { .. } | Self::NoVxlan { .. } => ErrorKind::NotSupported,
            Self::PoolExhausted
            | Self::SubnetExhausted { .. }
            | Self::PortsExhausted { .. }
            | Self::OverlayNotHere { .. } => ErrorKind::Unavailable,
            // The setting does not exist, or does not take the value: both are the user's.
            Self::Sysctl { source, .. }
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) =>
            {
                ErrorKind::BadArgument
            }
            Self::Teardown { first, .. } => first.kind(),
            Self::Firewall { .. }
            | Self::Kernel { .. }
            | Self::Observe { .. }
            | Self::Socket { .. }
            | Self::Namespace { .. }
            | Self::NamespaceThread { .. }
            | Self::Sysctl { .. }
            | Self::File(_)
            | Self::ParseState { .. } => ErrorKind::Internal,
        }
    }

    /// Whether trying again later, without changing anything, can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::OverlayNotHere { .. }
                | Self::Kernel { .. }
                | Self::Observe { .. }
                | Self::Socket { .. }
                | Self::Teardown { .. }
                | Self::SubnetExhausted { .. }
                | Self::VxlanPortTaken { .. }
                | Self::PortForeign { .. }
                | Self::PortAllocated { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_say_whose_fault_it_is() {
        let name = || "web".to_owned();
        let refused = |kind: io::ErrorKind| Error::Sysctl {
            name: "net/ipv4/x".to_owned(),
            value: "1".to_owned(),
            place: "the host's namespace".to_owned(),
            source: kind.into(),
        };
        for (error, kind) in [
            (Error::NetworkNotFound { name: name() }, ErrorKind::NotFound),
            (Error::NetworkNameTaken { name: name() }, ErrorKind::Conflict),
            (Error::NetworkInUse { name: name(), users: name() }, ErrorKind::InUse),
            (Error::NetworkPredefined { name: name(), verb: "removed" }, ErrorKind::Forbidden),
            (Error::InvalidMac { value: name() }, ErrorKind::BadArgument),
            (Error::EncryptionUnsupported { name: name() }, ErrorKind::NotSupported),
            (Error::OverlayNotHere { network: name() }, ErrorKind::Unavailable),
            (refused(io::ErrorKind::NotFound), ErrorKind::BadArgument),
            (refused(io::ErrorKind::PermissionDenied), ErrorKind::Internal),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
        let first = Box::new(Error::NetworkNotFound { name: name() });
        assert_eq!(Error::Teardown { count: 2, first }.kind(), ErrorKind::NotFound);
    }
}
