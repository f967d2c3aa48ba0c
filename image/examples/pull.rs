//! Pulls an image into a directory: `pull DIRECTORY REFERENCE`. Shows how the crate is used, and how fast it is.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

use std::path::Path;
use std::time::Instant;

use skep_image::{Environment, ImageStore, NoProgress, PullOptions, pull};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(reference)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pull DIRECTORY REFERENCE".into());
    };
    let store = ImageStore::open(Path::new(&directory))?;
    let environment = Environment::new(|name| std::env::var_os(name), rustix::process::getuid().as_raw());
    let options = PullOptions::for_environment(&environment)?;
    let start = Instant::now();
    let pulled = pull(&store, &reference.parse()?, &options, &NoProgress).await?;
    let image = store.image(&pulled.id)?;
    println!("{} {} bytes unpacked in {:?}", pulled.digest, image.size, start.elapsed());
    Ok(())
}
