//! Replicated services: so many slots, numbered from 1; numbers may be sparse after scaling down.

use std::collections::{BTreeMap, BTreeSet};

use super::slots::Slot;
use super::{Plan, set_desired};
use crate::api::StoreAction;
use crate::model::{Place, TaskState};

/// Keeps `replicas` of the slots, or adds what is missing.
pub(crate) fn plan<'a>(replicas: u64, slots: Vec<Slot<'a>>) -> Plan<'a> {
    let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
    // A slot of a service that was global before has no number.
    let (mut kept, foreign): (Vec<_>, Vec<_>) = slots.into_iter().partition(|s| matches!(s.place, Place::Slot(_)));
    let mut removed = foreign;
    if kept.len() > replicas {
        let order = removal_order(&kept);
        let surplus: BTreeSet<Place> =
            order.iter().take(kept.len() - replicas).map(|&i| kept[i].place.clone()).collect();
        let (go, stay): (Vec<_>, Vec<_>) = kept.into_iter().partition(|s| surplus.contains(&s.place));
        removed.extend(go);
        kept = stay;
    }
    let used: BTreeSet<&Place> = kept.iter().map(|s| &s.place).collect();
    let free = (1..).map(Place::Slot).filter(|place| !used.contains(place));
    let create = free.take(replicas.saturating_sub(kept.len())).collect();
    Plan { create, stop: removed.iter().flat_map(remove).collect(), kept }
}

/// Units that remove all tasks of the slot, its history included.
pub(crate) fn remove(slot: &Slot<'_>) -> Vec<Vec<StoreAction>> {
    slot.tasks.iter().map(|task| vec![set_desired(task, TaskState::Remove)]).collect()
}

/// Indices of the slots, first to go first: what does not run, then what stands on the nodes with most of the service.
fn removal_order(slots: &[Slot<'_>]) -> Vec<usize> {
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ranked: Vec<(bool, usize, usize)> = Vec::new();
    for (index, slot) in slots.iter().enumerate() {
        let running = slot.is_running();
        let node = slot.head().map_or("", |t| t.node_id.as_str());
        let rank = on_node.entry(node).or_default();
        ranked.push((running, *rank, index));
        if running {
            *rank += 1;
        }
    }
    ranked.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
    ranked.into_iter().map(|(_, _, index)| index).collect()
}
