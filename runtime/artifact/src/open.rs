//! Opening a `.cask`: header and envelope, and the one way to a [`VerifiedArtifact`].

use std::path::Path;

use runtime_disk::ReadFile;
use runtime_trust::{Digest, Envelope, PayloadType, Role, Root};

use crate::header::{HEADER_BYTES, Header};
use crate::source::Source;
use crate::verified::Layout;
use crate::{ArtifactError, Manifest, VerifiedArtifact};

/// A `.cask` whose header and envelope have been read and nothing else. Nothing about it is trusted.
#[derive(Debug)]
pub struct UnverifiedArtifact {
    pub(crate) source: Source,
    pub(crate) header: Header,
    pub(crate) envelope_bytes: Vec<u8>,
    envelope: Envelope,
}

/// Opens a file. Reads its header and its envelope (at most 60 KiB), whatever its length.
pub fn open(file: &Path) -> Result<UnverifiedArtifact, ArtifactError> {
    from_source(Source::File(ReadFile::open(file)?))
}

/// Opens a `.cask` that is already in memory.
pub fn open_bytes(bytes: Vec<u8>) -> Result<UnverifiedArtifact, ArtifactError> {
    from_source(Source::Bytes(bytes))
}

fn from_source(source: Source) -> Result<UnverifiedArtifact, ArtifactError> {
    let file_bytes = source.bytes();
    let start_bytes = file_bytes.min(HEADER_BYTES as u64) as usize;
    let start = source.read(0, start_bytes, "the header")?;
    let header = Header::parse(&start, file_bytes)?;
    let envelope_bytes = source.read(HEADER_BYTES as u64, header.envelope_bytes, "the envelope")?;
    let envelope = Envelope::parse(&envelope_bytes)?;
    Ok(UnverifiedArtifact { source, header, envelope_bytes, envelope })
}

impl UnverifiedArtifact {
    /// The signed envelope's exact bytes. Not verified.
    pub fn envelope_bytes(&self) -> &[u8] {
        &self.envelope_bytes
    }

    /// The digest under which a fleet would name this artifact's manifest. Not verified.
    pub fn manifest_digest_unverified(&self) -> Digest {
        Digest::of(self.envelope.payload())
    }

    /// The manifest as it stands in the file, for showing it to a person or for signing it. Not verified.
    pub fn manifest_unverified(&self) -> Result<Manifest, ArtifactError> {
        Manifest::parse(self.envelope.payload())
    }

    /// Checks everything: release's threshold of signatures over the manifest, the manifest's rules, then every
    /// index part, chunk and file, streaming, and that nothing else is in the file.
    ///
    /// Says nothing about whether the artifact is current, allowed, denied or under the floor: that is
    /// `runtime-trust`'s part.
    pub fn verify(self, root: &Root) -> Result<VerifiedArtifact, ArtifactError> {
        self.envelope.verify(PayloadType::Manifest, root.role(Role::Targets))?;
        let manifest = Manifest::parse(self.envelope.payload())?;
        let digest = Digest::of(self.envelope.payload());
        let layout = Layout::verify(&self.source, &manifest, (HEADER_BYTES + self.header.envelope_bytes) as u64)?;
        Ok(VerifiedArtifact::new(self.source, self.envelope_bytes, manifest, digest, layout))
    }
}
