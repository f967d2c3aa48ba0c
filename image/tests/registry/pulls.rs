//! Pulling from registries that work: formats, platforms, logins, mirrors, TLS, concurrency.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use skep_image::{
    Credentials, Digest, LayerEvent, LoginOptions, NoProgress, Registries, login, logout, pull, resolve_digest,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[tokio::test]
async fn an_image_of_all_compressions_is_pulled_from_an_index() {
    let registry = Registry::start().await;
    let base =
        archive(&[("etc/", None), ("etc/passwd", Some(b"root")), ("etc/gone", Some(b"x")), ("old/file", Some(b"y"))]);
    let middle = archive(&[("etc/.wh.gone", Some(b"")), ("old/.wh..wh..opq", Some(b""))]);
    let top = archive(&[("bin/app", Some(&noise(300_000, 7)))]);
    let layers = [
        (base.clone(), gzip(&base)),
        (middle.clone(), zstd::stream::encode_all(middle.as_slice(), 3).unwrap()),
        (top.clone(), top.clone()),
    ];
    let image = registry.image(&layers, &[]);
    let other = registry.image(&[layer("other", b"architecture")], &[]);
    let entry =
        |digest, platform| json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "platform": platform});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        entry(other, json!({"os": "linux", "architecture": "arm64"})),
        entry(image, json!({"os": "linux", "architecture": "amd64"})),
        entry(other, json!({"os": "unknown", "architecture": "unknown"})),
    ]});
    let index = registry.manifest(OCI_INDEX, &index, &["latest"]);

    let store = store();
    let recorder = Recorder::default();
    let reference = registry.reference("team/app");
    let pulled = pull(&store.store, &reference, &options(), &recorder).await.unwrap();
    assert_eq!((pulled.digest, pulled.up_to_date), (index, false));
    let image = store.store.resolve(&reference.familiar()).unwrap();
    assert_eq!(image.id, pulled.id);
    assert_eq!(image.repo_digests, [reference.only_digest(index)]);
    assert_eq!(image.config.env, ["A=b"]);
    assert_eq!(fs::read_to_string(image.layers[0].path.join("etc/passwd")).unwrap(), "root");
    assert!(fs::symlink_metadata(image.layers[1].path.join("etc/gone")).unwrap().file_type().is_char_device());
    assert_eq!(fs::metadata(image.layers[2].path.join("bin/app")).unwrap().len(), 300_000);
    assert_eq!(image.size, 300_000 + 6);
    let (base, lowers) = image.overlay_lowers();
    assert!(base.join(&lowers[0]).join("bin/app").exists());
    assert_eq!(recorder.events().iter().filter(|event| **event == LayerEvent::PullComplete).count(), 3);
    assert_eq!(store.count("work"), 0);

    registry.forget_seen();
    let again = pull(&store.store, &reference, &options(), &NoProgress).await.unwrap();
    assert!(again.up_to_date);
    assert_eq!(registry.seen().len(), 1, "one HEAD and nothing else");
    let resolved = resolve_digest(&reference, &options()).await.unwrap();
    assert_eq!(resolved.digest, index);
    let platforms: Vec<String> = resolved.platforms.iter().map(ToString::to_string).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/amd64"]);

    store.store.remove(&reference.familiar(), false, &|_| Vec::new()).unwrap();
    store.assert_untouched();
    assert_eq!(store.count("blobs/sha256"), 0);
}

#[tokio::test]
async fn an_image_without_layers_and_one_by_digest_are_pulled() {
    let registry = Registry::start().await;
    let digest = registry.image(&[], &["empty"]);
    let store = store();
    let reference = registry.reference("app:empty").only_digest(digest);
    let pulled = pull(&store.store, &reference, &options(), &NoProgress).await.unwrap();
    let image = store.store.image(&pulled.id).unwrap();
    assert!(image.layers.is_empty() && image.references.is_empty());
    assert_eq!(image.repo_digests, std::slice::from_ref(&reference));
    assert!(pull(&store.store, &reference, &options(), &NoProgress).await.unwrap().up_to_date);
    assert_eq!(resolve_digest(&reference, &options()).await.unwrap().platforms[0].to_string(), "linux/amd64");
}

#[tokio::test]
async fn a_moved_tag_is_followed_and_the_old_image_loses_its_name() {
    let registry = Registry::start().await;
    let shared = layer("shared", b"shared");
    registry.image(&[shared.clone(), layer("a", b"1")], &["latest"]);
    let store = store();
    let reference = registry.reference("app");
    let first = pull(&store.store, &reference, &options(), &NoProgress).await.unwrap();
    registry.image(&[shared, layer("a", b"2")], &["latest"]);
    let recorder = Recorder::default();
    let second = pull(&store.store, &reference, &options(), &recorder).await.unwrap();
    assert!(first.id != second.id && !second.up_to_date);
    assert!(recorder.events().contains(&LayerEvent::AlreadyExists));
    assert_eq!(store.store.resolve(&reference.familiar()).unwrap().id, second.id);
    assert!(store.store.image(&first.id).unwrap().references.is_empty());
    assert_eq!(store.store.list().unwrap().len(), 2);
}

/// Answers as a registry with a token server does. `user` may pull, or anyone if it is `None`.
fn bearer_fault(
    realm: String,
    user: Option<Credentials>,
) -> impl Fn(&Seen, &Content) -> Option<axum::response::Response> {
    move |seen, _| {
        if seen.path == "/token" {
            let basic = seen.authorization.as_deref().and_then(|value| value.strip_prefix("Basic "));
            let expected = user.as_ref().map(basic_of);
            let scoped =
                seen.query.contains("scope=repository%3Ateam%2Fapp%3Apull") && seen.query.contains("service=tests");
            let login = user.is_some() && !seen.query.contains("scope=");
            let allowed = basic == expected.as_deref() && (scoped || login);
            return Some(if allowed {
                text(StatusCode::OK, r#"{"token":"secret-token"}"#)
            } else {
                registry_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "incorrect username or password")
            });
        }
        let authorized = seen.authorization.as_deref() == Some("Bearer secret-token");
        (!authorized).then(|| challenge(&format!("Bearer realm=\"{realm}\",service=\"tests\"")))
    }
}

fn basic_of(credentials: &Credentials) -> String {
    use base64::Engine as _;
    let text = format!("{}:{}", credentials.username, credentials.password);
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn tokens_are_fetched_with_and_without_credentials() {
    let registry = Registry::start().await;
    registry.image(&[layer("a", b"1")], &["latest"]);
    let realm = format!("http://{}/token", registry.address);
    let reference = registry.reference("team/app");
    registry.fault(bearer_fault(realm.clone(), None));
    pull(&store().store, &reference, &options(), &NoProgress).await.unwrap();
    assert_eq!(registry.gets("/token"), 1, "one token serves all requests");

    let user = Credentials::basic("user", "pass:word");
    registry.fault(bearer_fault(realm, Some(user.clone())));
    let store = store();
    let error = pull(&store.store, &reference, &options(), &NoProgress).await.unwrap_err().to_string();
    let expected = format!(
        "pull access denied for {}, repository does not exist or may require 'skep login': ",
        reference.familiar_name()
    );
    assert!(error.starts_with(&expected), "{error}");
    store.assert_untouched();
    let with_user = skep_image::PullOptions { credentials: Some(user), ..options() };
    pull(&store.store, &reference, &with_user, &NoProgress).await.unwrap();
}

#[tokio::test]
async fn a_token_that_expires_is_renewed() {
    let registry = Registry::start().await;
    registry.image(&[layer("a", b"1"), layer("b", b"2")], &["latest"]);
    let realm = format!("http://{}/token", registry.address);
    let issued = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    registry.fault(move |seen, _| {
        use std::sync::atomic::Ordering::SeqCst;
        if seen.path == "/token" {
            let number = issued.fetch_add(1, SeqCst) + 1;
            return Some(text(StatusCode::OK, &json!({"access_token": format!("t{number}")}).to_string()));
        }
        // Blobs need a newer token than manifests.
        let least = if seen.path.contains("/blobs/") { 2 } else { 1 };
        let number = seen.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer t")?.parse().ok());
        (number.unwrap_or(0) < least).then(|| challenge(&format!("Bearer realm=\"{realm}\"")))
    });
    pull(&store().store, &registry.reference("app"), &options(), &NoProgress).await.unwrap();
    assert_eq!(registry.gets("/token"), 2);
}

#[tokio::test]
async fn login_checks_keeps_and_removes_credentials() {
    let registry = Registry::start().await;
    registry.image(&[layer("a", b"1")], &["latest"]);
    let user = basic_of(&Credentials::basic("user", "pw"));
    registry.fault(move |seen, _| {
        let good = seen.authorization.as_deref() == Some(format!("Basic {user}").as_str());
        (!good).then(|| challenge("Basic realm=\"tests\""))
    });
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("docker/config.json");
    let mut options = options();
    let login_options =
        LoginOptions { settings: options.settings.clone(), file: Some(file.clone()), ..LoginOptions::default() };
    options.credential_files = skep_image::CredentialFiles::new(vec![file.clone()]);
    let server = registry.address.to_string();
    let reference = registry.reference("app");

    let error = login(Some(&server), "user", "wrong", &login_options).await.unwrap_err();
    assert_eq!(
        chain(&error),
        format!("login to {server} failed: {server}: unauthorized: incorrect username or password")
    );
    assert!(!file.exists());
    let error = pull(&store().store, &reference, &options, &NoProgress).await.unwrap_err().to_string();
    assert!(error.starts_with("pull access denied for "), "{error}");

    let outcome = login(Some(&server), "user", "pw", &login_options).await.unwrap();
    assert_eq!((outcome.server, outcome.file), (server.clone(), file.clone()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    pull(&store().store, &reference, &options, &NoProgress).await.unwrap();

    assert!(logout(Some(&server), &file).unwrap().removed);
    assert!(!logout(Some(&server), &file).unwrap().removed);
    assert!(pull(&store().store, &reference, &options, &NoProgress).await.is_err());
}

#[tokio::test]
async fn login_by_token_names_a_wrong_password() {
    let registry = Registry::start().await;
    let realm = format!("http://{}/token", registry.address);
    registry.fault(bearer_fault(realm, Some(Credentials::basic("user", "pw"))));
    let home = tempfile::tempdir().unwrap();
    let options = LoginOptions {
        settings: options().settings,
        file: Some(home.path().join("config.json")),
        ..LoginOptions::default()
    };
    let server = registry.address.to_string();
    let error = login(Some(&server), "user", "wrong", &options).await.unwrap_err();
    assert!(chain(&error).ends_with("unauthorized: unauthorized: incorrect username or password"), "{}", chain(&error));
    login(Some(&server), "user", "pw", &options).await.unwrap();
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_place_itself_last() {
    let registry = Registry::start().await;
    registry.image(&[layer("a", b"1")], &["latest"]);
    let empty = Registry::start().await;
    let conf = format!(
        "[[registry]]\nprefix='docker.io'\nlocation='{}/hub'\ninsecure=true\n\
         [[registry.mirror]]\nlocation='127.0.0.1:1'\ninsecure=true\n\
         [[registry.mirror]]\nlocation='{}'\ninsecure=true\n",
        registry.address, empty.address
    );
    let mut registries = Registries::default();
    registries.add("test.conf".as_ref(), &conf).unwrap();
    let user = Credentials::basic("user", "pw");
    let options = skep_image::PullOptions { registries, credentials: Some(user), ..options() };
    empty.fault(|seen, _| seen.authorization.is_none().then(|| challenge("Basic realm=x")));
    let store = store();
    let recorder = Recorder::default();
    pull(&store.store, &"nginx".parse().unwrap(), &options, &recorder).await.unwrap();
    assert_eq!(
        recorder.messages(),
        [
            "mirror 127.0.0.1:1: cannot reach registry 127.0.0.1:1: connection refused (is it running?)".to_owned(),
            format!(
                "mirror {}: pull access denied for nginx, repository does not exist or may require 'skep login': \
                 unauthorized: authentication required",
                empty.address
            ),
        ]
    );
    assert_eq!(store.store.resolve("nginx").unwrap().references[0].familiar(), "nginx:latest");
    assert!(empty.seen().iter().all(|seen| seen.authorization.is_none()), "credentials are for the place itself");
    assert_eq!(empty.seen()[0].path, "/v2/library/nginx/manifests/latest");
    assert!(registry.seen().iter().all(|seen| seen.path.starts_with("/v2/hub/library/nginx/")));
}

struct TlsListener(TcpListener, TlsAcceptor);

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.0.accept().await.unwrap();
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

#[tokio::test]
async fn certificates_are_checked_against_the_registrys_own_authority() {
    skep_image::install_crypto_provider();
    let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let private = rustls_pki_types::PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let registry = Registry::serve(TlsListener(listener, TlsAcceptor::from(Arc::new(tls))), address);
    registry.image(&[layer("a", b"1")], &["latest"]);
    let reference = registry.reference("app");
    let with = |insecure: bool| {
        let mut registries = Registries::default();
        let conf = format!("[[registry]]\nlocation='{address}'\ninsecure={insecure}\n");
        registries.add("test.conf".as_ref(), &conf).unwrap();
        skep_image::PullOptions { registries, ..options() }
    };

    let error = pull(&store().store, &reference, &with(false), &NoProgress).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot trust registry {address}: ")), "{error}");
    assert!(error.contains(&format!("/etc/containers/certs.d/{address}/ca.crt")), "{error}");
    pull(&store().store, &reference, &with(true), &NoProgress).await.unwrap();

    let certificates = tempfile::tempdir().unwrap();
    fs::create_dir(certificates.path().join(address.to_string())).unwrap();
    fs::write(certificates.path().join(address.to_string()).join("ca.crt"), key.cert.pem()).unwrap();
    let mut trusting = with(false);
    trusting.settings.certificate_directories = vec![certificates.path().to_owned()];
    pull(&store().store, &reference, &trusting, &NoProgress).await.unwrap();

    // The other way round: TLS to a registry that has none.
    let plain = Registry::start().await;
    let mut registries = Registries::default();
    registries.add("test.conf".as_ref(), &format!("[[registry]]\nlocation='{}'\n", plain.address)).unwrap();
    let options = skep_image::PullOptions { registries, ..options() };
    let error = pull(&store().store, &plain.reference("app"), &options, &NoProgress).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "registry {} does not speak https: mark it insecure in registries.conf to use plain http",
            plain.address
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pulls_at_once_fetch_each_layer_once() {
    let registry = Registry::start().await;
    let contents: Vec<Vec<u8>> = (1..6).map(|seed| noise(200_000, 1000 * seed)).collect();
    let layers: Vec<_> = contents.iter().map(|content| layer("file", content)).collect();
    registry.image(&layers, &["latest"]);
    let store = store();
    let reference = registry.reference("app");
    let options = options();
    let (one, two) = tokio::join!(
        pull(&store.store, &reference, &options, &NoProgress),
        pull(&store.store, &reference, &options, &NoProgress),
    );
    assert_eq!(one.unwrap().id, two.unwrap().id);
    for (_, compressed) in &layers {
        assert_eq!(registry.gets(&skep_image::Digest::of(compressed).hex()), 1);
    }
    assert_eq!(store.count("layers"), 5);
    assert_eq!(store.count("work"), 0);
}

#[tokio::test]
async fn a_cancelled_pull_keeps_what_was_complete_and_the_next_fetches_the_rest() {
    let registry = Registry::start().await;
    let (small, large) = (layer("small", b"s"), layer("large", &noise(500_000, 3)));
    registry.image(&[small.clone(), large.clone()], &["latest"]);
    let large_digest = skep_image::Digest::of(&large.1).to_string();
    registry.fault(move |seen, content| {
        let bytes = content.blobs.get(&large_digest).filter(|_| seen.path.ends_with(&large_digest))?;
        Some(part_of(bytes, start_of(seen), 100_000, true))
    });
    let store = store();
    let reference = registry.reference("app");
    let recorder = Recorder::default();
    let mut patient = options();
    patient.settings.timeouts.stall = Duration::from_secs(60);
    {
        let pulling = pull(&store.store, &reference, &patient, &recorder);
        tokio::pin!(pulling);
        let small_done = async {
            while !recorder.events().contains(&LayerEvent::PullComplete) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            result = &mut pulling => panic!("it should hang: {result:?}"),
            () = small_done => {}
        }
        // What a living pull has gathered is not collected by others.
        store.store.prune(true, &|_| Vec::new()).unwrap();
        assert_eq!(store.count("layers"), 1);
    }
    assert!(store.store.list().unwrap().is_empty(), "no half image is visible");
    registry.heal();
    registry.forget_seen();
    let recorder = Recorder::default();
    pull(&store.store, &reference, &options(), &recorder).await.unwrap();
    assert!(recorder.events().contains(&LayerEvent::AlreadyExists));
    assert_eq!(registry.gets(&skep_image::Digest::of(&small.1).hex()), 0);
    let image = store.store.resolve(&reference.familiar()).unwrap();
    assert_eq!(fs::read(image.layers[1].path.join("large")).unwrap(), noise(500_000, 3));
    // The threads of the cancelled pull end by themselves, and take their files along.
    while store.count("work") > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_layer_lost_from_disk_is_made_again_from_its_blob() {
    let registry = Registry::start().await;
    let content = layer("file", b"content");
    registry.image(std::slice::from_ref(&content), &["latest"]);
    let store = store();
    let reference = registry.reference("app");
    pull(&store.store, &reference, &options(), &NoProgress).await.unwrap();
    let path = store.store.resolve(&reference.familiar()).unwrap().layers[0].path.clone();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    registry.forget_seen();
    pull(&store.store, &reference, &options(), &NoProgress).await.unwrap();
    assert_eq!(registry.gets("/blobs/"), 0);
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "content");

    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let blob = store.directory.path().join("blobs/sha256").join(skep_image::Digest::of(&content.1).hex());
    let mut damaged = fs::read(&blob).unwrap();
    damaged[20] ^= 1;
    fs::write(&blob, damaged).unwrap();
    pull(&store.store, &reference, &options(), &NoProgress).await.unwrap();
    assert_eq!(registry.gets("/blobs/"), 1, "a damaged blob is fetched again");
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "content");
}

#[tokio::test]
async fn layers_are_fetched_at_the_same_time() {
    let registry = Registry::start().await;
    let layers = [layer("one", b"1"), layer("two", b"2"), layer("three", b"3")];
    registry.image(&layers, &["latest"]);
    // No layer comes before all of them are asked for.
    let all_asked_for = Arc::new(tokio::sync::Barrier::new(layers.len()));
    let paths = layers.each_ref().map(|(_, blob)| format!("/blobs/{}", Digest::of(blob)));
    registry.fault(move |seen, content| {
        let path = paths.iter().find(|path| seen.path.ends_with(*path))?;
        let bytes = content.blobs.get(path.trim_start_matches("/blobs/"))?.clone();
        let all_asked_for = Arc::clone(&all_asked_for);
        let body = futures::stream::once(async move {
            all_asked_for.wait().await;
            Ok::<_, std::io::Error>(bytes)
        });
        Some(Response::new(Body::from_stream(body)))
    });
    let store = store();
    pull(&store.store, &registry.reference("team/app"), &options(), &NoProgress).await.unwrap();
    assert_eq!(store.count("layers"), 3);
}
