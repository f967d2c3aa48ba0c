//! `make bench`: skep beside docker, podman, crun and runc, on this machine, in one interleaved run.
//!
//! Every figure is a median over the rounds; in each round every contender has its turn, so that a busy moment of the
//! machine meets them all. `SKEP_BENCH_ROUNDS` sets how many (default 15). A contender that cannot be started here is
//! left out, and the reason is printed. `SKEP_BENCH_PEERS` names those that take part besides skep, parted by commas;
//! `SKEP_BENCH_BEFORE` is the path of another skep, which then takes part as `before`.
#![allow(clippy::print_stdout, reason = "this is a program for people")]

mod contender;
mod measure;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use skep_tests::Lab;

use contender::Contender;
use measure::{Table, memory_per_container, timed};

fn main() -> Result<()> {
    let rounds = std::env::var("SKEP_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let lab = Lab::new(4)?;
    let mut contenders = vec![contender::skep(&lab)];
    if let Some(binary) = std::env::var_os("SKEP_BENCH_BEFORE") {
        contenders.push(contender::before(&lab, PathBuf::from(binary))?);
    }
    let wanted = std::env::var("SKEP_BENCH_PEERS").unwrap_or_else(|_| "docker,podman,crun,runc".to_owned());
    for name in wanted.split(',').filter(|name| !name.is_empty()) {
        let started = match name {
            "docker" => contender::docker(&lab),
            "podman" => contender::podman(&lab),
            "crun" => contender::bundle(&lab, "crun"),
            "runc" => contender::bundle(&lab, "runc"),
            other => bail!("SKEP_BENCH_PEERS: no contender is called {other}: docker, podman, crun and runc are"),
        };
        match started {
            Ok(contender) => contenders.push(contender),
            Err(error) => println!("left out: {name}: {error:#}"),
        }
    }
    println!("{rounds} rounds, interleaved; medians");
    let mut table = Table::new(&contenders);
    pulls(&contenders, &mut table, rounds.min(7))?;
    runs(&contenders, &mut table, rounds)?;
    execs(&contenders, &mut table, rounds)?;
    memory(&contenders, &mut table)?;
    scale_up(&contenders, &mut table, rounds.min(5))?;
    println!("\n{table}");
    Ok(())
}

/// The contenders in the order of their turns: every other round backwards, for who follows whom has its price.
fn turns(contenders: &[Contender], round: usize) -> Box<dyn Iterator<Item = &Contender> + '_> {
    if round.is_multiple_of(2) { Box::new(contenders.iter()) } else { Box::new(contenders.iter().rev()) }
}

/// `pull` of `nginx:latest`, gzip as docker has it, into a store without images.
fn pulls(contenders: &[Contender], table: &mut Table, rounds: usize) -> Result<()> {
    for round in 0..rounds {
        for contender in turns(contenders, round).filter(|contender| contender.pulls) {
            let took = timed(&mut contender.command(&["pull", "-q", "nginx"]))?;
            table.add("pull nginx", contender.name, took);
            timed(&mut contender.command(&["rmi", "nginx"]))?;
        }
    }
    for contender in contenders.iter().filter(|contender| contender.pulls) {
        timed(&mut contender.command(&["pull", "-q", "busybox"]))?;
    }
    Ok(())
}

fn runs(contenders: &[Contender], table: &mut Table, rounds: usize) -> Result<()> {
    for round in 0..rounds {
        for contender in turns(contenders, round) {
            let plain = contender.run(false, &["true"]);
            table.add("run, no network", contender.name, timed(&mut contender.ready(&plain))?);
            if contender.networks {
                let networked = contender.run(true, &["true"]);
                table.add("run, bridge", contender.name, timed(&mut contender.ready(&networked))?);
            }
        }
    }
    Ok(())
}

fn execs(contenders: &[Contender], table: &mut Table, rounds: usize) -> Result<()> {
    for contender in contenders {
        contender.start_sleeper("bench-exec")?;
    }
    for round in 0..rounds {
        for contender in turns(contenders, round) {
            let took = timed(&mut contender.command(&["exec", "bench-exec", "true"]))?;
            table.add("exec", contender.name, took);
        }
    }
    for contender in contenders {
        contender.remove("bench-exec")?;
    }
    Ok(())
}

fn memory(contenders: &[Contender], table: &mut Table) -> Result<()> {
    const COUNT: usize = 10;
    for contender in contenders {
        let Some(helper) = contender.helper else {
            continue;
        };
        let names: Vec<String> = (0..COUNT).map(|number| format!("bench-memory{number}")).collect();
        for name in &names {
            contender.start_sleeper(name)?;
        }
        let bytes = memory_per_container(&contender.belongs, helper, COUNT)
            .with_context(|| format!("memory of {}", contender.name))?;
        table.add_bytes("memory per container", contender.name, bytes);
        for name in &names {
            contender.remove(name)?;
        }
    }
    Ok(())
}

/// From `service create --replicas 10` to ten running tasks on a swarm of one node.
fn scale_up(contenders: &[Contender], table: &mut Table, rounds: usize) -> Result<()> {
    let swarms: Vec<&Contender> = contenders.iter().filter(|contender| contender.swarms).collect();
    for contender in &swarms {
        timed(&mut contender.command(&["swarm", "init", "--advertise-addr", &contender.address]))?;
    }
    for round in 0..rounds {
        for contender in turns(contenders, round).filter(|contender| contender.swarms) {
            let create = [
                "service",
                "create",
                "-d",
                "-q",
                "--name",
                "bench",
                "--replicas",
                "10",
                "--stop-grace-period",
                "0s",
                "busybox",
                "sleep",
                "100000",
            ];
            let begun = std::time::Instant::now();
            timed(&mut contender.command(&create))?;
            let listed = ["service", "ls", "--format", "{{.Replicas}}"];
            contender.wait_for(&listed, "10/10", Duration::from_secs(60))?;
            table.add("create to 10 running", contender.name, begun.elapsed());
            timed(&mut contender.command(&["service", "rm", "bench"]))?;
            contender.wait_for(&["ps", "-q"], "", Duration::from_secs(60))?;
        }
    }
    for contender in &swarms {
        timed(&mut contender.command(&["swarm", "leave", "--force"]))?;
    }
    Ok(())
}
