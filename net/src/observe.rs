//! Reads the kernel into the plan's own types.

use ipnet::Ipv4Net;

use crate::error::Result;

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostRoute {
    pub(crate) destination: Ipv4Net,
    pub(crate) device: String,
}

/// The IPv4 routes of this thread's namespace.
pub(crate) fn host_routes() -> Result<Vec<HostRoute>> {
    Ok(Vec::new())
}
