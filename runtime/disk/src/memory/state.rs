//! What the disk in memory holds: for every file and folder what programs see, and what a power cut leaves.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};

use crate::DiskError;

/// The root folder's number.
const ROOT: usize = 0;

/// Room on a disk that nobody filled up.
const CAPACITY_BYTES: u64 = 1 << 40;

/// No file in memory grows above this, whatever its length field says.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug)]
pub(super) enum Node {
    File(FileNode),
    Folder(FolderNode),
}

#[derive(Debug, Default)]
pub(super) struct FileNode {
    pub(super) live: Vec<u8>,
    durable: Vec<u8>,
    /// Edits since the last sync, in order.
    unsynced: Vec<Edit>,
    reserved_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct FolderNode {
    pub(super) live: BTreeMap<OsString, usize>,
    durable: BTreeMap<OsString, usize>,
}

#[derive(Clone, Debug)]
enum Edit {
    Write { offset: u64, bytes: Vec<u8> },
    Resize(u64),
}

/// One change to the names of one folder that no sync has made durable yet.
#[derive(Debug)]
enum NameChange {
    Set { name: OsString, node: usize },
    Unset { name: OsString },
    Move { from: OsString, to: OsString },
}

/// When operations begin to fail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    /// The operation with this number fails, alone.
    pub(super) fail_at: Option<u64>,
    /// From this operation on there is no power.
    pub(super) power_until: Option<u64>,
}

/// How an operation ends before it has begun.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Do it.
    Go,
    /// Do it, because it was already handed to the disk, but report a failure.
    Issued,
}

#[derive(Debug)]
pub(super) struct State {
    nodes: Vec<Node>,
    /// Name changes in the order in which they were made, each with its folder.
    pending: Vec<(usize, NameChange)>,
    pub(super) plan: Plan,
    pub(super) operations: u64,
    /// Counts crashes: a handle of an earlier life is dead.
    pub(super) life: u64,
    capacity_bytes: u64,
    pub(super) locked: Vec<usize>,
}

/// An I/O error with a text of its own.
pub(super) fn io_error(path: &Path, action: &'static str, text: &str) -> DiskError {
    DiskError::Io { path: path.to_owned(), action, source: io::Error::other(text.to_owned()) }
}

fn not_found(path: &Path) -> DiskError {
    DiskError::NotFound { path: path.to_owned() }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::Folder(FolderNode::default())],
            pending: Vec::new(),
            plan: Plan::default(),
            operations: 0,
            life: 0,
            capacity_bytes: CAPACITY_BYTES,
            locked: Vec::new(),
        }
    }

    pub(super) fn powered(&self) -> bool {
        self.plan.power_until.is_none_or(|end| self.operations <= end)
    }

    /// Counts one changing operation and says whether it fails.
    pub(super) fn begin(&mut self, path: &Path, action: &'static str) -> Result<Verdict, DiskError> {
        if !self.powered() {
            return Err(power_is_off(path, action));
        }
        let number = self.operations;
        self.operations += 1;
        if !self.powered() {
            return Ok(Verdict::Issued);
        }
        if self.plan.fail_at == Some(number) {
            return Err(io_error(path, action, "failed on order"));
        }
        Ok(Verdict::Go)
    }

    pub(super) fn find(&self, path: &Path) -> Result<usize, DiskError> {
        let mut at = ROOT;
        for part in path.components() {
            match part {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    let next = match &self.nodes[at] {
                        Node::Folder(folder) => folder.live.get(name),
                        Node::File(_) => None,
                    };
                    at = *next.ok_or_else(|| not_found(path))?;
                }
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(io_error(path, "find", "the double takes no `..`"));
                }
            }
        }
        Ok(at)
    }

    pub(super) fn file(&self, path: &Path) -> Result<(usize, &FileNode), DiskError> {
        let number = self.find(path)?;
        match &self.nodes[number] {
            Node::File(file) => Ok((number, file)),
            Node::Folder(_) => Err(io_error(path, "open", "it is not a regular file")),
        }
    }

    pub(super) fn folder(&self, path: &Path) -> Result<(usize, &FolderNode), DiskError> {
        let number = self.find(path)?;
        match &self.nodes[number] {
            Node::Folder(folder) => Ok((number, folder)),
            Node::File(_) => Err(io_error(path, "open", "it is not a folder")),
        }
    }

    pub(super) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    pub(super) fn file_at(&mut self, number: usize) -> &mut FileNode {
        match &mut self.nodes[number] {
            Node::File(file) => file,
            Node::Folder(_) => unreachable!("numbers of files are only made by `file` and `add`"),
        }
    }

    fn folder_at(&mut self, number: usize) -> &mut FolderNode {
        match &mut self.nodes[number] {
            Node::Folder(folder) => folder,
            Node::File(_) => unreachable!("numbers of folders are only made by `folder` and `add`"),
        }
    }

    /// The folder that holds `path`, and the name in it.
    pub(super) fn place(&self, path: &Path) -> Result<(usize, OsString), DiskError> {
        let name = path.file_name().ok_or_else(|| io_error(path, "open", "the path has no file name"))?;
        let (folder, _) = self.folder(path.parent().unwrap_or(Path::new("")))?;
        Ok((folder, name.to_owned()))
    }

    /// Adds a node under a name; the name is not durable yet.
    pub(super) fn add(&mut self, folder: usize, name: OsString, node: Node) -> usize {
        let number = self.nodes.len();
        self.nodes.push(node);
        self.set(folder, name, number);
        number
    }

    pub(super) fn set(&mut self, folder: usize, name: OsString, node: usize) {
        self.folder_at(folder).live.insert(name.clone(), node);
        self.pending.push((folder, NameChange::Set { name, node }));
    }

    pub(super) fn unset(&mut self, folder: usize, name: &OsStr) {
        self.folder_at(folder).live.remove(name);
        let name = name.to_owned();
        self.pending.push((folder, NameChange::Unset { name }));
    }

    /// A rename inside one folder: one change, so a crash never shows half of it.
    pub(super) fn shift(&mut self, folder: usize, from: &OsStr, to: OsString) {
        let live = &mut self.folder_at(folder).live;
        if let Some(node) = live.remove(from) {
            live.insert(to.clone(), node);
        }
        let from = from.to_owned();
        self.pending.push((folder, NameChange::Move { from, to }));
    }

    /// Makes the names of one folder durable, and only those.
    pub(super) fn sync_names(&mut self, folder: usize) {
        let pending = std::mem::take(&mut self.pending);
        for (at, change) in pending {
            if at == folder {
                self.commit(at, change);
            } else {
                self.pending.push((at, change));
            }
        }
    }

    fn commit(&mut self, folder: usize, change: NameChange) {
        let durable = &mut self.folder_at(folder).durable;
        match change {
            NameChange::Set { name, node } => {
                durable.insert(name, node);
            }
            NameChange::Unset { name } => {
                durable.remove(&name);
            }
            NameChange::Move { from, to } => {
                if let Some(node) = durable.remove(&from) {
                    durable.insert(to, node);
                }
            }
        }
    }

    /// Bytes that still fit.
    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes(ROOT))
    }

    pub(super) fn leave_free(&mut self, bytes: u64) {
        self.capacity_bytes = self.used_bytes(ROOT).saturating_add(bytes);
    }

    pub(super) fn free_up(&mut self) {
        self.capacity_bytes = CAPACITY_BYTES;
    }

    fn used_bytes(&self, number: usize) -> u64 {
        match &self.nodes[number] {
            Node::File(file) => file.room(),
            Node::Folder(folder) => folder.live.values().map(|node| self.used_bytes(*node)).sum(),
        }
    }

    /// Refuses a file that would take more room than there is.
    pub(super) fn make_room(&self, path: &Path, file: usize, bytes: u64) -> Result<(), DiskError> {
        let Node::File(file) = &self.nodes[file] else {
            return Ok(());
        };
        let more = bytes.saturating_sub(file.room());
        let free = self.free_bytes();
        if more > free || bytes > FILE_BYTES_MAX {
            return Err(DiskError::NoSpace { path: path.to_owned(), missing_bytes: more.saturating_sub(free).max(1) });
        }
        Ok(())
    }

    /// Ends this life: the next one begins with what was durable, plus what `choice` keeps of the rest.
    pub(super) fn crash(&mut self, choice: &mut dyn FnMut(usize) -> usize) {
        let pending = std::mem::take(&mut self.pending);
        // Journals write names in order, so a prefix survives.
        let kept = choice(pending.len());
        for (folder, change) in pending.into_iter().take(kept) {
            self.commit(folder, change);
        }
        for node in &mut self.nodes {
            match node {
                Node::File(file) => file.crash(choice),
                Node::Folder(folder) => folder.live.clone_from(&folder.durable),
            }
        }
        self.plan = Plan::default();
        self.life += 1;
        self.locked.clear();
    }
}

/// The error of everything after a power cut.
pub(super) fn power_is_off(path: &Path, action: &'static str) -> DiskError {
    io_error(path, action, "the power is off")
}

impl FileNode {
    fn room(&self) -> u64 {
        self.reserved_bytes.max(self.live.len() as u64)
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        apply(&mut self.live, offset, bytes);
        let bytes = bytes.to_owned();
        self.unsynced.push(Edit::Write { offset, bytes });
    }

    pub(super) fn resize(&mut self, bytes: u64) {
        resize(&mut self.live, bytes);
        self.reserved_bytes = self.reserved_bytes.min(bytes);
        self.unsynced.push(Edit::Resize(bytes));
    }

    pub(super) fn reserve(&mut self, bytes: u64) {
        self.reserved_bytes = self.reserved_bytes.max(bytes);
        if bytes > self.live.len() as u64 {
            resize(&mut self.live, bytes);
            self.unsynced.push(Edit::Resize(bytes));
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.live);
        self.unsynced.clear();
    }

    /// Each unsynced edit survives, or not, or, for a write, up to some byte: disks promise no order.
    fn crash(&mut self, choice: &mut dyn FnMut(usize) -> usize) {
        for edit in std::mem::take(&mut self.unsynced) {
            match edit {
                Edit::Write { offset, bytes } => {
                    let kept = match choice(3) {
                        0 => 0,
                        1 => choice(bytes.len()),
                        _ => bytes.len(),
                    };
                    if kept > 0 {
                        apply(&mut self.durable, offset, &bytes[..kept]);
                    }
                }
                Edit::Resize(bytes) => {
                    if choice(1) == 1 {
                        resize(&mut self.durable, bytes);
                    }
                }
            }
        }
        self.live.clone_from(&self.durable);
        self.reserved_bytes = 0;
    }
}

/// Lengths were checked against `FILE_BYTES_MAX` by `make_room`.
fn resize(content: &mut Vec<u8>, bytes: u64) {
    let bytes = usize::try_from(bytes.min(FILE_BYTES_MAX)).expect("a file in memory has under 1 GiB");
    content.resize(bytes, 0);
}

fn apply(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset + bytes.len() as u64;
    if end > content.len() as u64 {
        resize(content, end);
    }
    let start = content.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
    let end = content.len().min(start + bytes.len());
    content[start..end].copy_from_slice(&bytes[..end - start]);
}
