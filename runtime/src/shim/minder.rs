//! The shim's loop: one poll(2), one handler for each thing that can happen.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFlags, PollTimeout};
use skep_net::dns::Server;

use super::life::Phase;
use super::poll::{Source, Watched};
use super::prober::Prober;
use super::{Shim, raw};
use crate::lifecycle::launch::Launch;
use crate::records::state::{HealthResult, Status};
use crate::streams::logs::LogStream;

impl Shim {
    /// Minds the container until its last life is over.
    pub(super) fn mind(&mut self) {
        loop {
            for (source, events) in self.wait() {
                self.handle(source, events);
            }
            self.clients.drop_gone();
            if self.on_time() {
                return;
            }
        }
    }

    /// Waits for something to happen.
    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut watched = Watched::default();
        watched.add(Source::Signals, Some(self.signals.as_fd()), PollFlags::POLLIN);
        watched.add(Source::Listener, Some(self.clients.listener()), PollFlags::POLLIN);
        let life = self.phase.life();
        if let Some(life) = life {
            if !self.clients.hold_up() {
                for stream in [LogStream::Stdout, LogStream::Stderr] {
                    watched.add(Source::Output(stream), life.ends.output(stream), PollFlags::POLLIN);
                }
            }
            watched.add(Source::Input, life.ends.waiting_input(), PollFlags::POLLOUT);
            watched.add(Source::Probe, life.prober.as_ref().and_then(Prober::output), PollFlags::POLLIN);
        }
        watched.add(Source::Dns, self.dns.as_ref().map(AsFd::as_fd), PollFlags::POLLIN);
        let input_is_full = life.is_some_and(|life| life.ends.input_is_full());
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if !(client.wants_stdin() && input_is_full) {
                flags |= PollFlags::POLLIN;
            }
            if client.has_output() {
                flags |= PollFlags::POLLOUT;
            }
            watched.add(Source::Client(index), Some(client.as_fd()), flags);
        }
        let timeout = match self.deadline() {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        watched.poll(timeout)
    }

    /// When something is due although nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let of_phase = match &self.phase {
            Phase::Running(life) => {
                let probing = life.prober.as_ref().filter(|_| self.state.status == Status::Running);
                [life.kill_at, probing.and_then(Prober::deadline)]
            }
            Phase::Between(next) => [Some(*next), None],
            Phase::Beginning | Phase::Over => [None, None],
        };
        of_phase.into_iter().chain([self.dns.as_ref().and_then(Server::deadline)]).flatten().min()
    }

    fn handle(&mut self, source: Source, events: PollFlags) {
        match source {
            Source::Signals => self.on_signals(),
            Source::Listener => self.clients.admit(),
            Source::Output(stream) => {
                if let Some(life) = self.phase.life_mut() {
                    self.output.pass(stream, &mut life.ends, &mut self.clients);
                }
            }
            Source::Input => _ = self.phase.life_mut().map(|life| life.ends.flush()),
            Source::Probe => _ = self.phase.life_mut().and_then(|life| life.prober.as_mut()).map(Prober::read),
            Source::Dns => _ = self.dns.as_mut().map(|dns| dns.run(Instant::now())),
            Source::Client(index) => {
                if events.contains(PollFlags::POLLOUT) {
                    self.clients.at(index).flush();
                }
                if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                    self.on_client(index);
                }
            }
        }
    }

    /// Does what is due; true when the last life is over.
    fn on_time(&mut self) -> bool {
        let now = Instant::now();
        if let Some(life) = self.phase.life_mut()
            && life.kill_at.is_some_and(|at| now >= at)
        {
            life.kill_at = None;
            self.signal(libc::SIGKILL);
        }
        if let Some(dns) = self.dns.as_mut()
            && dns.deadline().is_some_and(|at| now >= at)
        {
            dns.run(now);
        }
        if self.state.status == Status::Running {
            self.probe(now);
        }
        match self.phase {
            Phase::Running(_) => false,
            Phase::Between(_) if self.is_ending() => true,
            Phase::Between(next) => now >= next && !self.begin_again(),
            Phase::Beginning | Phase::Over => true,
        }
    }

    /// Begins a probe that is due, and ends one that takes too long.
    fn probe(&mut self, now: Instant) {
        let Some(life) = self.phase.life_mut() else { return };
        let Some(prober) = &mut life.prober else { return };
        prober.expire(now);
        if !prober.is_due(now) {
            return;
        }
        // Read anew each time: it is large, and rarely needed.
        let Ok(launch) = Launch::load(&self.place.paths) else { return };
        let result = prober.begin(&launch.container, life.init);
        drop(launch);
        raw::trim_memory();
        if let Some(result) = result {
            self.on_probe(result);
        }
    }

    /// A probe has ended.
    pub(super) fn on_probe(&mut self, result: HealthResult) {
        let (Some(life), Some(health)) = (self.phase.life_mut(), self.state.health.as_mut()) else { return };
        let Some(prober) = &mut life.prober else { return };
        let uptime = life.began.elapsed();
        health.record(&prober.check, result, uptime);
        prober.next = Instant::now() + health.next_probe(&prober.check, uptime);
        self.save();
    }
}
