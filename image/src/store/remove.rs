//! Removing names and images, and collecting what nothing refers to any more.
//!
//! The rules and the words are those of moby's `daemon/images/image_delete.go`. One difference: an image
//! that a container still uses is never deleted, even by force; it loses its names only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use skep_common::files::FileLock;

use super::error::{IoContext, StoreError};
use super::index::{Index, is_single_repository};
use super::layers::linked_layer;
use super::{Holds, ImageStore, ImageUser, Removed, work};
use crate::digest::{Digest, ImageId};
use crate::reference::Reference;

/// What a collection takes away.
#[derive(Default)]
struct Rubbish {
    /// Directories to delete once the store's lock is released.
    trees: Vec<PathBuf>,
    /// Layers that were removed.
    layers: Vec<Digest>,
}

/// One removal under the store's lock.
struct Removal<'a> {
    index: Index,
    held: BTreeSet<ImageId>,
    in_use: &'a dyn Fn(&ImageId) -> Vec<ImageUser>,
    force: bool,
    done: Vec<Removed>,
}

impl ImageStore {
    /// Removes a name, and with its last name the image; or an image by id.
    ///
    /// `in_use` tells which containers use an image. It is called while the store is locked, so it must
    /// not call the store.
    ///
    /// # Errors
    /// If there is no such image, or it is in use in a way that `force` does not override.
    pub fn remove(
        &self,
        name_or_id: &str,
        force: bool,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUser>,
    ) -> Result<Vec<Removed>, StoreError> {
        self.change(force, in_use, |store, removal| {
            let (id, reference) = store.find(&removal.index, name_or_id)?;
            match reference {
                Some(reference) => removal.remove_reference(&id, &reference),
                None => removal.remove_id(&id),
            }
        })
    }

    /// Removes all images that no container uses: those without a tag, or with `all` every one.
    ///
    /// # Errors
    /// If the store cannot be read or written. Images in use are left alone, which is no error.
    pub fn prune(&self, all: bool, in_use: &dyn Fn(&ImageId) -> Vec<ImageUser>) -> Result<Vec<Removed>, StoreError> {
        self.change(true, in_use, |_, removal| {
            let ids: Vec<ImageId> = removal.index.images.keys().copied().collect();
            for id in ids {
                let names = removal.index.names(&id);
                let tagged = names.iter().any(|name| name.digest().is_none());
                if (all || !tagged) && removal.held(&id).is_none() {
                    names.iter().for_each(|name| removal.untag(name));
                    removal.delete(&id);
                }
            }
            Ok(())
        })
    }

    fn change(
        &self,
        force: bool,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUser>,
        decide: impl FnOnce(&ImageStore, &mut Removal<'_>) -> Result<(), StoreError>,
    ) -> Result<Vec<Removed>, StoreError> {
        let lock = self.lock_exclusive()?;
        let (held, dead) = work::survey(&self.work_directory())?;
        let index = self.read_index()?;
        let mut removal = Removal { index, held: held.images.clone(), in_use, force, done: Vec::new() };
        decide(self, &mut removal)?;
        self.write_index(&removal.index)?;
        let rubbish = self.collect(&removal.index, &held, dead)?;
        drop(lock);
        rubbish.delete();
        let layers = rubbish.layers.iter().map(|layer| Removed::Deleted(layer.to_string()));
        Ok(removal.done.into_iter().chain(layers).collect())
    }

    /// Removes what dead processes left unfinished. Cheap if there is nothing.
    pub(crate) fn sweep_dead_work(&self) -> Result<(), StoreError> {
        let dead = {
            let _lock = self.lock_exclusive()?;
            work::survey(&self.work_directory())?.1
        };
        dead.iter().try_for_each(|path| work::remove_tree(path))
    }

    /// Takes everything away that neither an image nor a living process needs. Under the store's lock.
    fn collect(&self, index: &Index, held: &Holds, dead: Vec<PathBuf>) -> Result<Rubbish, StoreError> {
        let mut rubbish = Rubbish { trees: dead, layers: Vec::new() };
        let layers: BTreeSet<Digest> =
            index.images.values().flat_map(|record| &record.layers).chain(&held.layers).copied().collect();
        let blobs: BTreeSet<Digest> = index
            .images
            .iter()
            .flat_map(|(id, record)| record.blobs.iter().chain([&id.0]))
            .chain(&held.blobs)
            .copied()
            .collect();
        for (path, digest) in digest_entries(&self.root.join("blobs/sha256"))? {
            if !blobs.contains(&digest) {
                fs::remove_file(&path).during("remove", &path)?;
            }
        }
        self.collect_layers(&layers, &mut rubbish)?;
        for (path, _) in digest_entries(&self.locks_directory())? {
            if let Ok(Some(_lock)) = FileLock::attempt_existing(&path) {
                fs::remove_file(&path).during("remove", &path)?;
            }
        }
        Ok(rubbish)
    }

    fn collect_layers(&self, needed: &BTreeSet<Digest>, rubbish: &mut Rubbish) -> Result<(), StoreError> {
        let links = self.links_directory();
        for entry in fs::read_dir(&links).during("list", &links)? {
            let path = entry.during("list", &links)?.path();
            let layer = fs::read_link(&path).ok().and_then(|target| linked_layer(&target));
            if !layer.is_some_and(|layer| needed.contains(&layer)) {
                fs::remove_file(&path).during("remove", &path)?;
            }
        }
        for (path, digest) in digest_entries(&self.layers_directory())? {
            if needed.contains(&digest) {
                continue;
            }
            // Into a directory that belongs to no living process, so that a kill leaves rubbish, not half a layer.
            let bin = tempfile::Builder::new()
                .prefix("removed-")
                .tempdir_in(self.work_directory())
                .during("create a directory in", &self.work_directory())?
                .keep();
            fs::rename(&path, bin.join("layer")).during("remove", &path)?;
            rubbish.trees.push(bin);
            rubbish.layers.push(digest);
        }
        Ok(())
    }
}

impl Removal<'_> {
    fn remove_reference(&mut self, id: &ImageId, reference: &Reference) -> Result<(), StoreError> {
        let names = self.index.names(id);
        if !self.force
            && is_single_repository(&names)
            && let Some(user) = (self.in_use)(id).first()
        {
            let (reference, container) = (reference.familiar(), short(&user.container));
            return Err(StoreError::ReferenceInUse { reference, container, image: id.short() });
        }
        self.untag(reference);
        let same_repository = |name: &&Reference| name.name() == reference.name();
        let remaining = self.index.names(id);
        let tag_remains = remaining.iter().filter(same_repository).any(|name| name.digest().is_none());
        if reference.digest().is_none() && !tag_remains {
            remaining.iter().filter(same_repository).for_each(|name| self.untag(name));
        }
        // A conflict now leaves the image without a name, as docker does.
        if self.index.names(id).is_empty() && self.held(id).is_none() {
            self.delete(id);
        }
        Ok(())
    }

    fn remove_id(&mut self, id: &ImageId) -> Result<(), StoreError> {
        let names = self.index.names(id);
        if !self.force && !is_single_repository(&names) {
            return Err(StoreError::ManyReferences { image: id.short() });
        }
        if let Some(conflict) = self.held(id) {
            let soft = matches!(conflict, StoreError::UsedByStopped { .. });
            if !(self.force && soft) {
                return Err(conflict);
            }
            names.iter().for_each(|name| self.untag(name));
            return Ok(());
        }
        names.iter().for_each(|name| self.untag(name));
        self.delete(id);
        Ok(())
    }

    /// What keeps an image from being deleted: the hardest reason.
    fn held(&self, id: &ImageId) -> Option<StoreError> {
        let users = (self.in_use)(id);
        let image = id.short();
        if let Some(user) = users.iter().find(|user| user.running) {
            return Some(StoreError::UsedByRunning { image, container: short(&user.container) });
        }
        if self.held.contains(id) {
            return Some(StoreError::Pinned { image });
        }
        let user = users.first()?;
        Some(StoreError::UsedByStopped { image, container: short(&user.container) })
    }

    fn untag(&mut self, reference: &Reference) {
        self.index.references.remove(reference);
        self.done.push(Removed::Untagged(reference.familiar()));
    }

    fn delete(&mut self, id: &ImageId) {
        self.index.images.remove(id);
        self.done.push(Removed::Deleted(id.to_string()));
    }
}

impl Rubbish {
    fn delete(&self) {
        for tree in &self.trees {
            if let Err(error) = work::remove_tree(tree) {
                tracing::warn!(path = %tree.display(), %error, "left for the next removal");
            }
        }
    }
}

fn short(container: &str) -> String {
    container.chars().take(12).collect()
}

/// The entries of a directory whose names are digests.
fn digest_entries(directory: &Path) -> Result<Vec<(PathBuf, Digest)>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).during("list", directory)? {
        let entry = entry.during("list", directory)?;
        let digest = entry.file_name().to_str().and_then(Digest::from_hex);
        found.extend(digest.map(|digest| (entry.path(), digest)));
    }
    Ok(found)
}
