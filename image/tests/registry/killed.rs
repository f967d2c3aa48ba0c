//! A pull that is killed at its worst moment, in a process of its own.

use std::process::{Child, Command};
use std::time::Duration;

use skep_image::{Digest, ImageStore, NoProgress, Reference, pull};

use crate::support::*;

const STORE: &str = "SKEP_TEST_STORE";
const REFERENCE: &str = "SKEP_TEST_REFERENCE";

/// Runs the test of this module again, as the process that will be killed.
fn child(store: &Store, reference: &Reference) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::a_killed_pull_is_cleaned_up_and_resumed", "--quiet"])
        .env(STORE, store.directory.path())
        .env(REFERENCE, reference.to_string())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_killed_pull_is_cleaned_up_and_resumed() {
    if let (Ok(directory), Ok(reference)) = (std::env::var(STORE), std::env::var(REFERENCE)) {
        let store = ImageStore::open(directory.as_ref()).unwrap();
        let mut patient = options();
        patient.settings.timeouts.stall = Duration::from_secs(600);
        pull(&store, &reference.parse().unwrap(), &patient, &NoProgress).await.unwrap();
        return;
    }
    let registry = Registry::start().await;
    let (small, large) = (layer("small", b"s"), layer("large", &noise(500_000, 77)));
    registry.image(&[small.clone(), large.clone()], &["latest"]);
    let large_digest = Digest::of(&large.1).to_string();
    registry.fault(move |seen, content| {
        let bytes = content.blobs.get(&large_digest).filter(|_| seen.path.ends_with(&large_digest))?;
        Some(part_of(bytes, start_of(seen), 300_000, true))
    });
    let store = store();
    let reference = registry.reference("app");
    let mut child = child(&store, &reference);
    while store.count("layers") == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it should hang");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(store.count("work"), 1, "nobody was left to remove it");
    assert!(store.store.list().unwrap().is_empty());

    registry.heal();
    registry.forget_seen();
    pull(&store.store, &reference, &options(), &NoProgress).await.unwrap();
    assert_eq!(registry.gets(&Digest::of(&small.1).hex()), 0, "what was complete is not fetched again");
    assert_eq!((store.count("work"), store.count("layers")), (0, 2));
    assert_eq!(store.store.resolve(&reference.familiar()).unwrap().size, 500_001);
}
