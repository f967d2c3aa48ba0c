//! The front door: one node, and handles on what is behind it.

use std::sync::{Arc, OnceLock};

use skep_runtime::{Roots, Runtime};

use crate::error::{Error, Result};

/// One node, as its users see it. Cheap to make and to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct Engine {
    roots: Roots,
    runtime: Arc<OnceLock<Runtime>>,
}

impl Engine {
    /// The node whose state is below `roots`. Touches nothing yet.
    pub fn new(roots: Roots) -> Self {
        Self { roots, runtime: Arc::default() }
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
        let opened = Runtime::open(self.roots.clone())?;
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
