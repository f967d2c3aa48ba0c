//! `version` and `-v`.

use anyhow::Result;
use serde_json::json;
use skep_engine::VERSION;

use crate::args::system::Version;
use crate::format::output;

/// `-v`
pub fn short() -> Result<i32> {
    output::line(format!("skep version {VERSION}"))?;
    Ok(0)
}

/// `version`
pub fn run(args: &Version) -> Result<i32> {
    let kernel =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let part = json!({
        "Version": VERSION,
        "ApiVersion": VERSION,
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": kernel,
    });
    if let Some(format) = output::given(args.format.as_deref()) {
        output::inspect(&[json!({"Client": part, "Server": part})], Some(format))?;
        return Ok(0);
    }
    output::print(&format!(
        "Client: skep\n Version:           {VERSION}\n OS/Arch:           linux/{arch}\n\n\
         Server: skep (no daemon: this program)\n Engine:\n  Version:          {VERSION}\n  OS/Arch:          \
         linux/{arch}\n  Kernel Version:   {kernel}\n",
        arch = architecture(),
    ))?;
    Ok(0)
}

/// The architecture, in the registries' words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
