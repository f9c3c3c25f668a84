//! New artifacts out of an existing one, signed with the fleet's own keys: what an attacker with stolen keys could
//! make, and what the controls of the attacks are made with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use runtime_artifact::{GoldenSet, Packer, VerifiedArtifact};
use runtime_trust::{Digest, Root, SigningKey};

use crate::layout::Layout;

/// The largest key file or root, in bytes.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// The largest model or golden file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The role of the file that the attacks change.
const GOLDEN: &str = "golden";

/// An artifact to start from, and the keys.
pub(crate) struct Forge {
    /// The deploy key.
    pub(crate) deploy: SigningKey,
    release: SigningKey,
    source: VerifiedArtifact,
    golden: GoldenSet,
    folder: PathBuf,
}

/// A signed artifact on the disk.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// The `.cask` file.
    pub(crate) file: PathBuf,
    /// The digest of its manifest.
    pub(crate) digest: Digest,
    /// Its envelope, as `fleet` publishes it.
    pub(crate) envelope: Vec<u8>,
    /// The stored digest of the first chunk of its golden set.
    pub(crate) golden_chunk: Digest,
}

impl Forge {
    /// Opens the keys of the fleet and the artifact of a run folder.
    pub(crate) fn open(layout: &Layout, run: &Path, passphrase: &str) -> Result<Self> {
        let key = |role: &str| -> Result<SigningKey> {
            let bytes =
                runtime_disk::read_bounded(&layout.fleet().join("keys").join(format!("{role}.key")), KEY_BYTES_MAX)?;
            runtime_trust::keyfile::open_key(&bytes, passphrase.as_bytes()).with_context(|| format!("the {role} key"))
        };
        let root = runtime_disk::read_bounded(&layout.fleet().join("trust/root.json"), KEY_BYTES_MAX)?;
        let source = runtime_artifact::open(&run.join("digits.cask"))?.verify(&Root::pin(&root)?)?;
        let variant = source.manifest().variants.first().context("the artifact has no variant")?.id.clone();
        let golden = GoldenSet::decode(&source.read_file(&variant, GOLDEN, FILE_BYTES_MAX)?)?;
        Ok(Forge { deploy: key("deploy")?, release: key("release")?, source, golden, folder: layout.root().to_owned() })
    }

    /// The digest of the artifact's manifest.
    pub(crate) fn digest(&self) -> Digest {
        self.source.digest()
    }

    /// The name of the model's first input.
    pub(crate) fn input_name(&self) -> &str {
        self.source.manifest().contract.inputs.first().map_or("", |input| &input.name)
    }

    /// The bytes of every golden input.
    pub(crate) fn golden_inputs(&self) -> BTreeSet<&[u8]> {
        self.golden.cases.iter().flat_map(|case| &case.inputs).map(|(_, tensor)| tensor.bytes()).collect()
    }

    /// The same model as version `1.0.<patch>` with another golden set, signed with the release key.
    pub(crate) fn repack(&self, patch: u64, edit: impl Fn(GoldenSet) -> GoldenSet) -> Result<Sealed> {
        let mut draft = self.source.manifest().clone();
        draft.version.patch += patch;
        draft.number += patch;
        let variants = draft.variants.clone();
        let mut packer = Packer::new(draft)?;
        for variant in &variants {
            for role in variant.files.keys() {
                let bytes = if role == GOLDEN {
                    edit(self.golden.clone()).encode()?
                } else {
                    self.source.read_file(&variant.id, role, FILE_BYTES_MAX)?
                };
                packer.add_file(&variant.id, role, &bytes, &[])?;
            }
        }
        let bytes = packer.seal(&[&self.release])?;
        let file = self.folder.join(format!("{}-1.0.{patch}.cask", self.source.manifest().name));
        runtime_disk::write_atomic(&file, &bytes)?;
        self.describe(file, &variants[0].id)
    }

    fn describe(&self, file: PathBuf, variant: &str) -> Result<Sealed> {
        let opened = runtime_artifact::open_bytes(runtime_disk::read_bounded(&file, FILE_BYTES_MAX)?)?;
        let envelope = opened.envelope_bytes().to_vec();
        let root = runtime_disk::read_bounded(&self.folder.join("fleet/trust/root.json"), KEY_BYTES_MAX)?;
        let verified = opened.verify(&Root::pin(&root)?)?;
        let index = verified.index(variant, GOLDEN)?;
        ensure!(verified.digest() != self.digest(), "a repacked artifact must have a manifest of its own");
        let golden_chunk = index.rows.first().context("the golden set has no chunk")?.stored_digest;
        Ok(Sealed { file, digest: verified.digest(), envelope, golden_chunk })
    }
}
