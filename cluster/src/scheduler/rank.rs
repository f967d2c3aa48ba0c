//! The order in which nodes take a service's tasks: evenly over the branches of the spread preferences, then those
//! where the service does not keep failing, then those with fewest of its tasks, fewest tasks at all, lowest id.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::filters::Filter;
use super::nodes::NodeInfo;
use crate::model::constraints::descriptor;
use crate::model::{NodeId, ServiceId, Task};

type Score = (bool, usize, usize, NodeId);

/// The nodes that may take a task of one group, best first.
pub(super) struct Queue {
    service: ServiceId,
    version: u64,
    /// Nodes of each branch; the path has one value for each level.
    branches: BTreeMap<Vec<String>, BinaryHeap<Reverse<Score>>>,
    /// Tasks of the service under each prefix of a path.
    counts: BTreeMap<Vec<String>, usize>,
    paths: BTreeMap<NodeId, Vec<String>>,
}

impl Queue {
    /// All nodes that `filter` lets pass now.
    pub(super) fn new(task: &Task, nodes: &BTreeMap<NodeId, NodeInfo>, filter: &Filter) -> Self {
        let mut queue = Self {
            service: task.service_id.clone(),
            version: task.spec_version,
            branches: BTreeMap::new(),
            counts: BTreeMap::new(),
            paths: BTreeMap::new(),
        };
        for info in nodes.values() {
            let path: Vec<String> = task
                .spec
                .placement
                .spread
                .iter()
                .filter_map(|level| descriptor(&info.node, level).map(str::to_owned))
                .collect();
            for depth in 1..=path.len() {
                *queue.counts.entry(path[..depth].to_vec()).or_default() += info.tasks_of(&queue.service);
            }
            if filter.refuse(info).is_none() {
                let score = queue.score(info);
                queue.branches.entry(path.clone()).or_default().push(Reverse(score));
                queue.paths.insert(info.node.id.clone(), path);
            }
        }
        queue
    }

    fn score(&self, info: &NodeInfo) -> Score {
        let faulty = info.is_faulty(&self.service, self.version);
        (faulty, info.tasks_of(&self.service), info.tasks, info.node.id.clone())
    }

    /// The best node left; it is out of the queue until [`Queue::placed`].
    pub(super) fn next<'n>(
        &mut self,
        nodes: &'n mut BTreeMap<NodeId, NodeInfo>,
        filter: &Filter,
    ) -> Option<&'n mut NodeInfo> {
        loop {
            let path = self.least_branch()?;
            let heap = self.branches.get_mut(&path)?;
            let best = heap.pop();
            if heap.is_empty() {
                self.branches.remove(&path);
            }
            let Some(Reverse((_, _, _, id))) = best else { continue };
            if nodes.get(&id).is_some_and(|info| filter.refuse(info).is_none()) {
                return nodes.get_mut(&id);
            }
        }
    }

    fn least_branch(&self) -> Option<Vec<String>> {
        let key = |path: &Vec<String>| -> Vec<usize> {
            (1..=path.len()).map(|depth| self.counts.get(&path[..depth]).copied().unwrap_or(0)).collect()
        };
        self.branches.keys().min_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.cmp(b))).cloned()
    }

    /// Counts a task just placed on `info` and queues the node again.
    pub(super) fn placed(&mut self, info: &NodeInfo) {
        let Some(path) = self.paths.get(&info.node.id) else { return };
        for depth in 1..=path.len() {
            *self.counts.entry(path[..depth].to_vec()).or_default() += 1;
        }
        let score = self.score(info);
        self.branches.entry(path.clone()).or_default().push(Reverse(score));
    }
}
