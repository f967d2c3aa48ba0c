//! A lab to play with: `cargo run -p skep-tests --example lab -- [NODES]`, ended by Ctrl-C or end of input.
//!
//! Prints shell functions, one for each node; with them, `node1 node ls` is `skep node ls` on node1.

use std::io::Read;

use anyhow::Result;
use skep_tests::Lab;

fn main() -> Result<()> {
    let count = std::env::args().nth(1).map_or(Ok(3), |text| text.parse())?;
    let lab = Lab::new(count)?;
    let file = lab.directory().join("functions");
    let mut functions = String::new();
    for node in &lab.nodes {
        let command = node.command(&[]);
        let variables: Vec<String> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)))
            .map(|(name, value)| format!("{}='{}'", name.display(), value.display()))
            .collect();
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.display().to_string())
            .collect();
        functions.push_str(&format!("{}() {{ env {} {} \"$@\"; }}\n", node.name, variables.join(" "), words.join(" ")));
    }
    std::fs::write(&file, functions)?;
    println!("source {}", file.display());
    for node in &lab.nodes {
        println!("{} {}  nsenter --net={}", node.name, node.address, node.namespace.net.display());
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
