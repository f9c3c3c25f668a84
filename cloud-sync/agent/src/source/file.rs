//! A sealed file that a person brought, and newer metadata lying beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runtime_artifact::{ChunkRow, UnverifiedArtifact, VerifiedArtifact, open};
use runtime_trust::{Digest, FileName, Root, TrustState};

use crate::order::stop::{self, Stop};
use crate::order::{Claim, Source, Take, Taken};

/// The step that a file which is no artifact fails in.
const STEP_SIZE: u8 = 1;
/// The step that objects are checked in.
const STEP_CHUNKS: u8 = 7;

/// A `.cask`.
pub(crate) struct FileSource {
    path: PathBuf,
    state: State,
    root: Option<Root>,
}

enum State {
    Closed,
    Opened(UnverifiedArtifact),
    Verified(Box<Objects>),
}

/// A verified file and where its objects are.
struct Objects {
    artifact: VerifiedArtifact,
    parts: BTreeMap<Digest, (String, String, usize)>,
    rows: BTreeMap<Digest, ChunkRow>,
}

impl FileSource {
    /// The file at `path`; nothing is read yet.
    pub(crate) fn new(path: &Path) -> Self {
        FileSource { path: path.to_owned(), state: State::Closed, root: None }
    }

    /// Checks the whole file by the root that steps 1 to 3 led to, once, before any object of it is given.
    fn objects(&mut self) -> Result<&Objects, Stop> {
        let state = std::mem::replace(&mut self.state, State::Closed);
        self.state = match (state, &self.root) {
            (State::Opened(artifact), Some(root)) => {
                let artifact = artifact.verify(root).map_err(|error| stop::artifact(STEP_CHUNKS, error))?;
                State::Verified(Box::new(Objects::of(artifact)?))
            }
            (state, _) => state,
        };
        match &self.state {
            State::Verified(objects) => Ok(objects),
            State::Closed | State::Opened(_) => Err(Stop::refused(
                STEP_SIZE,
                "out-of-order",
                "failed to read the file before it was opened and trusted",
            )),
        }
    }
}

impl Objects {
    fn of(artifact: VerifiedArtifact) -> Result<Objects, Stop> {
        let mut parts = BTreeMap::new();
        let mut rows = BTreeMap::new();
        for variant in &artifact.manifest().variants {
            for (role, entry) in &variant.files {
                for (number, part) in entry.index.iter().enumerate() {
                    parts.insert(part.digest, (variant.id.clone(), role.clone(), number));
                }
                let index = artifact.index(&variant.id, role).map_err(|error| stop::artifact(STEP_CHUNKS, error))?;
                rows.extend(index.rows.into_iter().map(|row| (row.stored_digest, row)));
            }
        }
        Ok(Objects { artifact, parts, rows })
    }

    fn read(&self, digest: &Digest) -> Result<Vec<u8>, Stop> {
        let bytes = match (self.rows.get(digest), self.parts.get(digest)) {
            (Some(row), _) => self.artifact.read_chunk(row),
            (None, Some((variant, role, number))) => self.artifact.index_part(variant, role, *number),
            (None, None) => {
                return Err(Stop::refused(
                    STEP_CHUNKS,
                    "no-such-file",
                    format!("failed to find the object {digest} in the file"),
                ));
            }
        };
        bytes.map_err(|error| stop::artifact(STEP_CHUNKS, error))
    }
}

impl Source for FileSource {
    fn claim(&mut self) -> Result<Claim, Stop> {
        let artifact = open(&self.path).map_err(|error| stop::artifact(STEP_SIZE, error))?;
        let claim = Claim::Sideload(artifact.envelope_bytes().to_vec());
        self.state = State::Opened(artifact);
        Ok(claim)
    }

    fn trust_file(&mut self, file: &FileName, bytes_max: u64) -> Result<Option<Vec<u8>>, Stop> {
        // The names are the fleet's fixed ones and artifact names that were checked: none leads out of the folder.
        match runtime_disk::read_bounded(&self.path.with_file_name(file.to_string()), bytes_max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => {
                if !error.is_not_found() {
                    tracing::debug!(%error, "metadata beside the file is not read");
                }
                Ok(None)
            }
        }
    }

    fn manifest(&mut self, _digest: &Digest, _bytes_max: u64) -> Result<Vec<u8>, Stop> {
        match &self.state {
            State::Opened(artifact) => Ok(artifact.envelope_bytes().to_vec()),
            State::Verified(objects) => Ok(objects.artifact.envelope_bytes().to_vec()),
            State::Closed => Err(Stop::Nothing),
        }
    }

    fn trusted(&mut self, trust: &TrustState) {
        self.root = Some(trust.root().clone());
    }

    fn objects(&mut self, wanted: &[Digest], take: &mut Take<'_>) -> Result<(), Stop> {
        let objects = FileSource::objects(self)?;
        for digest in wanted {
            match take(digest, &objects.read(digest)?) {
                Taken::Kept => {}
                Taken::Wrong(why) => return Err(Stop::refused(STEP_CHUNKS, "chunk-digest-mismatch", why)),
                Taken::Stop => {
                    return Err(Stop::refused(STEP_CHUNKS, "not-kept", "failed to keep an object of the file"));
                }
            }
        }
        Ok(())
    }
}
