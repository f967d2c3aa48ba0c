//! Tasks of one image, against a registry that counts what it is asked.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::json;
use skep_cluster::executor::{Executor, ExecutorError};
use skep_cluster::model::{Annotations, ContainerSpec, Task, TaskSpec};
use skep_image::{Digest, PullOptions, RegistrySettings, Timeouts};
use skep_runtime::{Roots, Runtime};
use tempfile::TempDir;

use super::NodeExecutor;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image of one empty layer, and how often it was asked for.
struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    manifests_asked_for: AtomicUsize,
    down: AtomicBool,
}

impl Image {
    fn new() -> Self {
        // Two blocks of zeros end an archive.
        let layer = vec![0; 1024];
        let host = PullOptions::default().platform;
        let config = json!({
            "architecture": host.architecture.to_string(), "os": "linux", "config": {"Cmd": ["/x"]},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(&config), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": Digest::of(&layer), "size": layer.len(),
            }],
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        Self { layer, config, manifest, manifests_asked_for: AtomicUsize::new(0), down: AtomicBool::new(false) }
    }

    fn asked(&self) -> usize {
        self.manifests_asked_for.load(Ordering::SeqCst)
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

async fn answer(State(image): State<Arc<Image>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let is_manifest = path.contains("/manifests/");
    if is_manifest {
        image.manifests_asked_for.fetch_add(1, Ordering::SeqCst);
        // Long enough for the other tasks to come and ask, too.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = |status| Response::builder().status(status).body(Body::empty()).unwrap();
    if image.down.load(Ordering::SeqCst) {
        return status(StatusCode::SERVICE_UNAVAILABLE);
    }
    let (media_type, bytes) = match path {
        path if is_manifest && !path.contains("/unknown/") => (MANIFEST, &image.manifest),
        path if path.ends_with(&Digest::of(&image.config).to_string()) => ("application/octet-stream", &image.config),
        path if path.ends_with(&Digest::of(&image.layer).to_string()) => ("application/octet-stream", &image.layer),
        path if path.ends_with("/v2/") => return status(StatusCode::OK),
        _ => return status(StatusCode::NOT_FOUND),
    };
    Response::builder().header(header::CONTENT_TYPE, media_type).body(Body::from(bytes.clone())).unwrap()
}

/// A node, and the registry it pulls from.
pub(super) struct World {
    image: Arc<Image>,
    pub(super) executor: Arc<NodeExecutor>,
    registry: String,
    _directory: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let image = Arc::new(Image::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = listener.local_addr().unwrap().to_string();
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&image));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let directory = tempfile::tempdir().unwrap();
        let roots = Roots {
            root: directory.path().join("root"),
            run_root: directory.path().join("run"),
            cgroup_parent: "/skep-pull-tests".to_owned(),
        };
        let options = || {
            // One request for each look-up, so that counting the one counts the other.
            let timeouts = Timeouts { attempts: 1, ..Timeouts::default() };
            let settings = RegistrySettings { timeouts, ..RegistrySettings::default() };
            Ok(PullOptions { settings, ..PullOptions::default() })
        };
        let executor = NodeExecutor::new(Runtime::open(roots).unwrap(), Box::new(options)).unwrap();
        Self { image, executor: Arc::new(executor), registry, _directory: directory }
    }

    pub(super) fn task(&self, slot: u64, image: &str) -> Task {
        Task {
            id: format!("task{slot}").into(),
            slot,
            service_annotations: Annotations { name: "web".to_owned(), ..Annotations::default() },
            spec: TaskSpec {
                container: ContainerSpec { image: format!("{}/{image}", self.registry), ..ContainerSpec::default() },
                ..TaskSpec::default()
            },
            ..Task::default()
        }
    }

    async fn prepare(&self, slot: u64, image: &str) -> Result<(), ExecutorError> {
        self.executor.controller(&Arc::new(self.task(slot, image))).prepare().await
    }

    /// Prepares several tasks at once.
    async fn prepare_all(&self, slots: std::ops::Range<u64>, image: &str) -> Vec<Result<(), ExecutorError>> {
        futures::future::join_all(slots.map(|slot| self.prepare(slot, image))).await
    }
}

#[tokio::test]
async fn ten_tasks_ask_once() {
    let world = World::new().await;
    let outcomes = world.prepare_all(1..11, "app:1").await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.image.asked(), 1);
}

#[tokio::test]
async fn what_is_here_starts_after_one_failed_look_up() {
    let world = World::new().await;
    world.prepare(1, "app:1").await.unwrap();
    world.image.set_down(true);
    let before = world.image.asked();
    let outcomes = world.prepare_all(2..12, "app:1").await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.image.asked() - before, 1, "one look-up for all of them");
    world.prepare(12, "app:1").await.unwrap();
    assert_eq!(world.image.asked() - before, 1, "its failure is remembered");
}

#[tokio::test]
async fn a_registry_that_is_away_is_waited_for() {
    let world = World::new().await;
    world.image.set_down(true);
    let outcomes = world.prepare_all(1..4, "app:1").await;
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains(&world.registry), "it is said which registry does not answer: {error}");
    }
    assert_eq!(world.image.asked(), 1);
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_not_waited_for() {
    let world = World::new().await;
    let error = world.prepare(1, "unknown/app:1").await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
}
