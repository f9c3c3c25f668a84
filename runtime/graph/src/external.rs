//! Tensors in other files: only regular files inside the model's own folder.

use std::path::{Component, Path, PathBuf};

use runtime_disk::ReadFile;

use crate::GraphError;
use crate::read_tensor::{ExternalReference, ExternalSource};

/// Reads external data from the folder that holds the model, and from nowhere else.
pub(crate) struct ModelFolder {
    folder: PathBuf,
}

impl ModelFolder {
    /// The folder of the model file at `model`.
    pub(crate) fn of(model: &Path) -> Self {
        let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self { folder: folder.unwrap_or(Path::new(".")).to_owned() }
    }

    /// The real path of `location`, which must lie under the real path of the folder.
    fn resolve(&self, location: &str) -> Result<PathBuf, String> {
        if location.is_empty() {
            return Err("the model does not name the file".to_owned());
        }
        let relative = Path::new(location);
        // Checked before the disk is asked, so that a hostile name learns nothing about it. A backslash is a
        // separator on the machine of whoever made the file.
        if location.contains('\\') || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err("only a plain relative path inside the model's folder is allowed".to_owned());
        }
        // Follows links, in the folder's own path as well: what counts is where the bytes really lie.
        let real = |path: &Path| path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
        let folder = real(&self.folder)?;
        let file = real(&folder.join(relative))?;
        if file.starts_with(&folder) {
            Ok(file)
        } else {
            Err(format!("it is a link to {}, outside the model's folder", file.display()))
        }
    }
}

impl ExternalSource for ModelFolder {
    fn read(&self, tensor: &str, reference: &ExternalReference, bytes: u64) -> Result<Vec<u8>, GraphError> {
        let refuse = |reason: String| GraphError::ExternalData {
            tensor: tensor.to_owned(),
            location: reference.location.clone(),
            reason,
        };
        let path = self.resolve(&reference.location).map_err(refuse)?;
        let file = ReadFile::open(&path)?;
        let wanted = reference.offset.checked_add(bytes);
        if wanted.is_none_or(|end| end > file.len()) {
            return Err(refuse(format!(
                "{bytes} bytes at {} are wanted, the file has {}",
                reference.offset,
                file.len()
            )));
        }
        // Not more than the file really has, so this reserves no more than the disk holds.
        let length = usize::try_from(bytes).map_err(|_| refuse("it does not fit into memory".to_owned()))?;
        let mut buffer = vec![0; length];
        file.read_at(reference.offset, &mut buffer)?;
        Ok(buffer)
    }
}
