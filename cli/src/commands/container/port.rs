//! `port`.

use anyhow::{Result, bail};

use crate::args::container::Port;
use crate::context::Node;
use crate::format::output;

/// `port`
pub fn run(node: &Node, args: &Port) -> Result<i32> {
    let runtime = node.runtime()?;
    let id = runtime.resolve(&args.container)?;
    let container = runtime.list(true)?.into_iter().find(|container| container.id == id);
    let bound = container.map(|container| container.ports).unwrap_or_default();
    let Some(wanted) = &args.port else {
        for port in bound {
            output::line(format!("{}/{} -> {}:{}", port.container_port, port.protocol, port.host_ip, port.host_port))?;
        }
        return Ok(0);
    };
    let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let Ok(number) = number.parse::<u16>() else { bail!("Invalid port: {wanted}") };
    let mut found = false;
    for port in bound.iter().filter(|port| port.container_port == number && port.protocol.to_string() == protocol) {
        output::line(format!("{}:{}", port.host_ip, port.host_port))?;
        found = true;
    }
    if !found {
        bail!("No public port '{wanted}' published for {}", args.container);
    }
    Ok(0)
}
