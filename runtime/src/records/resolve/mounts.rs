//! Mounts of the container, volumes by their directories.
//!
//! Called at each start.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::kernel::{Mount, MountKind, Propagation};
use crate::records::config::{MountPoint, MountType};

/// Mounts as the kernel takes them; volumes are bound from where `volume_data` says.
///
/// # Errors
/// A propagation is unknown.
pub(crate) fn mounts(points: &[MountPoint], volume_data: impl Fn(&str) -> PathBuf) -> Result<Vec<Mount>> {
    let kind = |point: &MountPoint| -> Result<MountKind> {
        Ok(match &point.kind {
            MountType::Bind { source, propagation, non_recursive, .. } => MountKind::Bind {
                source: source.clone(),
                propagation: parse_propagation(propagation)?,
                recursive: !non_recursive,
                nosuid: false,
                noexec: false,
            },
            MountType::Volume { name, .. } => MountKind::Bind {
                source: volume_data(name),
                propagation: Propagation::Rprivate,
                recursive: true,
                nosuid: false,
                noexec: false,
            },
            MountType::Tmpfs { options } => {
                let separator = if options.is_empty() { "" } else { "," };
                MountKind::Tmpfs { options: format!("noexec,nosuid,nodev{separator}{options}") }
            }
        })
    };
    points
        .iter()
        .map(|point| Ok(Mount { target: point.target.clone(), read_only: point.read_only, kind: kind(point)? }))
        .collect()
}

fn parse_propagation(text: &str) -> Result<Propagation> {
    Ok(match text {
        "" | "rprivate" => Propagation::Rprivate,
        "private" => Propagation::Private,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::Rslave,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::Rshared,
        other => return Err(Error::InvalidConfig(format!("invalid propagation mode {other:?}"))),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::mounts;
    use crate::kernel::{MountKind, Propagation};
    use crate::records::config::{MountPoint, MountType};

    fn made(kind: MountType) -> crate::error::Result<MountKind> {
        let point = MountPoint { kind, target: "/t".to_owned(), read_only: true, anonymous: false };
        let made = mounts(&[point], |name| Path::new("/volumes").join(name))?.remove(0);
        assert_eq!((made.target.as_str(), made.read_only), ("/t", true));
        Ok(made.kind)
    }

    fn bind(propagation: &str) -> MountType {
        let source = PathBuf::from("/source");
        MountType::Bind { source, create_source: false, propagation: propagation.to_owned(), non_recursive: true }
    }

    #[test]
    fn volumes_are_bound_and_tmpfs_is_confined() {
        let volume = MountType::Volume { name: "v".to_owned(), no_copy: false, labels: BTreeMap::new() };
        let MountKind::Bind { source, recursive: true, .. } = made(volume).unwrap() else { panic!("no bind") };
        assert_eq!(source, Path::new("/volumes/v"));
        let tmpfs = |options: &str| made(MountType::Tmpfs { options: options.to_owned() }).unwrap();
        assert_eq!(tmpfs(""), MountKind::Tmpfs { options: "noexec,nosuid,nodev".to_owned() });
        assert_eq!(tmpfs("size=1m"), MountKind::Tmpfs { options: "noexec,nosuid,nodev,size=1m".to_owned() });
    }

    #[test]
    fn a_bind_has_the_propagation_it_asks_for() {
        let propagation_of = |text: &str| match made(bind(text)).unwrap() {
            MountKind::Bind { propagation, recursive: false, .. } => propagation,
            other => panic!("{other:?}"),
        };
        assert_eq!(propagation_of(""), Propagation::Rprivate);
        assert_eq!(propagation_of("rslave"), Propagation::Rslave);
        assert_eq!(made(bind("odd")).unwrap_err().to_string(), "invalid propagation mode \"odd\"");
    }
}
