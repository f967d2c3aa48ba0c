//! Connects a container's namespace to the default bridge network and takes it away again, so often:
//! `connect ROOT RUN_ROOT ID TIMES`. Needs root; keeps to the network namespace it is started in.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

use std::error::Error;

use skep_net::{EndpointIntent, Net, NetPaths, NetworkRef, SandboxId, SandboxIntent};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, run_root, id, times] = arguments.as_slice() else {
        return Err("usage: connect ROOT RUN_ROOT ID TIMES".into());
    };
    let net = Net::open(NetPaths::new(root, run_root))?;
    let network = net.networks().get("bridge")?;
    let mut intent = SandboxIntent::new(SandboxId::new(id.as_str())?, "example");
    intent.endpoints.push(EndpointIntent::new(NetworkRef::Local(network.id)));
    for _ in 0..times.parse()? {
        net.connect(&intent)?;
        net.disconnect(&intent.id)?;
    }
    Ok(())
}
