//! Where the quickstart keeps its things.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// The handwritten digits, their recipe and its origin, as they are in the tree.
const DIGITS_DATA: &[u8] = include_bytes!("../digits/digits.npz");
const DIGITS_RECIPE: &[u8] = include_bytes!("../digits/digits.toml");

/// The folder of one run of the quickstart.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Lays out `root`, which must be empty or absent, and writes the digits and their recipe into it.
    pub fn create(root: &Path) -> Result<Self> {
        runtime_disk::create_folder(root)?;
        let root = root.canonicalize()?;
        let layout = Layout { root };
        for folder in ["data", "agents", "logs"] {
            runtime_disk::create_folder(&layout.root.join(folder))?;
        }
        runtime_disk::write_atomic(&layout.root.join("data/digits.npz"), DIGITS_DATA)?;
        runtime_disk::write_atomic(&layout.recipe(), DIGITS_RECIPE)?;
        Ok(layout)
    }

    /// A folder that was laid out before.
    pub fn open(root: &Path) -> Self {
        Layout { root: root.to_owned() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The recipe beside its data.
    pub fn recipe(&self) -> PathBuf {
        self.root.join("data/digits.toml")
    }

    /// What `distill run` leaves: `run` for version 1, `run-2` for version 2.
    pub fn run(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The operator's folder.
    pub fn fleet(&self) -> PathBuf {
        self.root.join("fleet")
    }

    /// The folder of one device.
    pub fn agent(&self, name: &str) -> PathBuf {
        self.root.join("agents").join(name)
    }

    /// The log of one program.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }
}
