//! Everything unsafe: the first look into a library, the bytes of a tensor, an allocator's statistics.
#![allow(unsafe_code, reason = "ONNX Runtime is a C library; each block says why it is sound")]

use std::error::Error as _;
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::ptr;

use libloading::{Library, Symbol};
use ort::AsPointer as _;
use ort::memory::Allocator;
use ort::value::DynTensor;

/// A library that says that it is ONNX Runtime; it stays loaded while this lives.
pub(crate) struct Probed {
    library: Library,
    /// What it calls its version.
    pub(crate) version: String,
    /// The file it came from, when the system tells.
    pub(crate) path: Option<PathBuf>,
}

/// Why a library is not used. Each text stands after "found".
pub(crate) enum ProbeError {
    /// The system did not load it, and says why.
    NotLoaded(String),
    /// It is something else.
    Foreign(&'static str),
}

type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;

const ENTRY: &CStr = c"OrtGetApiBase";

/// Loads the library of this name or path and asks for its version.
pub(crate) fn probe(name: &OsStr) -> Result<Probed, ProbeError> {
    // SAFETY: loading runs the library's initializers. The path is the operator's choice, as that of a program is.
    let library = unsafe { Library::new(name) }.map_err(|error| {
        // The error itself only says that loading failed; its source says why.
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        ProbeError::NotLoaded(reason)
    })?;
    let base = api_base(&library)?;
    // SAFETY: `base` is not null and points to a table that lives as long as the library. Its two functions have had
    // these types in every version of ONNX Runtime; the text is static.
    let version = unsafe { text(((*base.table).GetVersionString)()) };
    let version = version.ok_or(ProbeError::Foreign("a library whose version is no text"))?;
    Ok(Probed { version, path: base.path, library })
}

struct Base {
    table: *const ort::sys::OrtApiBase,
    path: Option<PathBuf>,
}

fn api_base(library: &Library) -> Result<Base, ProbeError> {
    // SAFETY: this is the type that ONNX Runtime's header gives to this symbol, and no other library has it.
    let entry: Symbol<'_, GetApiBase> =
        unsafe { library.get(ENTRY) }.map_err(|_| ProbeError::Foreign("a library without OrtGetApiBase"))?;
    // SAFETY: the function takes nothing and only returns a pointer to a static table.
    let table = unsafe { entry() };
    if table.is_null() {
        return Err(ProbeError::Foreign("a library whose OrtGetApiBase gives nothing"));
    }
    Ok(Base { table, path: file_of(*entry as *const c_void) })
}

/// The file that an address was loaded from.
fn file_of(address: *const c_void) -> Option<PathBuf> {
    let mut info = libc::Dl_info {
        dli_fname: ptr::null(),
        dli_fbase: ptr::null_mut(),
        dli_sname: ptr::null(),
        dli_saddr: ptr::null_mut(),
    };
    // SAFETY: dladdr only looks the address up and fills the structure; the name lives as long as the library.
    let name = unsafe {
        if libc::dladdr(address, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.dli_fname)
    };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

impl Probed {
    /// Whether the library has the functions of version 1.`minor`.
    pub(crate) fn has_api(&self, minor: u32) -> bool {
        let Ok(base) = api_base(&self.library) else { return false };
        // SAFETY: as in `probe`; an unknown version is answered with null.
        unsafe { !((*base.table).GetApi)(minor).is_null() }
    }
}

/// # Safety
/// `pointer` is null or a text that ends with 0 and is not changed.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(pointer) }.to_str().ok().map(str::to_owned)
}

/// The elements of a tensor in main memory, as they lie there.
pub(crate) fn tensor_bytes(tensor: &DynTensor) -> Option<&[u8]> {
    let length = tensor.size()?;
    if length == 0 {
        return Some(&[]);
    }
    if !tensor.memory_info().is_cpu_accessible() {
        return None;
    }
    let data = tensor.data_ptr().cast::<u8>();
    // SAFETY: ONNX Runtime says that the tensor lies in main memory and holds `length` bytes of plain numbers (callers
    // look at strings before); they live and stay unchanged while the value is borrowed.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data, length) })
}

/// A number of the allocator's statistics, such as `InUse`; `None` when it keeps none.
pub(crate) fn allocator_statistic(allocator: &Allocator, key: &CStr) -> Option<u64> {
    let mut pairs = ptr::null_mut();
    // SAFETY: the allocator is alive; on success the pairs are ours until they are released below.
    let status = unsafe { (ort::api().AllocatorGetStats)(allocator.ptr(), &mut pairs) };
    if !status.0.is_null() {
        // SAFETY: a status that is not null belongs to the caller, who releases it once.
        unsafe { (ort::api().ReleaseStatus)(status.0) };
        return None;
    }
    if pairs.is_null() {
        return None;
    }
    // SAFETY: the pairs are alive until the release; the text in them is copied before.
    let value = unsafe {
        let value = text((ort::api().GetKeyValue)(pairs, key.as_ptr()));
        (ort::api().ReleaseKeyValuePairs)(pairs);
        value
    };
    value?.parse().ok()
}

/// Gives memory that was freed back to the system.
pub(crate) fn trim_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointer and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
