//! Pulling from registries that are down, slow, wrong or hostile: a clear error, and nothing left behind.

use crate::support::*;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::json;
use skep_image::{Credentials, Digest, LayerEvent, NoProgress, PullOptions, pull};
use tar::EntryType;

/// Pulls `app` and expects it to fail; returns the error with its causes.
async fn refused(registry: &Registry) -> String {
    refused_with(registry, &options()).await
}

async fn refused_with(registry: &Registry, options: &PullOptions) -> String {
    let store = store();
    let error = pull(&store.store, &registry.reference("app"), options, &NoProgress).await.unwrap_err();
    store.assert_untouched();
    chain(&error)
}

#[tokio::test]
async fn an_unknown_tag_and_repository_are_named() {
    let registry = Registry::start().await;
    let name = registry.reference("app").familiar();
    assert_eq!(refused(&registry).await, format!("manifest for {name} not found: manifest unknown: manifest unknown"));
    registry.fault(|_, _| Some(registry_error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known")));
    let name = registry.reference("app").familiar_name();
    assert_eq!(
        refused(&registry).await,
        format!("repository {name} not found: name unknown: repository name not known")
    );
    registry.fault(|_, _| Some(registry_error(StatusCode::FORBIDDEN, "DENIED", "requested access is denied")));
    assert_eq!(
        refused(&registry).await,
        format!(
            "pull access denied for {name}, repository does not exist or may require 'skep login': \
             denied: requested access is denied"
        )
    );
}

#[tokio::test]
async fn a_registry_that_is_down_is_named_at_once() {
    let store = store();
    let mut patient = options();
    patient.settings.timeouts.retry_first = std::time::Duration::from_secs(3600);
    let reference = "127.0.0.1:1/app".parse().unwrap();
    let error = pull(&store.store, &reference, &patient, &NoProgress).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot reach registry 127.0.0.1:1: connection refused (is it running?)");
    assert!(error.is_retryable());
    store.assert_untouched();
}

#[tokio::test]
async fn server_errors_are_tried_again_and_then_named() {
    let registry = Registry::start().await;
    registry.image(&[layer("a", b"1")], &["latest"]);
    let count = counter();
    registry.fault(move |_, _| (count() % 3 != 2).then(|| text(StatusCode::INTERNAL_SERVER_ERROR, "sorry")));
    pull(&store().store, &registry.reference("app"), &options(), &NoProgress).await.unwrap();

    registry.forget_seen();
    registry.fault(|_, _| Some(text(StatusCode::INTERNAL_SERVER_ERROR, "out of order")));
    let error = refused(&registry).await;
    let expected = format!("registry {} answered 500 (out of order) to GET /v2/app/manifests/latest", registry.address);
    assert_eq!(error, expected);
    assert_eq!(registry.seen().len(), 3);
}

#[tokio::test]
async fn a_registry_that_asks_for_patience_gets_some() {
    let registry = Registry::start().await;
    registry.image(&[layer("a", b"1")], &["latest"]);
    let busy = |seconds: &str| {
        let mut response = registry_error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "slow down");
        response.headers_mut().insert(header::RETRY_AFTER, seconds.parse().unwrap());
        response
    };
    let count = counter();
    registry.fault(move |_, _| (count() == 0).then(|| busy("0")));
    pull(&store().store, &registry.reference("app"), &options(), &NoProgress).await.unwrap();

    registry.forget_seen();
    registry.fault(move |_, _| Some(busy("3600")));
    assert_eq!(
        refused(&registry).await,
        format!(
            "registry {} refuses more requests for now (toomanyrequests (toomanyrequests: slow down)): \
             try again in 3600 s, or log in",
            registry.address
        )
    );
    assert_eq!(registry.seen().len(), 1);
}

#[tokio::test]
async fn a_token_server_that_fails_is_named() {
    let registry = Registry::start().await;
    let realm = format!("http://{}/token", registry.address);
    registry.fault(move |seen, _| {
        if seen.path == "/token" {
            return Some(text(StatusCode::INTERNAL_SERVER_ERROR, ""));
        }
        Some(challenge(&format!("Bearer realm=\"{realm}\"")))
    });
    let error = refused(&registry).await;
    assert_eq!(error, format!("registry {} answered 500 to its token server's GET /token", registry.address));
    registry.fault(|_, _| Some(challenge("Bearer realm=\"file:///etc/passwd\"")));
    assert!(refused(&registry).await.contains("is not reached by http"));
    // A challenge without end.
    let realm = format!("http://{}/token", registry.address);
    registry.forget_seen();
    registry.fault(move |seen, _| match seen.path.as_str() {
        "/token" => Some(text(StatusCode::OK, r#"{"token":"x"}"#)),
        _ => Some(challenge(&format!("Bearer realm=\"{realm}\""))),
    });
    assert!(refused(&registry).await.starts_with("pull access denied for"));
    assert!(registry.seen().len() <= 5, "{:?}", registry.seen());
}

/// A fault on the one blob that is a layer of `registry`'s image.
fn on_layer<F: Fn(&Seen, &[u8]) -> Response + Send + Sync + 'static>(
    compressed: &[u8],
    answer: F,
) -> impl Fn(&Seen, &Content) -> Option<Response> + use<F> {
    let name = Digest::of(compressed).to_string();
    move |seen, content| {
        let bytes = content.blobs.get(&name)?;
        seen.path.ends_with(&name).then(|| answer(seen, bytes))
    }
}

#[tokio::test]
async fn a_layer_that_breaks_off_is_taken_up_where_it_broke() {
    let registry = Registry::start().await;
    let content = noise(400_000, 11);
    let (plain, compressed) = layer("file", &content);
    registry.image(&[(plain, compressed.clone())], &["latest"]);
    for (silent, ranges) in [(false, true), (false, false), (true, true)] {
        registry.forget_seen();
        let count = counter();
        registry.fault(on_layer(&compressed, move |seen, bytes| {
            let start = if ranges { start_of(seen) } else { 0 };
            if count() < 2 {
                return part_of(bytes, start, start.max(100_000) + 50_000, silent);
            }
            let served = Seen { range: seen.range.clone().filter(|_| ranges), ..seen.clone() };
            let content = Content { blobs: [("x".into(), bytes.to_vec())].into(), ..Content::default() };
            good(&Seen { path: "/x".into(), ..served }, &content)
        }));
        let store = store();
        let recorder = Recorder::default();
        pull(&store.store, &registry.reference("app"), &options(), &recorder).await.unwrap();
        let image = store.store.resolve(&registry.reference("app").familiar()).unwrap();
        assert!(std::fs::read(image.layers[0].path.join("file")).unwrap() == content);
        assert!(recorder.events().iter().any(|event| matches!(event, LayerEvent::Retrying { .. })));
        let asked: Vec<Seen> = registry
            .seen()
            .into_iter()
            .filter(|seen| seen.path.ends_with(&Digest::of(&compressed).to_string()))
            .collect();
        assert!(asked.len() >= 3);
        assert!(asked[1..].iter().all(|seen| seen.range.is_some()));
    }
}

#[tokio::test]
async fn a_layer_that_always_breaks_off_is_given_up() {
    let registry = Registry::start().await;
    let (plain, compressed) = layer("file", &noise(100_000, 5));
    registry.image(&[(plain, compressed.clone())], &["latest"]);
    registry.fault(on_layer(&compressed, |_, bytes| part_of(bytes, 0, 1000, false)));
    let error = refused(&registry).await;
    assert!(error.starts_with(&format!("the connection to registry {} broke: ", registry.address)), "{error}");
    registry.fault(on_layer(&compressed, |_, bytes| part_of(bytes, 0, 1000, true)));
    let error = refused(&registry).await;
    assert_eq!(error, format!("registry {} did not answer: the next bytes took longer than 2 s", registry.address));
    // Without a length the end cannot be told from a truncation.
    registry.fault(on_layer(&compressed, |_, bytes| {
        let piece = bytes::Bytes::copy_from_slice(&bytes[..1000]);
        let stream = futures::stream::once(async move { Ok::<_, std::io::Error>(piece) });
        Response::new(Body::from_stream(stream))
    }));
    let error = refused(&registry).await;
    let digest = Digest::of(&compressed);
    let expected = compressed.len();
    assert_eq!(
        error,
        format!("registry {} sent blob {digest} truncated: expected {expected} bytes, received 1000", registry.address)
    );
}

#[tokio::test]
async fn a_registry_that_never_answers_is_given_up() {
    let registry = Registry::start().await;
    registry.fault(|_, _| Some(part_of(b"manifest", 0, 0, true)));
    let error = refused(&registry).await;
    assert!(error.starts_with(&format!("registry {} did not answer: ", registry.address)), "{error}");
    // One that accepts the connection and says nothing at all.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let reference = format!("{address}/app").parse().unwrap();
    let error = pull(&store().store, &reference, &options(), &NoProgress).await.unwrap_err().to_string();
    assert_eq!(error, format!("registry {address} did not answer: the answer took longer than 3 s"));
    drop(silent);
}

#[tokio::test]
async fn wrong_content_is_refused_and_named() {
    let registry = Registry::start().await;
    let (plain, compressed) = layer("file", b"content");
    registry.image(&[(plain, compressed.clone())], &["latest"]);
    let host = registry.address;
    let digest = Digest::of(&compressed);

    let mut altered = compressed.clone();
    altered[30] ^= 1;
    let actual = Digest::of(&altered);
    registry.fault(on_layer(&compressed, move |_, _| Response::new(Body::from(altered.clone()))));
    let error = refused(&registry).await;
    assert_eq!(error, format!("registry {host} sent a wrong layer: expected digest {digest}, received {actual}"));

    let mut longer = compressed.clone();
    longer.push(0);
    let (expected, received) = (compressed.len(), longer.len());
    registry.fault(on_layer(&compressed, move |_, _| Response::new(Body::from(longer.clone()))));
    let error = refused(&registry).await;
    let wrong_size =
        format!("registry {host} sent blob {digest} with a wrong size: expected {expected} bytes, received {received}");
    assert_eq!(error, wrong_size);
    // The same without saying so beforehand.
    let mut longer = compressed.clone();
    longer.push(0);
    registry.fault(on_layer(&compressed, move |_, _| {
        let piece = bytes::Bytes::from(longer.clone());
        Response::new(Body::from_stream(futures::stream::once(async move { Ok::<_, std::io::Error>(piece) })))
    }));
    assert_eq!(refused(&registry).await, wrong_size);

    registry.fault(|seen, content| {
        let mut response = good(seen, content);
        if seen.path.contains("/manifests/") {
            *response.body_mut() = Body::from(r#"{"schemaVersion":2,"manifests":[]}"#);
        }
        Some(response)
    });
    let error = refused(&registry).await;
    assert!(error.starts_with(&format!("registry {host} sent a wrong manifest: expected digest ")), "{error}");

    registry.fault(|seen, content| {
        let config =
            seen.path.contains("/blobs/") && content.blobs.get(seen.path.rsplit('/').next()?)?.starts_with(b"{");
        config.then(|| Response::new(Body::from(vec![b' '; 10])))
    });
    let error = refused(&registry).await;
    assert!(error.contains("with a wrong size"), "{error}");
}

#[tokio::test]
async fn manifests_and_configurations_have_limits() {
    let registry = Registry::start().await;
    registry.image(&[layer("a", b"1")], &["latest"]);
    let host = registry.address;
    registry.fault(|seen, _| {
        seen.path.contains("/manifests/").then(|| {
            let endless =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 65536])));
            Response::new(Body::from_stream(endless))
        })
    });
    assert_eq!(
        refused(&registry).await,
        format!("registry {host} sent a manifest of more than 4194304 bytes, which is refused")
    );
    registry.heal();
    let huge = json!({"schemaVersion": 2, "layers": [], "config": {
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(b"x"), "size": 1_u64 << 30,
    }});
    registry.blob(b"x".to_vec());
    registry.manifest(OCI_MANIFEST, &huge, &["latest"]);
    assert_eq!(
        refused(&registry).await,
        format!("registry {host} sent a configuration of more than 8388608 bytes, which is refused")
    );
}

#[tokio::test]
async fn contradictory_manifests_are_refused() {
    let registry = Registry::start().await;
    let name = registry.reference("app").familiar();
    let on = |digest: &Digest, os: &str, architecture: &str| {
        let platform = json!({"os": os, "architecture": architecture});
        json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "platform": platform})
    };
    let entry = |digest: &Digest| on(digest, "linux", "amd64");
    let image = registry.image(&[layer("a", b"1")], &[]);

    let both = json!({"schemaVersion": 2, "config": entry(&image), "layers": [], "manifests": [entry(&image)]});
    registry.manifest(OCI_INDEX, &both, &["latest"]);
    assert!(refused(&registry).await.ends_with("is ambiguous: it has both layers and manifests"));

    let mut nested = image;
    for _ in 0..3 {
        nested = registry.manifest(OCI_INDEX, &json!({"schemaVersion": 2, "manifests": [entry(&nested)]}), &["latest"]);
    }
    assert!(refused(&registry).await.contains("is an index within an index"));

    let elsewhere = [on(&image, "linux", "s390x"), on(&image, "windows", "amd64")];
    let foreign = json!({"schemaVersion": 2, "manifests": elsewhere});
    registry.manifest(OCI_INDEX, &foreign, &["latest"]);
    assert_eq!(
        refused(&registry).await,
        format!(
            "no matching manifest for linux/amd64 in the manifest list entries of {name} (it has linux/s390x, windows/amd64)"
        )
    );

    registry.manifest_bytes("application/json", br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec(), &["latest"]);
    assert!(refused(&registry).await.contains("image format version 1, which is no longer supported"));
    registry.manifest_bytes("text/html", b"<html>".to_vec(), &["latest"]);
    assert!(refused(&registry).await.contains("is malformed"));

    let config = registry.blob(br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec());
    let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 42});
    let more = json!({"schemaVersion": 2, "layers": [entry(&image)], "config": config});
    registry.manifest(OCI_MANIFEST, &more, &["latest"]);
    assert_eq!(refused(&registry).await, format!("the manifest of {name} lists 1 layers and its configuration 0"));
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let registry = Registry::start().await;
    let (plain, _) = layer("file", b"said");
    let (other, compressed) = layer("file", b"sent");
    registry.image(&[(plain.clone(), compressed.clone())], &["latest"]);
    assert_eq!(
        refused(&registry).await,
        format!(
            "layer {} is not what the image's configuration says: expected diff id {}, got {}",
            Digest::of(&compressed),
            Digest::of(&plain),
            Digest::of(&other)
        )
    );
    let xz = b"\xfd7zXZ\0 and so on".to_vec();
    registry.image(&[(plain, xz.clone())], &["latest"]);
    assert_eq!(
        refused(&registry).await,
        format!(
            "layer {}: the layer is compressed with xz, which is not supported (gzip and zstd are)",
            Digest::of(&xz)
        )
    );
}

#[tokio::test]
async fn hostile_archives_are_refused_by_entry_and_leave_nothing() {
    let registry = Registry::start().await;
    for (entries, name) in [
        (vec![(EntryType::Regular, "../../etc/passwd", "")], "../../etc/passwd"),
        (vec![(EntryType::Regular, "a/../../x", "")], "a/../../x"),
        (vec![(EntryType::Symlink, "evil", "/etc"), (EntryType::Regular, "evil/x", "")], "evil/x"),
        (vec![(EntryType::Symlink, "evil", "../.."), (EntryType::Directory, "evil/x/", "")], "evil/x/"),
        (vec![(EntryType::Link, "hard", "../../../etc/passwd")], "hard"),
        (vec![(EntryType::Link, "hard", "/etc/passwd")], "hard"),
        (vec![(EntryType::Regular, "../.wh.x", "")], "../.wh.x"),
    ] {
        let plain = raw_archive(&entries);
        let compressed = gzip(&plain);
        registry.image(&[layer("good", b"good"), (plain, compressed.clone())], &["latest"]);
        let store = store();
        let error = pull(&store.store, &registry.reference("app"), &options(), &NoProgress).await.unwrap_err();
        let expected = format!("layer {}: entry {name:?} escapes the image root: ", Digest::of(&compressed));
        assert!(chain(&error).starts_with(&expected), "{}", chain(&error));
        assert!(store.store.list().unwrap().is_empty());
        assert!(store.count("layers") <= 1, "only the good layer may stay");
        assert_eq!(store.count("work"), 0);
    }
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect() {
    let registry = Registry::start().await;
    let elsewhere = Registry::start().await;
    let (plain, compressed) = layer("file", b"content");
    registry.image(&[(plain, compressed.clone())], &["latest"]);
    elsewhere.blob(compressed.clone());
    let target = elsewhere.address;
    registry.fault(move |seen, content| {
        if seen.authorization.is_none() {
            return Some(challenge("Basic realm=x"));
        }
        let layer = seen.path.contains("/blobs/") && content.blobs.get(seen.path.rsplit('/').next()?)?[0] != b'{';
        layer.then(|| redirect(&format!("http://{target}{}", seen.path)))
    });
    let options = PullOptions { credentials: Some(Credentials::basic("user", "pw")), ..options() };
    pull(&store().store, &registry.reference("app"), &options, &NoProgress).await.unwrap();
    assert_eq!(elsewhere.seen().len(), 1);
    assert_eq!(elsewhere.seen()[0].authorization, None);

    // Not even when it asks for them, by itself or by a token server.
    for asking in ["Basic realm=x".to_owned(), format!("Bearer realm=\"http://{target}/token\"")] {
        elsewhere.forget_seen();
        elsewhere.fault(move |_, _| Some(challenge(&asking)));
        let error = refused_with(&registry, &options).await;
        assert!(error.starts_with("pull access denied for"), "{error}");
        assert!(elsewhere.seen().iter().all(|seen| seen.authorization.is_none() && seen.path != "/token"));
    }
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_refused() {
    let registry = Registry::start().await;
    let host = registry.address;
    registry.fault(|seen, _| Some(redirect(&seen.path)));
    assert!(refused(&registry).await.ends_with("which is refused: there are too many redirects"));
    assert_eq!(registry.seen().len(), 6);
    registry.fault(|_, _| Some(redirect("file:///etc/passwd")));
    assert_eq!(
        refused(&registry).await,
        format!("registry {host} redirects to file:///etc/passwd, which is refused: it is not reached by http")
    );
}

#[tokio::test]
async fn a_full_disk_is_named_and_a_larger_one_helps() {
    let registry = Registry::start().await;
    let reference = registry.reference("app");
    // One that does not fit compressed, and one that does not fit unpacked.
    for content in [noise(6 << 20, 9), vec![0; 30 << 20]] {
        registry.image(&[layer("file", &content)], &["latest"]);
        let small = SmallStore::new(4 << 20);
        let error = pull(&small.store, &reference, &options(), &NoProgress).await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains("disk is full") && text.contains("free some space"), "{text}");
        assert!(small.store.list().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(small.path().join("work")).unwrap().count(), 0);
        small.grow(64 << 20);
        pull(&small.store, &reference, &options(), &NoProgress).await.unwrap();
    }
}
