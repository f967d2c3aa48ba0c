//! The front door: one node, and handles on what is behind it.

use std::sync::{Arc, OnceLock};

use skep_net::Backend;
use skep_runtime::{Roots, Runtime};

use crate::error::{Error, Result};

/// One node, as its users see it. Cheap to make and to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct Engine {
    roots: Roots,
    runtime: Arc<OnceLock<Runtime>>,
    load_balancer: Option<Backend>,
}

impl Engine {
    /// The node whose state is below `roots`. Touches nothing yet.
    pub fn new(roots: Roots) -> Self {
        Self { roots, runtime: Arc::default(), load_balancer: None }
    }

    /// Balances the swarm's services in this way, whatever the kernel offers; `None` takes what is best there.
    #[must_use]
    pub fn with_load_balancer(mut self, chosen: Option<Backend>) -> Self {
        self.load_balancer = chosen;
        self
    }

    /// Its directories.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Its containers; opened once, which starts those that are to run after a reboot.
    ///
    /// # Errors
    /// The caller is not root, or a directory cannot be made.
    pub fn runtime(&self) -> Result<Runtime> {
        self.require_root()?;
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime.clone());
        }
        let opened = Runtime::open(self.roots.clone())?.with_load_balancer(self.load_balancer);
        Ok(self.runtime.get_or_init(|| opened).clone())
    }

    /// Says plainly that one has to be root, before anything fails in a stranger way.
    ///
    /// # Errors
    /// The caller is not root.
    pub fn require_root(&self) -> Result<()> {
        match rustix::process::geteuid().is_root() {
            true => Ok(()),
            false => Err(Error::forbidden("permission denied: skep has to be run as root (try: sudo skep …)")),
        }
    }
}
