//! The image of a service, for people.

/// An image as lists show it: without its digest, when it has a tag.
pub(crate) fn shown(image: &str) -> String {
    match image.split_once('@') {
        Some((tagged, _)) if tagged.rsplit('/').next().is_some_and(|last| last.contains(':')) => tagged.to_owned(),
        _ => image.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_leave_digests_out() {
        assert_eq!(shown("nginx:latest@sha256:ab"), "nginx:latest");
        assert_eq!(shown("nginx@sha256:ab"), "nginx@sha256:ab");
        assert_eq!(shown("h:5000/nginx"), "h:5000/nginx");
    }
}
