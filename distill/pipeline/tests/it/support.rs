//! A folder with small data, and the program to run in it.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::Command;

use npyz::WriterBuilder as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// A folder of a test.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

/// What a run of the program gave.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.stdout, self.stderr))
    }

    /// The same, after checking the exit code.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        Folder { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Runs the program in this folder.
    pub(crate) fn distill(&self, args: &[&str]) -> Ended {
        self.distill_with(args, &[])
    }

    /// The same with environment variables.
    pub(crate) fn distill_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command.current_dir(self.folder.path()).args(args).env_clear();
        command.env("CASK_CACHE_DIR", self.path("cache")).envs(variables.iter().copied());
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Arrays of a `.npz` file.
#[derive(Clone)]
pub(crate) struct Arrays {
    pub(crate) x: Vec<f32>,
    pub(crate) shape: Vec<u64>,
    pub(crate) y: Option<Vec<i64>>,
}

impl Arrays {
    pub(crate) fn save(&self, path: &Path) {
        let mut archive = npyz::npz::NpzWriter::create(path).unwrap();
        let mut x =
            archive.array("x", Default::default()).unwrap().default_dtype().shape(&self.shape).begin_nd().unwrap();
        x.extend(self.x.iter().copied()).unwrap();
        x.finish().unwrap();
        if let Some(labels) = &self.y {
            let shape = [labels.len() as u64];
            let mut y =
                archive.array("y", Default::default()).unwrap().default_dtype().shape(&shape).begin_nd().unwrap();
            y.extend(labels.iter().copied()).unwrap();
            y.finish().unwrap();
        }
    }
}

/// Images of 8 x 8 pixels from 0 to 16 with a bright row (class 0), column (class 1) or diagonal (class 2), and noise.
pub(crate) fn stripes(samples: usize, seed: u64) -> Arrays {
    const SIDE: usize = 8;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for sample in 0..samples {
        let class = sample % 3;
        let at = random.random_range(0..SIDE);
        for row in 0..SIDE {
            for column in 0..SIDE {
                let bright = match class {
                    0 => row == at,
                    1 => column == at,
                    _ => (row + at) % SIDE == column,
                };
                x.push(if bright { 14.0 } else { 1.0 } + random.random_range(-1.0f32..1.0));
            }
        }
        y.push(class as i64);
    }
    Arrays { x, shape: vec![samples as u64, 1, SIDE as u64, SIDE as u64], y: Some(y) }
}

/// A recipe that distils in about a second.
pub(crate) const RECIPE: &str = r#"
seed = 1

[data]
file = "data.npz"
scale = 0.0625
white = 16.0

[teacher]
family = "cnn"
channels = [8, 12]

[teacher.train]
epochs = 6
batch = 32
learning_rate = 0.01

[student]
family = "cnn"
channels = [6, 8]
hidden = [16]

[train]
epochs = 6
batch = 32
learning_rate = 0.01
shift = 1
loss = [{ kind = "ce", weight = 0.5 }, { kind = "kd", weight = 0.5, temperature = 3.0 }]

[budget]
max_drop = 5.0

[artifact]
name = "stripes"
version = "1.0.0"
number = 1
labels = ["row", "column", "diagonal"]
golden = 6
"#;

/// A folder with `data.npz` and `recipe.toml`.
pub(crate) fn ready() -> Folder {
    let folder = Folder::new();
    stripes(240, 1).save(&folder.path("data.npz"));
    folder.write("recipe.toml", RECIPE);
    folder
}

/// A student that nobody trained, as an ONNX file.
pub(crate) fn student(folder: &Folder, name: &str) {
    use distill_train::families::{Architecture, cnn};
    let config = Architecture { sample: vec![1, 8, 8], classes: 3, channels: vec![4, 6], hidden: vec![], seed: 4 };
    folder.write(name, cnn(&config).unwrap().write());
}
