//! `version` and `-v`.

use anyhow::Result;
use serde_json::json;
use skep_engine::{VERSION, info};

use crate::args::system::Version;
use crate::format::output;

/// `-v`
pub(crate) fn short() -> Result<i32> {
    output::line(format!("skep version {VERSION}"))?;
    Ok(0)
}

/// `version`
pub(crate) fn run(args: &Version) -> Result<i32> {
    let version = info::version();
    if let Some(format) = output::given(args.format.as_deref()) {
        output::inspect(&[json!({"Client": version, "Server": version})], Some(format))?;
        return Ok(0);
    }
    output::print(&format!(
        "Client: skep\n Version:           {VERSION}\n OS/Arch:           linux/{arch}\n\n\
         Server: skep (no daemon: this program)\n Engine:\n  Version:          {VERSION}\n  OS/Arch:          \
         linux/{arch}\n  Kernel Version:   {kernel}\n",
        arch = version.arch,
        kernel = version.kernel_version,
    ))?;
    Ok(0)
}
