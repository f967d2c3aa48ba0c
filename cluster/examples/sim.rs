//! `make sim`: a swarm of so many nodes and tasks lives through seeded faults in one thread, and has to heal.
//!
//! `sim [NODES] [TASKS] [SEED] [ROUNDS]`. The same numbers tell the same story; a round is a second of the swarm's time.
//! It stops with a message at the first address or port that is given twice, or state that goes back, and fails if the
//! swarm is not as specified an hour after the faults have ended.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

use std::process::ExitCode;
use std::time::Instant;

use skep_cluster::model::{NodeAvailability, UpdateConfig};
use skep_cluster::sim::{Fate, World, image, on_network, published, replicated, scale};

/// Rounds that the swarm has to become what is asked for.
const HEALING: usize = 3600;
/// Tasks that are reached from outside.
const FRONT: u64 = 20;
const IMAGES: [&str; 3] = ["web:1", "web:2", "web:bad"];

fn number(at: usize, otherwise: u64) -> Result<u64, String> {
    match std::env::args().nth(at) {
        None => Ok(otherwise),
        Some(text) => {
            text.parse().map_err(|_| format!("{text:?} is not a number: sim [NODES] [TASKS] [SEED] [ROUNDS]"))
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let nodes = usize::try_from(number(1, 50)?).map_err(|error| error.to_string())?.max(1);
    let tasks = number(2, 1000)?;
    let seed = number(3, 1)?;
    let rounds = number(4, 120)?;
    println!("{nodes} nodes, {tasks} tasks, seed {seed}, {rounds} rounds of faults");
    let began = Instant::now();
    let mut world = World::new(nodes, seed);
    world.set_fate("web:bad", Fate::Fails);
    world.add_network("app", false);
    // A tenth at a time, or a bad image would take hours to show.
    let mut spec = replicated(tasks, IMAGES[0]);
    spec.update = Some(UpdateConfig { parallelism: tasks / 10 + 1, ..UpdateConfig::default() });
    world.add_service("web", spec).map_err(|status| status.message().to_owned())?;
    // A network of the default size has not many more addresses than its nodes' balancers need.
    let front = published(on_network(replicated(FRONT, "front:1"), "app"), 8080);
    world.add_service("front", front).map_err(|status| status.message().to_owned())?;
    for round in 1..=rounds {
        world.tick();
        // Faults come in bursts, so that the swarm sometimes gets somewhere in between.
        if world.below(4) == 0 {
            let told = fault(&mut world, nodes, tasks);
            println!("{round:5}  {told:44} {}", state(&world));
        }
    }
    for node in (0..nodes).map(|index| format!("node{index}")) {
        world.heal(&node);
        ask(world.set_availability(&node, NodeAvailability::Active));
    }
    ask(world.update_service("web", image("web:3")));
    ask(world.update_service("web", scale(tasks)));
    println!("       every node is back, and web:3 is wanted");
    let healed = (1..=HEALING).find(|_| {
        world.tick();
        is_whole(&world, tasks)
    });
    println!(
        "       {:44} {}",
        healed.map_or("not healed".into(), |rounds| format!("healed after {rounds} s")),
        state(&world)
    );
    println!(
        "       {} tasks were together in a place, {} transactions, {:.1} s",
        world.doubles.len(),
        world.transactions(),
        began.elapsed().as_secs_f64()
    );
    Ok(healed.is_some())
}

/// A refusal is an answer like any other here.
fn ask(answer: Result<(), tonic::Status>) -> String {
    answer.err().map(|status| format!(": {}", status.message())).unwrap_or_default()
}

fn fault(world: &mut World, nodes: usize, tasks: u64) -> String {
    let node = format!("node{}", world.below(nodes));
    match world.below(6) {
        0 => {
            world.cut(&node);
            format!("{node} is cut off")
        }
        1 => {
            world.heal(&node);
            format!("{node} is in touch")
        }
        2 => format!("{node} is drained{}", ask(world.set_availability(&node, NodeAvailability::Drain))),
        3 => format!("{node} takes tasks{}", ask(world.set_availability(&node, NodeAvailability::Active))),
        4 => {
            let name = IMAGES[world.below(IMAGES.len())];
            format!("web becomes {name}{}", ask(world.update_service("web", image(name))))
        }
        _ => {
            let most = usize::try_from(tasks).unwrap_or(usize::MAX);
            let replicas = world.below(most.saturating_add(1)) as u64;
            format!("web is scaled to {replicas}{}", ask(world.update_service("web", scale(replicas))))
        }
    }
}

fn state(world: &World) -> String {
    let images: Vec<String> =
        world.images("web").into_iter().map(|(image, count)| format!("{count} {image}")).collect();
    format!("up: {}, {} waiting, {} run", images.join(" + "), world.waiting(), world.running().len())
}

fn is_whole(world: &World, tasks: u64) -> bool {
    let up = |service: &str| world.up(service).len() as u64;
    world.images("web").get("web:3").map_or(0, |count| *count as u64) == tasks
        && up("front") == FRONT
        && world.running().len() as u64 == tasks + FRONT
}
