//! What is executed: the user's entrypoint and arguments, or the image's.
//!
//! Called by [`super::resolve`].

use skep_image::ImageConfig;

use crate::records::config::ContainerConfig;

/// An entrypoint given by the user switches the image's arguments off, too.
pub(super) fn command(config: &ContainerConfig, image: &ImageConfig) -> (Vec<String>, Vec<String>) {
    match &config.entrypoint {
        Some(entrypoint) => {
            let entrypoint = if entrypoint.concat().is_empty() { Vec::new() } else { entrypoint.clone() };
            (entrypoint, config.cmd.clone())
        }
        None if config.cmd.is_empty() => (image.entrypoint.clone(), image.cmd.clone()),
        None => (image.entrypoint.clone(), config.cmd.clone()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use crate::error::Error;
    use crate::records::config::ContainerConfig;
    use crate::records::resolve::fixtures::{image, strings};
    use crate::records::resolve::resolve;

    fn args(config: &ContainerConfig) -> Vec<String> {
        let resolved = resolve(config, &image()).unwrap();
        resolved.entrypoint.into_iter().chain(resolved.cmd).collect()
    }

    #[test]
    fn entrypoint_and_arguments_combine_as_docker_does() {
        let with = |entrypoint: Option<&[&str]>, cmd: &[&str]| {
            args(&ContainerConfig { entrypoint: entrypoint.map(strings), cmd: strings(cmd), ..Default::default() })
        };
        assert_eq!(with(None, &[]), ["/entry", "serve", "-v"]);
        assert_eq!(with(None, &["sh"]), ["/entry", "sh"]);
        assert_eq!(with(Some(&["/bin/x"]), &[]), ["/bin/x"]);
        assert_eq!(with(Some(&["/bin/x"]), &["y"]), ["/bin/x", "y"]);
        assert_eq!(with(Some(&[""]), &["sh"]), ["sh"]);
        let nothing = ContainerConfig { entrypoint: Some(strings(&[""])), ..Default::default() };
        assert!(matches!(resolve(&nothing, &image()), Err(Error::NoCommand)));
    }
}
