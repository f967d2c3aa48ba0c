//! kill -9 at the worst moments; the next command puts everything right.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skep_runtime::config::{ContainerConfig, RestartPolicy};
use skep_runtime::state::Status;
use skep_runtime::{RemoveOptions, Runtime, StopOptions, WaitCondition};

use crate::fixture::{Case, Node, bind, is_there, roots, volume};

pub(crate) const ALL: &[Case] = &[
    ("a_killed_shim_takes_its_container_along", a_killed_shim_takes_its_container_along),
    ("a_killed_shim_is_followed_by_another_where_the_policy_says_so", a_killed_shim_is_followed_by_another),
    ("whoever_waits_learns_of_a_killed_shim", whoever_waits_learns_of_a_killed_shim),
    ("an_attached_client_learns_of_a_killed_shim", an_attached_client_learns_of_a_killed_shim),
    ("a_client_that_is_cut_off_is_told", a_client_that_is_cut_off_is_told),
    ("a_damaged_container_is_in_nobodys_way", a_damaged_container_is_in_nobodys_way),
    ("half_made_containers_are_swept", half_made_containers_are_swept),
    ("a_container_being_made_is_not_swept", a_container_being_made_is_not_swept),
    ("a_creation_that_fails_leaves_nothing", a_creation_that_fails_leaves_nothing),
    ("a_volume_is_filled_or_empty", a_volume_is_filled_or_empty),
    ("a_removal_that_was_cut_off_is_carried_on_as_meant", a_removal_that_was_cut_off_is_carried_on_as_meant),
    ("a_killed_starter_leaves_nothing", a_killed_starter_leaves_nothing),
    ("a_recovery_that_was_cut_off_is_carried_on", a_recovery_that_was_cut_off_is_carried_on),
    ("what_a_killed_rename_left_is_free", what_a_killed_rename_left_is_free),
    ("what_is_to_be_removed_is_removed_by_the_next", what_is_to_be_removed_is_removed_by_the_next),
    ("commands_may_be_killed_anywhere", commands_may_be_killed_anywhere),
    ("a_reboot_starts_what_is_to_run", a_reboot_starts_what_is_to_run),
];

fn a_killed_shim_takes_its_container_along(node: &Node) {
    let mut config = node.config(&["sleep", "1000"]);
    config.name = Some("victim".to_owned());
    let id = node.run(&config);
    let state = node.state(&id);
    let (shim, init) = (state.shim.unwrap(), state.init.unwrap());
    kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
    while shim.is_alive() {
        std::thread::yield_now();
    }
    let listed = node.runtime.list(true).unwrap();
    assert_eq!((listed[0].state.status, listed[0].state.exit_code), (Status::Exited, 137));
    assert!(!init.is_alive());
    // It can be used again.
    node.runtime.start(&id).unwrap();
    assert_eq!(node.state(&id).status, Status::Running);
    node.runtime.remove(&id, &RemoveOptions { force: true, volumes: false }).unwrap();
    assert!(!is_there(init.pid) || !init.is_alive());
}

fn a_killed_shim_is_followed_by_another(node: &Node) {
    let mut config = node.config(&["sleep", "1000"]);
    config.restart = RestartPolicy::OnFailure(1);
    let id = node.run(&config);
    let kill_shim = || {
        let shim = node.state(&id).shim.unwrap();
        kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
        while shim.is_alive() {
            std::thread::yield_now();
        }
    };
    kill_shim();
    let (_, state) = node.runtime.record(&id).unwrap();
    assert_eq!((state.status, state.restart_count), (Status::Running, 1));
    // Once was all that the policy allows.
    kill_shim();
    let (_, state) = node.runtime.record(&id).unwrap();
    assert_eq!((state.status, state.exit_code, state.restart_count), (Status::Exited, 137, 1));
}

fn whoever_waits_learns_of_a_killed_shim(node: &Node) {
    let id = node.run(&node.config(&["sleep", "1000"]));
    let shim = node.state(&id).shim.unwrap();
    let (runtime, waited) = (node.runtime.clone(), id.clone());
    let waiter = std::thread::spawn(move || runtime.wait(&waited, WaitCondition::NotRunning));
    kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap(), 137);
}

fn an_attached_client_learns_of_a_killed_shim(node: &Node) {
    let plain = node.shell("echo here; exec sleep 1000");
    let transient = ContainerConfig { auto_remove: true, ..plain.clone() };
    let lasting = ContainerConfig { restart: RestartPolicy::Always, ..plain.clone() };
    for config in [plain, transient, lasting] {
        let id = node.create(&config);
        let mut command = node.helper("__start", &id, &[]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
        let shim = node.state(&id).shim.unwrap();
        kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
        // In competition with the client, which heals as well.
        node.runtime.list(true).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(137), "{config:?}");
        assert_eq!(node.runtime.record(&id).is_err(), config.auto_remove);
        node.runtime.list(true).unwrap();
        if config.restart == RestartPolicy::Always {
            assert_eq!(node.state(&id).status, Status::Running);
        }
    }
}

fn a_client_that_is_cut_off_is_told(node: &Node) {
    let script = "until [ -e /go ]; do echo here; sleep 0.1; done; yes | head -c 8000000; touch /done; sleep 1000";
    let mut config = node.shell(script);
    config.log.driver = "none".to_owned();
    let id = node.run(&config);
    let mut command = node.helper("__attach", &id, &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It is connected; from now on nothing is read from it for a while.
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    while !node.exec(&id, &["touch", "/go"]).status.success() {}
    while !node.exec(&id, &["test", "-e", "/done"]).status.success() {}
    let mut text = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(text.len() < 8_000_000);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cut"));
    assert_eq!(node.state(&id).status, Status::Running);
}

fn a_damaged_container_is_in_nobodys_way(node: &Node) {
    let containers = node.runtime.roots().root.join("containers");
    let config = node.config(&["sleep", "1000"]);
    let sound = node.run(&config);
    let force = RemoveOptions { force: true, volumes: false };
    // What a power cut leaves.
    let [stopped, lasting] = [RestartPolicy::No, RestartPolicy::Always].map(|restart| {
        let id = node.create(&ContainerConfig { restart, ..config.clone() });
        fs::write(containers.join(&id).join("state.json"), "").unwrap();
        id
    });
    assert_eq!(node.runtime.list(true).unwrap().len(), 3);
    assert_eq!((node.state(&stopped).status, node.state(&stopped).exit_code), (Status::Exited, 255));
    assert_eq!(node.state(&lasting).status, Status::Running);
    // And a container that runs: its shim knows better.
    let init = node.state(&sound).init.unwrap();
    fs::write(containers.join(&sound).join("state.json"), "{").unwrap();
    assert!(node.runtime.list(false).unwrap().iter().any(|summary| summary.id == sound));
    assert!(init.is_alive());
    node.runtime.remove(&sound, &force).unwrap();
    assert!(!init.is_alive());
    // Nobody knows what these are.
    for id in [&stopped, &lasting] {
        let init = node.state(id).init;
        fs::write(containers.join(id).join("config.json"), "").unwrap();
        assert!(node.runtime.remove(id, &RemoveOptions::default()).is_err());
        node.runtime.remove(id, &force).unwrap();
        assert!(!containers.join(id).exists());
        assert!(!init.is_some_and(|init| init.is_alive()));
    }
    assert!(node.runtime.list(true).unwrap().is_empty());
}

fn half_made_containers_are_swept(node: &Node) {
    let id = "ab".repeat(32);
    let containers = node.runtime.roots().root.join("containers");
    fs::create_dir_all(containers.join(&id).join("upper")).unwrap();
    fs::write(containers.join(&id).join("lock"), "").unwrap();
    std::os::unix::fs::symlink(&id, containers.join("names/half")).unwrap();
    assert!(node.runtime.list(true).unwrap().is_empty());
    assert!(!containers.join(&id).exists());
    let mut config = node.config(&["true"]);
    config.name = Some("half".to_owned());
    let whole = node.create(&config);
    // A removal that was cut off after its first step.
    let directory = containers.join(&whole);
    fs::rename(directory.join("config.json"), directory.join("removing.json")).unwrap();
    assert!(node.runtime.list(true).unwrap().is_empty());
    assert!(!directory.exists());
    node.create(&config);
}

fn a_container_being_made_is_not_swept(node: &Node) {
    // Between two steps: there is no lock yet.
    let directory = node.runtime.roots().root.join("containers").join("ab".repeat(32));
    fs::create_dir(&directory).unwrap();
    node.runtime.heal().unwrap();
    assert!(directory.exists());
    // Made long ago: nobody goes on with it.
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::open(&directory).unwrap().set_modified(past).unwrap();
    node.runtime.heal().unwrap();
    assert!(!directory.exists());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                node.runtime.heal().unwrap();
            }
        });
        for _ in 0..50 {
            let created = node.runtime.create(&node.config(&["true"])).and_then(|made| node.runtime.record(&made.id));
            done.store(created.is_err(), Ordering::Relaxed);
            created.unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn a_creation_that_fails_leaves_nothing(node: &Node) {
    let mut config = node.config(&["true"]);
    let missing = bind(Path::new("/no/such/directory"), "/x", false);
    config.mounts = vec![volume("", "/data"), volume("kept", "/scratch"), missing];
    node.runtime.create(&config).unwrap_err();
    let names: Vec<String> = node.runtime.volumes().list().unwrap().into_iter().map(|volume| volume.name).collect();
    assert_eq!(names, ["kept"]);
    assert!(node.runtime.list(true).unwrap().is_empty());
}

fn a_volume_is_filled_or_empty(node: &Node) {
    let data = node.runtime.volumes().create(Some("honey"), &Default::default()).unwrap().mountpoint;
    // What a kill leaves while the volume is being filled.
    let staged = data.with_file_name("_data.new");
    fs::create_dir(&staged).unwrap();
    fs::write(staged.join("other"), "").unwrap();
    let mut config = node.config(&["true"]);
    config.mounts = vec![volume("honey", "/data")];
    node.create(&config);
    assert!(!staged.exists());
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "from the image");
    assert!(!data.join("other").exists());
}

fn a_removal_that_was_cut_off_is_carried_on_as_meant(node: &Node) {
    let containers = node.runtime.roots().root.join("containers");
    for (left, volumes) in [("removing.json", 1), ("removing-volumes.json", 0)] {
        let mut config = node.config(&["true"]);
        config.mounts = vec![volume("", "/scratch")];
        let directory = containers.join(node.create(&config));
        fs::rename(directory.join("config.json"), directory.join(left)).unwrap();
        node.runtime.heal().unwrap();
        assert!(!directory.exists());
        assert_eq!(node.runtime.volumes().list().unwrap().len(), volumes, "{left}");
        node.runtime.volumes().prune(|_| true).unwrap();
    }
}

fn what_a_killed_rename_left_is_free(node: &Node) {
    let named = |name: &str| ContainerConfig { name: Some(name.to_owned()), ..node.config(&["true"]) };
    let id = node.create(&named("old"));
    let names = node.runtime.roots().root.join("containers/names");
    std::os::unix::fs::symlink(&id, names.join("new")).unwrap();
    assert!(node.runtime.record("new").is_err());
    assert_eq!(node.runtime.record("old").unwrap().0.id, id);
    let other = node.create(&named("new"));
    assert_eq!(node.runtime.record("new").unwrap().0.id, other);
    assert!(node.runtime.rename(&id, "new").is_err());
    // The same rename again, and one that was killed later.
    std::os::unix::fs::symlink(&id, names.join("newer")).unwrap();
    node.runtime.rename(&id, "newer").unwrap();
    std::os::unix::fs::symlink(&id, names.join("old")).unwrap();
    node.create(&named("old"));
    assert_eq!(node.runtime.record("newer").unwrap().0.id, id);
}

fn what_is_to_be_removed_is_removed_by_the_next(node: &Node) {
    let id = node.run(&node.config(&["true"]));
    node.runtime.wait(&id, WaitCondition::NotRunning).unwrap();
    node.until(&id, |state| state.shim.is_none());
    let record = node.runtime.roots().root.join("containers").join(&id).join("config.json");
    let mut value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&record).unwrap()).unwrap();
    value["config"]["auto_remove"] = true.into();
    fs::write(&record, value.to_string()).unwrap();
    assert!(node.runtime.list(true).unwrap().is_empty());
}

fn a_killed_starter_leaves_nothing(node: &Node) {
    let id = node.create(&node.config(&["sleep", "1000"]));
    let mut child = node.helper("__start", &id, &[]).spawn().unwrap();
    // Anywhere between its first and its last instruction.
    std::thread::sleep(std::time::Duration::from_millis(u64::from(rand::random::<u8>())));
    child.kill().unwrap();
    child.wait().unwrap();
    let state = node.until(&id, |state| state.shim.is_some() || state.status == Status::Created);
    if state.status == Status::Created {
        node.runtime.start(&id).unwrap();
    }
    node.until(&id, |state| state.status == Status::Running);
    node.runtime.remove(&id, &RemoveOptions { force: true, volumes: true }).unwrap();
}

fn a_recovery_that_was_cut_off_is_carried_on(node: &Node) {
    let config = ContainerConfig { restart: RestartPolicy::OnFailure(0), ..node.config(&["sleep", "1000"]) };
    let [healed, stopped] = [(); 2].map(|()| {
        let id = node.run(&config);
        node.runtime.stop(&id, &StopOptions { signal: None, timeout: Some(0) }).unwrap();
        id
    });
    let state = node.runtime.roots().root.join("containers").join(&healed).join("state.json");
    let mut value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    let boot = std::mem::replace(&mut value["boot_id"], "another".into());
    fs::write(&state, value.to_string()).unwrap();
    // What is on disk: one that was healed only, and one that was started, and stopped by the user since.
    let run_root = &node.runtime.roots().run_root;
    fs::write(run_root.join("recover.json"), serde_json::json!([boot, [healed, stopped]]).to_string()).unwrap();
    fs::remove_file(run_root.join("boot_id")).unwrap();
    let runtime = Runtime::open(roots(node.directory.path())).unwrap();
    assert_eq!(runtime.record(&healed).unwrap().1.status, Status::Running);
    assert_eq!(runtime.record(&stopped).unwrap().1.status, Status::Exited);
    assert!(!run_root.join("recover.json").exists() && run_root.join("boot_id").exists());
}

fn commands_may_be_killed_anywhere(node: &Node) {
    let named = |name: &str| {
        let mut config = ContainerConfig { name: Some(name.to_owned()), ..node.config(&["sleep", "1000"]) };
        config.mounts = vec![volume("", "/scratch")];
        config
    };
    for _ in 0..8 {
        let id = node.run(&named("first"));
        let kill_at_random = |verb: &str, rest: &[&str]| {
            let mut child = node.helper(verb, &id, rest).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(u64::from(rand::random::<u8>() / 8)));
            child.kill().unwrap();
            child.wait().unwrap();
        };
        kill_at_random("__execute", &["-", "sleep", "0.01"]);
        kill_at_random("__rename", &["second"]);
        let name = node.runtime.record(&id).unwrap().0.name;
        let other = if name == "first" { "second" } else { "first" };
        assert_eq!(node.runtime.record(&name).unwrap().0.id, id);
        let another = node.create(&named(other));
        node.runtime.remove(&another, &RemoveOptions { force: false, volumes: true }).unwrap();
        kill_at_random("__stop", &[]);
        // The shim carries on what it was told.
        assert!(matches!(node.state(&id).status, Status::Running | Status::Exited));
        kill_at_random("__remove", &[]);
        node.runtime.list(true).unwrap();
        // Whatever became of the container, its volume was to stay.
        assert_eq!(node.runtime.volumes().list().unwrap().len(), 1);
        match node.runtime.remove(&id, &RemoveOptions { force: true, volumes: true }) {
            Ok(()) => {}
            Err(error) => assert!(error.is_not_found(), "{error}"),
        }
        node.runtime.volumes().prune(|_| true).unwrap();
        assert!(node.runtime.list(true).unwrap().is_empty());
    }
}

fn a_reboot_starts_what_is_to_run(node: &Node) {
    let mut config = node.config(&["sleep", "1000"]);
    let plain = node.run(&config);
    config.restart = RestartPolicy::Always;
    let wanted = node.run(&config);
    let shims = [&plain, &wanted].map(|id| node.state(id).shim.unwrap());
    let inits = [&plain, &wanted].map(|id| node.state(id).init.unwrap());
    for process in shims.iter().chain(&inits) {
        kill(Pid::from_raw(process.pid), Signal::SIGKILL).ok();
    }
    for process in shims.iter().chain(&inits) {
        while process.is_alive() {
            std::thread::yield_now();
        }
    }
    // As after a boot: another boot id in the state, and the marker gone.
    for id in [&plain, &wanted] {
        let path = node.runtime.roots().root.join("containers").join(id).join("state.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["boot_id"] = "another".into();
        fs::write(&path, value.to_string()).unwrap();
    }
    fs::remove_file(node.runtime.roots().run_root.join("boot_id")).unwrap();
    let runtime = Runtime::open(roots(node.directory.path())).unwrap();
    assert_eq!(runtime.record(&wanted).unwrap().1.status, Status::Running);
    let state = runtime.record(&plain).unwrap().1;
    assert_eq!((state.status, state.exit_code), (Status::Exited, 255));
}
