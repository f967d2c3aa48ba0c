//! `port`.

use anyhow::{Result, bail};
use skep_engine::docker::container::Port;

use crate::args::container::Port as Flags;
use crate::context::Node;
use crate::format::output;

/// `port`
pub(crate) fn run(node: &Node, args: &Flags) -> Result<i32> {
    let ports = node.engine().container_ports(&args.container)?;
    let host = |port: &Port| {
        let address = port.ip.clone().unwrap_or_default();
        format!("{address}:{}", port.public_port.unwrap_or_default())
    };
    let Some(wanted) = &args.port else {
        for port in &ports {
            output::line(format!("{}/{} -> {}", port.private_port, port.kind, host(port)))?;
        }
        return Ok(0);
    };
    let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let Ok(number) = number.parse::<u16>() else { bail!("Invalid port: {wanted}") };
    let mut found = false;
    for port in ports.iter().filter(|port| port.private_port == number && port.kind == protocol) {
        output::line(host(port))?;
        found = true;
    }
    if !found {
        bail!("No public port '{wanted}' published for {}", args.container);
    }
    Ok(0)
}
