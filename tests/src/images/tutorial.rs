//! The images the tutorial speaks of: two of busybox, two of nginx that can be told apart by their pages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::layer::{Layer, LayerBuilder, Packing};
use super::{Format, Image};
use crate::program;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    www-data:x:33:33:www-data:/var/www:/bin/false\n\
    nginx:x:101:101:nginx:/nonexistent:/bin/false\n\
    someone:x:1000:1000:someone:/home/someone:/bin/sh\n\
    nobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str =
    "root:x:0:\nwheel:x:10:root,someone\nwww-data:x:33:\nnginx:x:101:\nsomeone:x:1000:\nnogroup:x:65534:\n";
const NGINX_CONF: &str = "user www-data;\nworker_processes 1;\npid /run/nginx.pid;\nerror_log /dev/stderr warn;\n\
    events { worker_connections 128; }\n\
    http {\n  include mime.types;\n  default_type text/plain;\n  access_log /dev/stdout;\n  keepalive_timeout 0;\n\
    \x20 server {\n    listen 80;\n    root /usr/share/nginx/html;\n    add_header X-Served-By $hostname;\n\
    \x20   location = /client { return 200 \"$remote_addr\\n\"; }\n\
    \x20   location = /host { return 200 \"$hostname\\n\"; }\n  }\n}\n";

/// All four images.
///
/// # Errors
/// When Debian's busybox-static or nginx-light is missing.
pub fn all() -> Result<Vec<Image>> {
    Ok(vec![
        busybox("1.28.3", Format::Docker)?,
        busybox("latest", Format::Oci)?,
        nginx("latest", Format::DockerList, Packing::Gzip)?,
        nginx("alpine", Format::OciIndex, Packing::Zstd)?,
    ])
}

/// The words on the page of `nginx:TAG` that no other image's page has.
#[must_use]
pub fn welcome(tag: &str) -> String {
    format!("Welcome to nginx! This is nginx:{tag}.")
}

/// `busybox:TAG`: links of both kinds to one static program, a few accounts, `sh` as its command.
///
/// # Errors
/// When Debian's busybox-static is missing.
pub fn busybox(tag: &str, format: Format) -> Result<Image> {
    let hard = tag != "latest";
    let layers = [busybox_layer(tag, hard, Packing::Gzip)?];
    let config = json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["sh"],
    });
    Image::build("library/busybox", tag, format, &layers, &config)
}

fn busybox_layer(tag: &str, hard: bool, packing: Packing) -> Result<Layer> {
    let mut layer = LayerBuilder::default();
    for (path, mode) in [
        ("bin/", 0o755),
        ("dev/", 0o755),
        ("etc/", 0o755),
        ("home/", 0o755),
        ("home/someone/", 0o755),
        ("proc/", 0o755),
        ("root/", 0o700),
        ("run/", 0o755),
        ("sys/", 0o755),
        ("tmp/", 0o1777),
        ("usr/", 0o755),
        ("usr/bin/", 0o755),
        ("usr/sbin/", 0o755),
        ("var/", 0o755),
        ("var/www/", 0o755),
    ] {
        layer.directory(path, mode)?;
    }
    layer
        .copy("bin/busybox", 0o755, &busybox_program()?)?
        .file("etc/passwd", 0o644, PASSWD.as_bytes())?
        .file("etc/group", 0o644, GROUP.as_bytes())?
        .file("etc/busybox-tag", 0o644, format!("{tag}\n").as_bytes())?;
    for applet in program::tool(&["busybox", "--list"])?.lines() {
        let path = format!("bin/{applet}");
        if applet == "busybox" {
            continue;
        }
        if hard {
            layer.hard_link(&path, "bin/busybox")?;
        } else {
            layer.symlink(&path, "busybox")?;
        }
    }
    layer.finish(packing)
}

fn busybox_program() -> Result<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .context("no busybox on this machine: run `make deps`")
}

/// `nginx:TAG` in three layers: a base with busybox, nginx with its libraries and a page that is then whited out,
/// and the page naming the tag.
///
/// # Errors
/// When Debian's busybox-static or nginx-light is missing.
pub fn nginx(tag: &str, format: Format, packing: Packing) -> Result<Image> {
    let layers = [busybox_layer(tag, false, packing)?, nginx_layer(packing)?, page_layer(tag, packing)?];
    let config = json!({
        "Env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "NGINX_VERSION=1.22.1",
        ],
        "Cmd": ["nginx", "-g", "daemon off;"],
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT",
        "Labels": {"maintainer": "the lab"},
    });
    Image::build("library/nginx", tag, format, &layers, &config)
}

fn nginx_layer(packing: Packing) -> Result<Layer> {
    let mut layer = LayerBuilder::default();
    let mut made = BTreeSet::new();
    for path in libraries(Path::new("/usr/sbin/nginx"))? {
        let inside = path.to_string_lossy().trim_start_matches('/').to_owned();
        parents(&mut layer, &mut made, &inside)?;
        layer.copy(&inside, 0o755, &path)?;
    }
    for directory in [
        "etc/nginx/",
        "usr/share/",
        "usr/share/nginx/",
        "usr/share/nginx/html/",
        "var/lib/",
        "var/lib/nginx/",
        "var/log/",
        "var/log/nginx/",
    ] {
        layer.directory(directory, 0o755)?;
    }
    layer
        .copy("usr/sbin/nginx", 0o755, Path::new("/usr/sbin/nginx"))?
        .copy("etc/nginx/mime.types", 0o644, Path::new("/etc/nginx/mime.types"))?
        .file("etc/nginx/nginx.conf", 0o644, NGINX_CONF.as_bytes())?
        .file("etc/nginx/removed-later", 0o644, b"a whiteout hides this\n")?
        .file("usr/share/nginx/html/old.html", 0o644, b"an opaque directory hides this\n")?;
    layer.finish(packing)
}

fn page_layer(tag: &str, packing: Packing) -> Result<Layer> {
    let welcome = welcome(tag);
    let page = format!(
        "<!DOCTYPE html>\n<html>\n<head><title>Welcome to nginx!</title></head>\n\
         <body><h1>{welcome}</h1></body>\n</html>\n"
    );
    let mut layer = LayerBuilder::default();
    layer
        .directory("etc/", 0o755)?
        .directory("etc/nginx/", 0o755)?
        .file("etc/nginx/.wh.removed-later", 0o644, &[])?
        .directory("usr/share/nginx/html/", 0o755)?
        .file("usr/share/nginx/html/.wh..wh..opq", 0o644, &[])?
        .file("usr/share/nginx/html/index.html", 0o644, page.as_bytes())?;
    layer.finish(packing)
}

fn parents(layer: &mut LayerBuilder, made: &mut BTreeSet<String>, path: &str) -> Result<()> {
    for (index, _) in path.match_indices('/') {
        let parent = path.get(..=index).unwrap_or_default();
        if made.insert(parent.to_owned()) {
            layer.directory(parent, 0o755)?;
        }
    }
    Ok(())
}

/// The shared libraries and the loader that `program` needs, by the names it looks for.
///
/// # Errors
/// When the program is missing or one of its libraries is.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    // Asking the loader itself rather than ldd: that is a script, and needs a shell that may not be there.
    let loader = "/lib64/ld-linux-x86-64.so.2";
    if !program.exists() {
        bail!("{} is missing: run `make deps`", program.display());
    }
    let listed = program::run(Command::new(loader).arg("--list").arg(program))?;
    if listed.code != 0 {
        // A static program needs nothing.
        return Ok(Vec::new());
    }
    let mut libraries = vec![PathBuf::from(loader)];
    for line in listed.stdout.lines() {
        if let Some((name, rest)) = line.trim().split_once(" => ") {
            let path = rest.split(" (").next().unwrap_or_default().trim();
            if !path.starts_with('/') {
                bail!("{} needs {name}, which is missing", program.display());
            }
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}
