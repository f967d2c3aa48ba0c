//! `make demo`: the Docker Swarm tutorial with `skep`, on three nodes that are namespaces of this machine.
//!
//! Every command is printed as a person would type it, then run, and its real output is printed. The first thing
//! that does not do what the tutorial says ends the demo with exit code 1; whatever the end, nothing is left behind.
#![allow(clippy::print_stdout, reason = "this is a program for people")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use skep_tests::images::tutorial::welcome;
use skep_tests::program::{run, shown_words};
use skep_tests::pty::Terminal;
use skep_tests::swarm::fetch;
use skep_tests::wait::try_until;
use skep_tests::{Lab, Node, sweep};

fn main() -> ExitCode {
    let begun = Instant::now();
    match tell() {
        Ok(()) => {
            println!("\nDone in {:.0?}; nothing is left on this machine.", begun.elapsed());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tell() -> Result<()> {
    let lab = Lab::new(3)?;
    println!(
        "Three nodes and a registry, as network namespaces of this machine; everything is below {}.",
        lab.directory().display()
    );
    for node in &lab.nodes {
        println!("  {} {}", node.name, node.address);
    }
    println!("  docker.io is the registry at {}", lab.registry.address);
    let story = Story { lab: &lab };
    let told = story
        .a_swarm()
        .and_then(|()| story.a_service())
        .and_then(|()| story.an_overlay())
        .and_then(|()| story.a_look_inside())
        .and_then(|()| story.a_lost_node())
        .and_then(|()| story.the_end());
    if told.is_err() {
        // Commands fail when everything is being removed under them.
        sweep::stop_if_interrupted();
        for node in &lab.nodes {
            println!("{}", node.diagnosis());
        }
    }
    told
}

/// The lab, and the chapters told in it.
struct Story<'a> {
    lab: &'a Lab,
}

fn chapter(title: &str) {
    let (bold, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    println!("\n{bold}== {title} =={plain}");
}

fn prompt(node: &Node, words: &str) {
    println!("\n{}# {words}", node.name);
    std::io::stdout().flush().ok();
}

/// Runs and shows `skep` with `words` on `node`; it has to succeed.
fn skep(node: &Node, words: &[&str]) -> Result<String> {
    prompt(node, &format!("skep {}", shown_words(words)));
    let finished = node.try_skep(words)?;
    print!("{}{}", finished.stderr, finished.stdout);
    ensure!(finished.code == 0, "the command failed with {}", finished.code);
    Ok(finished.stdout)
}

/// Runs and shows `skep` with `words` on a terminal of `node`; it has to succeed.
fn skep_on_a_terminal(node: &Node, words: &[&str]) -> Result<String> {
    prompt(node, &format!("skep {}", shown_words(words)));
    let mut terminal = Terminal::start(&node.command(words), 40, 120)?;
    let code = terminal.finish()?;
    let screen = terminal.screen().replace('\r', "");
    print!("{screen}");
    ensure!(code == 0, "the command failed with {code}");
    Ok(screen)
}

/// Runs and shows one of Debian's programs on `node`; it has to succeed.
fn tool(node: &Node, words: &[&str]) -> Result<String> {
    prompt(node, &shown_words(words));
    let finished = run(node.namespace.command().args(words))?;
    print!("{}{}", finished.stdout, finished.stderr);
    ensure!(finished.code == 0, "the command failed with {}", finished.code);
    Ok(finished.stdout)
}

/// Asks until `condition` holds, without showing it.
fn until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    try_until(Duration::from_secs(60), &mut || match condition() {
        Ok(true) => Ok(()),
        Ok(false) => Err("not yet".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    })
    .map_err(|reason| anyhow!("waited for {what}: {reason}"))
}

impl Story<'_> {
    fn node(&self, number: usize) -> &Node {
        self.lab.node(number)
    }

    fn a_swarm(&self) -> Result<()> {
        chapter("A swarm of three nodes");
        let one = self.node(1);
        let said = skep(one, &["swarm", "init", "--advertise-addr", &one.address.to_string()])?;
        let printed =
            said.lines().find(|line| line.contains("swarm join --token")).context("no join command was printed")?;
        let words: Vec<&str> = printed.split_whitespace().skip(1).collect();
        skep(self.node(2), &words)?;
        skep(self.node(3), &words)?;
        until("three nodes to be ready", || {
            let listed = one.try_skep(&["node", "ls", "--format", "{{.Status}}"])?;
            Ok(listed.stdout.matches("Ready").count() == 3)
        })?;
        skep(one, &["node", "ls"])?;
        Ok(())
    }

    fn a_service(&self) -> Result<()> {
        chapter("A service, its published port on every node");
        let one = self.node(1);
        skep(one, &["service", "create", "--name", "nginx", "--replicas", "2", "--publish", "8080:80", "nginx"])?;
        skep(one, &["service", "ls"])?;
        skep(one, &["service", "ps", "nginx"])?;
        skep(one, &["service", "inspect", "--pretty", "nginx"])?;
        self.every_node_answers("latest")?;
        chapter("Another image, more tasks, none");
        skep(one, &["service", "update", "--image", "nginx:alpine", "nginx"])?;
        skep(one, &["service", "ps", "nginx"])?;
        self.every_node_answers("alpine")?;
        skep(one, &["service", "scale", "nginx=5"])?;
        skep(one, &["service", "ps", "--filter", "desired-state=running", "nginx"])?;
        skep(one, &["service", "scale", "nginx=0"])?;
        skep(one, &["service", "ls"])?;
        skep(one, &["service", "rm", "nginx"])?;
        Ok(())
    }

    fn every_node_answers(&self, tag: &str) -> Result<()> {
        let one = self.node(1);
        for node in &self.lab.nodes {
            until("the published port", || {
                Ok(fetch(one, node, 8080, "/").is_ok_and(|page| page.contains(&welcome(tag))))
            })?;
            let page = tool(one, &["curl", "-sS", "--max-time", "10", &format!("http://{}:8080/", node.address)])?;
            ensure!(page.contains(&welcome(tag)), "this is not the page of nginx:{tag}");
        }
        Ok(())
    }

    fn an_overlay(&self) -> Result<()> {
        chapter("A network across the nodes, services that find each other by name");
        let one = self.node(1);
        skep(one, &["network", "create", "--driver", "overlay", "web"])?;
        skep(
            one,
            &[
                "service",
                "create",
                "--name",
                "nginx",
                "--network",
                "web",
                "--replicas",
                "3",
                "--publish",
                "8080:80",
                "nginx",
            ],
        )?;
        skep(one, &["service", "create", "--name", "busybox", "--network", "web", "busybox", "sleep", "3000"])?;
        skep(one, &["network", "ls"])?;
        skep(one, &["service", "ps", "busybox"])?;
        let (node, container) = self.task_of("busybox")?;
        until("the name of the service", || Ok(node.try_skep(&["exec", &container, "nslookup", "nginx"])?.code == 0))?;
        let screen = skep_on_a_terminal(node, &["exec", "-it", &container, "ping", "-c", "3", "nginx"])?;
        ensure!(screen.contains(" 0% packet loss"), "pings were lost");
        skep_on_a_terminal(node, &["exec", "-it", &container, "nslookup", "nginx"])?;
        skep_on_a_terminal(node, &["exec", "-it", &container, "nslookup", "tasks.nginx"])?;
        let page = skep(node, &["exec", &container, "wget", "-q", "-O", "-", "http://nginx/"])?;
        ensure!(page.contains(&welcome("latest")), "this is not the page of nginx");
        Ok(())
    }

    /// The node and the container of the one task of `service`.
    fn task_of(&self, service: &str) -> Result<(&Node, String)> {
        let prefix = format!("{service}.");
        for node in &self.lab.nodes {
            let names = node.try_skep(&["ps", "--format", "{{.Names}}"])?.success()?;
            if let Some(name) = names.lines().find(|name| name.starts_with(&prefix)) {
                return Ok((node, name.to_owned()));
            }
        }
        bail!("no node runs {service}")
    }

    fn a_look_inside(&self) -> Result<()> {
        chapter("A look inside: the routing mesh of node1");
        let one = self.node(1);
        let information = skep(one, &["info"])?;
        let sandbox = format!("--net={}", one.run_root.join("netns/ingress_sbox").display());
        tool(one, &["nsenter", &sandbox, "ip", "-brief", "address"])?;
        if information.to_lowercase().contains("ipvs") {
            tool(one, &["nsenter", &sandbox, "ipvsadm", "-Ln"])?;
        }
        tool(one, &["nsenter", &sandbox, "nft", "list", "ruleset"])?;
        skep(one, &["network", "inspect", "skep_gwbridge"])?;
        Ok(())
    }

    fn a_lost_node(&self) -> Result<()> {
        chapter("A node is lost, and found again");
        let one = self.node(1);
        self.node(3).partition()?;
        println!("\n(the cable of node3 is cut)");
        let status = |wanted: &str| {
            until(&format!("node3 to be {wanted}"), || {
                let listed = one.try_skep(&["node", "ls", "--format", "{{.Hostname}} {{.Status}}"])?;
                Ok(listed.stdout.lines().any(|line| line == format!("node3 {wanted}")))
            })
        };
        status("Down")?;
        skep(one, &["node", "ls"])?;
        until("three tasks on the other nodes", || {
            let format = "{{.Node}} {{.CurrentState}}";
            let filter = ["service", "ps", "--filter", "desired-state=running", "--format", format, "nginx"];
            let listed = one.try_skep(&filter)?.stdout;
            Ok(listed.matches(" Running").count() == 3 && !listed.contains("node3"))
        })?;
        skep(one, &["service", "ps", "nginx"])?;
        self.node(3).heal()?;
        println!("\n(the cable of node3 is mended)");
        status("Ready")?;
        until("the old tasks of node3 to be gone", || Ok(self.node(3).try_skep(&["ps", "-q"])?.success()?.is_empty()))?;
        skep(one, &["node", "ls"])?;
        skep(self.node(3), &["ps"])?;
        Ok(())
    }

    fn the_end(&self) -> Result<()> {
        chapter("Clean-up");
        let one = self.node(1);
        skep(one, &["service", "rm", "nginx", "busybox"])?;
        until("the network to be free", || {
            let nodes = &self.lab.nodes;
            Ok(nodes.iter().all(|node| node.try_skep(&["ps", "-q"]).is_ok_and(|ids| ids.stdout.is_empty())))
        })?;
        skep(one, &["network", "rm", "web"])?;
        skep(self.node(2), &["swarm", "leave"])?;
        skep(self.node(3), &["swarm", "leave"])?;
        skep(one, &["swarm", "leave", "--force"])?;
        for node in &self.lab.nodes {
            until(&format!("{} to be clean", node.name), || {
                let left = node.leftovers();
                ensure!(left.is_empty(), "{left:#?}");
                Ok(true)
            })?;
        }
        Ok(())
    }
}
