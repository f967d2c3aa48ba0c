//! Tests of the store as a whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

struct Fixture {
    _directory: tempfile::TempDir,
    store: ImageStore,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&directory.path().join("images")).unwrap();
    Fixture { _directory: directory, store }
}

impl Fixture {
    /// Installs a layer whose only file holds `content`.
    fn layer(&self, content: &str) -> Digest {
        let work = self.store.start_work().unwrap();
        let diff_id = Digest::of(content.as_bytes());
        let staged = work.path().join("layer");
        fs::create_dir_all(staged.join("diff")).unwrap();
        fs::write(staged.join("diff/file"), content).unwrap();
        let size = content.len() as u64;
        let record = LayerRecord { version: 1, diff_id, size, blob: diff_id, link: String::new(), boot: String::new() };
        self.store.install_layer(&staged, record).unwrap();
        diff_id
    }

    /// Makes an image of the layers and gives it names.
    fn image(&self, layers: &[&str], names: &[&str]) -> ImageId {
        let diff_ids: Vec<Digest> = layers.iter().map(|content| Digest::of(content.as_bytes())).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let digest = Digest::of(&config);
        let work = self.store.start_work().unwrap();
        let held = Holds { layers: diff_ids.iter().copied().collect(), blobs: [digest].into(), ..Holds::default() };
        self.store.hold(&work, &held).unwrap();
        for content in layers {
            self.layer(content);
        }
        self.store.put_blob_if_missing(&work, &digest, &config, true).unwrap();
        let record = ImageRecord { manifest: None, blobs: [digest].into(), layers: diff_ids };
        let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
        self.store.commit_image(&ImageId(digest), record, &names).unwrap();
        ImageId(digest)
    }

    fn remove(&self, name: &str, force: bool) -> Result<Vec<String>, StoreError> {
        let removed = self.store.remove(name, force, &|_| Vec::new())?;
        Ok(removed.iter().map(Removed::to_string).collect())
    }

    fn files(&self, directory: &str) -> usize {
        fs::read_dir(self.store.root.join(directory)).unwrap().count()
    }
}

fn user(running: bool) -> impl Fn(&ImageId) -> Vec<ImageUser> {
    move |_| vec![ImageUser { container: "0123456789abcdef".into(), running }]
}

#[test]
fn a_layer_is_believed_while_it_cannot_have_been_lost() {
    let fixture = fixture();
    let layer = fixture.layer("a");
    assert!(fixture.store.has_layer(&layer).unwrap());
    let record = fixture.store.layers_directory().join(layer.hex()).join("layer.json");
    let text = fs::read_to_string(&record).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["boot"] = "another".into();
    fs::write(&record, value.to_string()).unwrap();
    assert!(!fixture.store.has_layer(&layer).unwrap());
    fs::write(&record, "").unwrap();
    assert!(!fixture.store.has_layer(&layer).unwrap());
    assert!(fixture.store.layer(&layer).unwrap().is_none());
    let id = fixture.image(&["a"], &["nginx"]);
    fs::write(&record, value.to_string()).unwrap();
    assert!(fixture.store.has_layer(&layer).unwrap());
    // An image with a layer of which nothing is known says so; the others are listed.
    fs::write(&record, "").unwrap();
    assert!(fixture.store.image(&id).unwrap_err().to_string().contains("is missing"));
    assert!(fixture.store.list().unwrap().is_empty());
}

#[test]
fn an_image_is_found_by_name_digest_and_id() {
    let fixture = fixture();
    let digest = Digest::of(b"manifest");
    let id = fixture.image(&["a", "b"], &["nginx", &format!("nginx@{digest}")]);
    for name in ["nginx", "docker.io/library/nginx:latest", &id.to_string(), &id.short(), &format!("nginx@{digest}")] {
        let image = fixture.store.resolve(name).unwrap();
        assert_eq!(image.id, id, "{name}");
        assert_eq!(image.config.cmd, ["sh"]);
        assert_eq!(image.size, 2);
        assert_eq!(image.references.len(), 1);
        assert_eq!(image.repo_digests.len(), 1);
    }
    let error = fixture.store.resolve("nope").unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "No such image: nope:latest");
    assert!(matches!(fixture.store.resolve("Nope!"), Err(StoreError::InvalidName(_))));
}

#[test]
fn lowers_are_short_topmost_first_and_lead_to_the_layers() {
    let fixture = fixture();
    fixture.image(&["bottom", "top"], &["x"]);
    let image = fixture.store.resolve("x").unwrap();
    let (base, lowers) = image.overlay_lowers();
    assert!(base.is_absolute());
    assert_eq!(lowers.len(), 2);
    assert!(lowers.iter().all(|name| name.len() == 12));
    assert_eq!(fs::read_to_string(base.join(&lowers[0]).join("file")).unwrap(), "top");
    assert_eq!(fs::read_to_string(image.layers[0].path.join("file")).unwrap(), "bottom");
    fs::remove_file(base.join(&lowers[0])).unwrap();
    let (base, lowers) = fixture.store.resolve("x").unwrap().overlay_lowers();
    assert!(base.join(&lowers[0]).join("file").exists(), "a lost link is made again");
}

#[test]
fn a_link_that_another_layer_has_is_lengthened() {
    let fixture = fixture();
    let diff_id = Digest::of(b"mine");
    let taken = fixture.store.links_directory().join(&diff_id.hex()[..12]);
    std::os::unix::fs::symlink(format!("../layers/{}/diff", Digest::of(b"other").hex()), &taken).unwrap();
    fixture.image(&["mine"], &["x"]);
    let (_, lowers) = fixture.store.resolve("x").unwrap().overlay_lowers();
    assert_eq!(lowers, [diff_id.hex()[..13].to_owned()]);
}

#[test]
fn removing_the_last_name_removes_image_and_layers_but_not_shared_ones() {
    let fixture = fixture();
    let digest = Digest::of(b"manifest");
    let first = fixture.image(&["shared", "own"], &["first", &format!("first@{digest}"), "first:2"]);
    fixture.image(&["shared"], &["second"]);
    assert_eq!(fixture.remove("first", false).unwrap(), ["Untagged: first:latest"]);
    let removed = fixture.remove("first:2", false).unwrap();
    assert_eq!(
        removed,
        [
            "Untagged: first:2".to_owned(),
            format!("Untagged: first@{digest}"),
            format!("Deleted: {first}"),
            format!("Deleted: {}", Digest::of(b"own")),
        ]
    );
    assert_eq!((fixture.files("layers"), fixture.files("l"), fixture.files("blobs/sha256")), (1, 1, 1));
    assert_eq!(fixture.files("work"), 0);
    assert!(fixture.store.resolve("second").is_ok());
}

#[test]
fn an_image_in_several_repositories_is_removed_by_id_only_with_force() {
    let fixture = fixture();
    let id = fixture.image(&["a"], &["one", "two"]);
    let error = fixture.remove(&id.short(), false).unwrap_err();
    assert!(error.to_string().ends_with("(must be forced) - image is referenced in multiple repositories"));
    assert_eq!(fixture.remove(&id.short(), true).unwrap().len(), 4);
    assert!(fixture.store.list().unwrap().is_empty());
}

#[test]
fn an_image_in_use_is_refused_in_dockers_words() {
    let fixture = fixture();
    let id = fixture.image(&["a"], &["x"]);
    let error = fixture.store.remove("x", false, &user(false)).unwrap_err().to_string();
    let expected = format!(
        "conflict: unable to remove repository reference \"x:latest\" (must force) - \
         container 0123456789ab is using its referenced image {}",
        id.short()
    );
    assert_eq!(error, expected);
    let error = fixture.store.remove(&id.short(), true, &user(true)).unwrap_err().to_string();
    assert!(error.ends_with("(cannot be forced) - image is being used by running container 0123456789ab"), "{error}");
    let removed = fixture.store.remove("x", true, &user(true)).unwrap();
    assert_eq!(removed, [Removed::Untagged("x:latest".into())]);
    assert!(fixture.store.image(&id).is_ok(), "the layers stay under the container");
    assert_eq!(fixture.remove(&id.to_string(), false).unwrap().len(), 2);
}

#[test]
fn a_lease_keeps_the_image_until_it_is_dropped() {
    let fixture = fixture();
    let id = fixture.image(&["a"], &["x"]);
    let (image, lease) = fixture.store.resolve_pinned("x").unwrap();
    assert_eq!(fixture.remove("x", false).unwrap(), ["Untagged: x:latest"]);
    assert!(matches!(fixture.remove(&id.to_string(), true), Err(StoreError::Pinned { .. })));
    assert!(image.layers[0].path.join("file").exists());
    drop(lease);
    assert_eq!(fixture.remove(&id.to_string(), false).unwrap().len(), 2);
    assert_eq!(fixture.files("layers"), 0);
}

#[test]
fn what_a_dead_process_left_is_removed_and_what_a_living_one_holds_is_not() {
    let fixture = fixture();
    fixture.image(&["a"], &["x"]);
    let orphan = fixture.layer("orphan");
    let work = fixture.store.start_work().unwrap();
    fixture.store.hold(&work, &Holds { layers: [orphan].into(), ..Holds::default() }).unwrap();
    fs::create_dir_all(fixture.store.work_directory().join("dead/layer/diff")).unwrap();
    fs::write(fixture.store.work_directory().join("dead/lock"), "").unwrap();
    fixture.store.sweep_dead_work().unwrap();
    assert_eq!(fixture.files("work"), 1);
    fixture.remove("x", false).unwrap();
    assert!(fixture.store.layer(&orphan).unwrap().is_some());
    drop(work);
    let removed = fixture.store.prune(true, &|_| Vec::new()).unwrap();
    assert_eq!(removed, [Removed::Deleted(orphan.to_string())]);
}

#[test]
fn prune_leaves_tagged_and_used_images() {
    let fixture = fixture();
    let dangling = fixture.image(&["a"], &[]);
    fixture.image(&["b"], &["x"]);
    assert!(fixture.store.prune(true, &user(false)).unwrap().is_empty());
    let removed = fixture.store.prune(false, &|_| Vec::new()).unwrap();
    assert_eq!(removed[0], Removed::Deleted(dangling.to_string()));
    assert_eq!(fixture.store.list().unwrap().len(), 1);
    assert_eq!(fixture.store.prune(true, &|_| Vec::new()).unwrap().len(), 3);
}

#[test]
fn a_tag_moves_to_the_image_it_is_given_to() {
    let fixture = fixture();
    fixture.image(&["a"], &["x"]);
    let second = fixture.image(&["b"], &["y"]);
    fixture.store.tag("y", &"x".parse().unwrap()).unwrap();
    assert_eq!(fixture.store.resolve("x").unwrap().id, second);
    assert_eq!(fixture.store.list().unwrap().len(), 2);
    assert!(fixture.store.tag("nope", &"z".parse().unwrap()).unwrap_err().is_not_found());
}

#[test]
fn damage_is_named_and_does_not_hide_other_images() {
    let fixture = fixture();
    let id = fixture.image(&["a"], &["x"]);
    fixture.image(&["b"], &["y"]);
    fs::remove_dir_all(fixture.store.layers_directory().join(Digest::of(b"a").hex())).unwrap();
    let error = fixture.store.resolve("x").unwrap_err().to_string();
    assert!(error.contains("is missing: pull it again"), "{error}");
    assert_eq!(fixture.store.list().unwrap().len(), 1);
    fs::write(fixture.store.blob_path(&id.0), "altered").unwrap();
    assert!(matches!(fixture.store.resolve("x"), Err(StoreError::DamagedBlob { .. })));
    assert!(fixture.remove("x", false).is_ok(), "a damaged image can be removed");
}

#[test]
fn a_list_of_a_later_or_broken_format_is_refused_and_kept() {
    let fixture = fixture();
    fs::write(fixture.store.index_path(), r#"{"version": 9, "images": 3}"#).unwrap();
    assert!(matches!(fixture.store.list(), Err(StoreError::NewerFormat { version: 9, .. })));
    fs::write(fixture.store.index_path(), "{").unwrap();
    assert!(matches!(fixture.remove("x", true), Err(StoreError::MalformedIndex { .. })));
    assert_eq!(fs::read(fixture.store.index_path()).unwrap(), b"{");
}

#[test]
fn concurrent_writers_lose_nothing() {
    let fixture = fixture();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let fixture = &fixture;
            scope.spawn(move || {
                for round in 0..4 {
                    let keep = format!("keep{number}:{round}");
                    fixture.image(&["shared", &keep], &[&keep]);
                    let gone = format!("gone{number}:{round}");
                    fixture.image(&["shared", &gone], &[&gone]);
                    let _ = fixture.remove(&gone, false);
                }
            });
        }
    });
    let images = fixture.store.list().unwrap();
    let kept = images.iter().filter(|image| image.references[0].familiar().starts_with("keep"));
    assert_eq!(kept.count(), 32);
}
