//! The loop that runs a brain, by the system's clock and by one that a test turns.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use prost::Message;

use super::*;
use crate::model::Node;
use crate::store::{MemoryStore, create, update};
use crate::surroundings::{HandClock, SystemChance};

/// Refuses what a real log would.
struct Narrow(MemoryStore);

#[async_trait]
impl Store for Narrow {
    fn view(&self) -> Arc<View> {
        self.0.view()
    }

    fn watch(&self) -> tokio::sync::watch::Receiver<Arc<View>> {
        self.0.watch()
    }

    async fn propose(&self, actions: Vec<StoreAction>) -> Result<u64, ProposeError> {
        let bytes: usize = actions.iter().map(Message::encoded_len).sum();
        if bytes > 300 {
            return Err(ProposeError::TooLarge { bytes });
        }
        self.0.propose(actions).await
    }
}

#[tokio::test]
async fn what_does_not_fit_is_divided_and_what_never_will_holds_up_nobody() {
    let store = Arc::new(Narrow(MemoryStore::new()));
    for id in ["a".repeat(400), "b".into(), "c".repeat(100), "d".repeat(100), "e".repeat(100)] {
        let node = Node { id: id.into(), ..Node::default() };
        store.0.propose(vec![create(node)]).await.unwrap();
    }
    let pace = Pace { debounce: Duration::from_millis(1), ..Pace::default() };
    let cancel = CancellationToken::new();
    let running = tokio::spawn(run_brain(Counter, store.clone(), Surroundings::system(), pace, cancel.clone()));
    let mut watch = store.watch();
    let others = |view: &Arc<View>| view.nodes().values().skip(1).all(|n| n.data_path_addr.len() == 3);
    tokio::time::timeout(Duration::from_secs(20), watch.wait_for(others)).await.unwrap().unwrap();
    assert!(store.view().nodes().values().next().unwrap().data_path_addr.is_empty());
    cancel.cancel();
    running.await.unwrap();
}

struct Counter;

impl Brain for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn decide(&self, view: &View, _: i64, _: IdSource<'_>) -> Decision {
        let mut decision = Decision::default();
        for node in view.nodes().values().filter(|n| n.data_path_addr.len() < 3) {
            let mut node = Node::clone(node);
            node.data_path_addr.push('x');
            decision.change(update(node));
        }
        decision
    }
}

#[tokio::test]
async fn the_loop_decides_until_nothing_is_left_in_spite_of_conflicts() {
    let store = Arc::new(MemoryStore::new());
    let pace = Pace { debounce: Duration::from_millis(1), ..Pace::default() };
    let cancel = CancellationToken::new();
    let loops: Vec<_> = (0..2)
        .map(|_| tokio::spawn(run_brain(Counter, store.clone(), Surroundings::system(), pace, cancel.clone())))
        .collect();
    for id in ["a", "b", "c"] {
        store.propose(vec![create(Node { id: id.into(), ..Node::default() })]).await.unwrap();
    }
    let done = async {
        let mut watch = store.watch();
        while !store.view().nodes().values().all(|n| n.data_path_addr.len() == 3) {
            watch.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.unwrap();
    cancel.cancel();
    for each in loops {
        tokio::time::timeout(Duration::from_secs(20), each).await.unwrap().unwrap();
    }
}

/// A store that counts what is proposed, and has no majority when told so.
#[derive(Default)]
struct Watched {
    store: MemoryStore,
    proposals: AtomicUsize,
    cut_off: AtomicBool,
}

#[async_trait]
impl Store for Watched {
    fn view(&self) -> Arc<View> {
        self.store.view()
    }

    fn watch(&self) -> tokio::sync::watch::Receiver<Arc<View>> {
        self.store.watch()
    }

    async fn propose(&self, actions: Vec<StoreAction>) -> Result<u64, ProposeError> {
        self.proposals.fetch_add(1, Ordering::SeqCst);
        if self.cut_off.load(Ordering::SeqCst) {
            return Err(ProposeError::NoQuorum);
        }
        self.store.propose(actions).await
    }
}

/// Marks every node that is new, ten seconds after the epoch's thousandth.
struct Alarm(Arc<AtomicUsize>);

const DUE_NS: i64 = 1_010_000_000_000;

impl Brain for Alarm {
    fn name(&self) -> &'static str {
        "alarm"
    }

    fn decide(&self, view: &View, now_ns: i64, _: IdSource<'_>) -> Decision {
        self.0.fetch_add(1, Ordering::SeqCst);
        let mut decision = Decision::default();
        for node in view.nodes().values().filter(|node| node.data_path_addr.is_empty()) {
            if now_ns < DUE_NS {
                decision.wake(DUE_NS);
                continue;
            }
            decision.change(update(Node { data_path_addr: "marked".into(), ..Node::clone(node) }));
        }
        decision
    }
}

/// The loop in the test's own thread, and what turns it.
struct ByHand {
    clock: HandClock,
    store: Arc<Watched>,
    decisions: Arc<AtomicUsize>,
    cancel: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl ByHand {
    async fn start() -> Self {
        let clock = HandClock::at(1_000_000_000_000);
        let (store, decisions) = (Arc::new(Watched::default()), Arc::new(AtomicUsize::new(0)));
        let surroundings = Surroundings { clock: Arc::new(clock.clone()), chance: Arc::new(SystemChance) };
        let cancel = CancellationToken::new();
        let running = run_brain(Alarm(decisions.clone()), store.clone(), surroundings, Pace::default(), cancel.clone());
        let new = Self { clock, store, decisions, cancel, running: tokio::spawn(running) };
        new.come_to_rest().await;
        new
    }

    /// Lets the loop do all that it can without the clock being turned.
    async fn come_to_rest(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    async fn pass(&self, milliseconds: u64) {
        self.clock.advance(Duration::from_millis(milliseconds));
        self.come_to_rest().await;
    }

    async fn add_node(&self, id: &str) {
        self.store.store.propose(vec![create(Node { id: id.into(), ..Node::default() })]).await.unwrap();
        self.come_to_rest().await;
    }

    fn decisions(&self) -> usize {
        self.decisions.load(Ordering::SeqCst)
    }

    fn is_marked(&self, id: &str) -> bool {
        self.store.view().nodes()[id].data_path_addr == "marked"
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.running.await.unwrap();
    }
}

#[tokio::test]
async fn a_brain_is_asked_at_the_time_that_it_named_and_not_before() {
    let world = ByHand::start().await;
    world.add_node("a").await;
    world.pass(50).await;
    assert_eq!(world.decisions(), 2, "at the start, and when the commit had settled");
    world.pass(9_949).await;
    assert_eq!((world.decisions(), world.is_marked("a")), (2, false), "a millisecond too early");
    world.pass(1).await;
    assert!(world.is_marked("a"));
    assert_eq!(world.store.proposals.load(Ordering::SeqCst), 1);
    world.stop().await;
}

#[tokio::test]
async fn commits_settle_before_a_decision_and_hold_it_up_no_longer_than_a_second() {
    let world = ByHand::start().await;
    for index in 0..24 {
        world.add_node(&index.to_string()).await;
        world.pass(40).await;
    }
    assert_eq!(world.decisions(), 1, "the commits never paused");
    world.add_node("next").await;
    world.pass(40).await;
    assert_eq!(world.decisions(), 2, "a second after the first of them");
    world.pass(50).await;
    assert_eq!(world.decisions(), 2, "nothing came since");
    world.stop().await;
}

#[tokio::test]
async fn what_no_majority_took_is_decided_again_after_a_pause() {
    let world = ByHand::start().await;
    world.store.cut_off.store(true, Ordering::SeqCst);
    world.add_node("a").await;
    world.pass(11_000).await;
    world.pass(0).await;
    let tried = world.store.proposals.load(Ordering::SeqCst);
    assert_eq!(tried, 1);
    world.pass(499).await;
    assert_eq!(world.store.proposals.load(Ordering::SeqCst), tried, "not at once");
    world.store.cut_off.store(false, Ordering::SeqCst);
    world.pass(1).await;
    assert!(world.is_marked("a"));
    world.stop().await;
}
