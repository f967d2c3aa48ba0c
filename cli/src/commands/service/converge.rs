//! Showing how a service gets to be as it was asked for, as docker does.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use anyhow::Result;
use futures::StreamExt;
use skep_engine::services::progress::{Event, STEPS, Tasks};
use skep_engine::swarm::Swarm;

use crate::format::{human, output};

/// Above it, single tasks are not shown.
const BARS_MAX: usize = 20;
const STATE_WIDTH: usize = 9;

/// Waits until every task runs and has done so for the update's monitor time.
pub(crate) async fn wait(swarm: &Swarm, service: &str, quiet: bool) -> Result<()> {
    let mut events = swarm.follow_service(service).await?;
    let mut board = Board::new(Screen::new(quiet));
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            // Cancel-safe: an event is either taken or still in the stream.
            event = events.next() => match event {
                Some(event) => board.show(event?),
                None => return Ok(()),
            },
            // Polled again where it was.
            _ = &mut interrupt => {
                return output::line(format!(
                    "Operation continuing in background.\nUse `skep service ps {service}` to check progress."
                ));
            }
        }
    }
}

/// What was shown so far.
struct Board {
    screen: Screen,
    /// Numbers of slots or nodes, as they were seen first.
    places: BTreeMap<String, usize>,
}

impl Board {
    fn new(screen: Screen) -> Self {
        Self { screen, places: BTreeMap::new() }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::RollingBack(why) => self.screen.say("rollback", &why),
            Event::NoTasks => self.screen.say("overall progress", "waiting for new tasks"),
            Event::Tasks(tasks) if tasks.expected <= BARS_MAX => self.tasks(&tasks),
            Event::Tasks(_) => {}
            Event::Overall { running, expected, rolling_back } => {
                let what = if rolling_back { "rolling back update: " } else { "" };
                self.screen.say("overall progress", &format!("{what}{running} out of {expected} tasks"));
            }
            Event::Verifying(seconds) => {
                self.screen.say("verify", &format!("Waiting {seconds} seconds to verify that tasks are stable..."));
            }
            Event::Unstable => self.screen.say("verify", "Detected task failure"),
            Event::Converged(service) => self.screen.say("verify", &format!("Service {service} converged")),
            Event::RolledBack(words) => self.screen.say("rollback", &words),
        }
    }

    fn tasks(&mut self, shown: &Tasks) {
        let expected = shown.expected;
        if !shown.on_nodes {
            for number in 1..=expected {
                self.screen.reserve(&format!("{number}/{expected}"));
            }
        }
        for task in &shown.tasks {
            let next = self.places.len() + 1;
            let number = *self.places.entry(task.place.clone()).or_insert(next);
            if number > expected {
                // A slot went away (scaled down): the numbers begin anew.
                self.places.clear();
                return;
            }
            let name = task.node.clone().unwrap_or_else(|| format!("{number}/{expected}"));
            if !task.error.is_empty() {
                self.screen.say(&name, &human::ellipsis(&task.error.replace('\n', " "), 75));
            } else if let Some(state) = &task.state {
                self.screen.progress(&name, state, task.step);
            }
        }
    }
}

/// Lines by name: redrawn in place on a terminal, printed when they change elsewhere.
struct Screen {
    terminal: bool,
    quiet: bool,
    lines: Vec<(String, String)>,
}

impl Screen {
    fn new(quiet: bool) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), quiet, lines: Vec::new() }
    }

    fn reserve(&mut self, name: &str) {
        if self.terminal && !self.lines.iter().any(|(other, _)| other == name) {
            self.say(name, " ");
        }
    }

    fn progress(&mut self, name: &str, state: &str, step: usize) {
        if !self.terminal {
            return self.say(name, state);
        }
        let filled = 50 * step / STEPS;
        let bar = format!("[{}>{}]", "=".repeat(filled), " ".repeat(50 - filled));
        self.say(name, &format!("{state:STATE_WIDTH$} {bar}"));
    }

    fn say(&mut self, name: &str, text: &str) {
        if self.quiet {
            return;
        }
        let position = self.lines.iter().position(|(other, _)| other == name);
        match position.and_then(|position| self.lines.get_mut(position)) {
            Some((_, old)) if old == text => return,
            Some((_, old)) => text.clone_into(old),
            None => self.lines.push((name.to_owned(), text.to_owned())),
        }
        let mut out = std::io::stdout().lock();
        let written = match (self.terminal, position) {
            (true, Some(position)) => {
                let up = self.lines.len() - position;
                write!(out, "\x1b[{up}A\r\x1b[2K{name}: {text}\x1b[{up}B\r")
            }
            _ => writeln!(out, "{name}: {text}"),
        };
        // Whoever reads may have gone away; the service converges all the same.
        written.and_then(|()| out.flush()).ok();
    }
}

#[cfg(test)]
mod tests {
    use skep_engine::services::progress::Progress;

    use super::*;

    fn task(place: &str) -> Progress {
        let state = Some("running".to_owned());
        Progress { place: place.to_owned(), node: None, state, step: STEPS, error: String::new() }
    }

    #[test]
    fn slots_are_numbered_as_they_come_until_one_goes() {
        let mut board = Board::new(Screen { terminal: false, quiet: true, lines: Vec::new() });
        let tasks = |expected, places: &[&str]| {
            Event::Tasks(Tasks { expected, on_nodes: false, tasks: places.iter().map(|place| task(place)).collect() })
        };
        board.show(tasks(2, &["7", "9"]));
        assert_eq!(board.places.get("9"), Some(&2));
        board.show(tasks(1, &["9"]));
        assert!(board.places.is_empty(), "scaled down");
    }
}
