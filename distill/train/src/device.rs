//! Where to train, and a guard that looks for CUDA without touching any CUDA type.
//!
//! The CUDA crates panic when the driver library, NVRTC or its headers are missing, so every one of them is looked for
//! here first.

use std::path::{Path, PathBuf};

/// A device that can train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrainDevice {
    /// This machine's processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU with this index.
    Cuda(usize),
}

impl std::fmt::Display for TrainDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TrainDevice::Cpu => write!(f, "cpu"),
            TrainDevice::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Runs a body with the type `B` of the backend of a [`TrainDevice`] and its device value; the body gives a
/// `Result<_, TrainError>`.
macro_rules! with_backend {
    ($device:expr, |$backend:ident, $value:ident| $body:expr) => {
        match $device {
            $crate::device::TrainDevice::Cpu => {
                type $backend = burn::backend::Autodiff<burn_flex::Flex>;
                let $value = Default::default();
                $crate::device::unguarded(|| $body)
            }
            #[cfg(feature = "cuda")]
            $crate::device::TrainDevice::Cuda(index) => $crate::device::guarded(index, || {
                type $backend = burn::backend::Autodiff<burn::backend::Cuda>;
                let $value = burn::backend::cuda::CudaDevice::new(index);
                $body
            }),
            #[cfg(not(feature = "cuda"))]
            $crate::device::TrainDevice::Cuda(_) => Err($crate::error::TrainError::NoDevice {
                reason: $crate::device::detect_cuda().err().unwrap_or_default(),
            }),
        }
    };
}
pub(crate) use with_backend;

/// Runs `body` as it is: `?` in it ends the body and not the caller.
pub(crate) fn unguarded<T>(
    body: impl FnOnce() -> Result<T, crate::error::TrainError>,
) -> Result<T, crate::error::TrainError> {
    body()
}

/// Runs `body` only when GPU `index` is usable, and turns a panic inside the CUDA crates into an error.
#[cfg(feature = "cuda")]
pub(crate) fn guarded<T>(
    index: usize,
    body: impl FnOnce() -> Result<T, crate::error::TrainError>,
) -> Result<T, crate::error::TrainError> {
    let no_device = |reason: String| crate::error::TrainError::NoDevice { reason };
    let count = detect_cuda().map_err(no_device)?;
    if index >= count {
        return Err(no_device(format!("there is no GPU {index}: {count} found, counted from 0")));
    }
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without a message".to_owned());
        Err(no_device(format!("the CUDA backend failed: {text}")))
    })
}

const DRIVER_NAMES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];
const COMPILER_NAMES: [&str; 4] = ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"];
/// A header that pip's partial header packages lack, under the include folder.
const LAST_HEADER: &str = "crt/mma.h";

/// The number of usable NVIDIA GPUs.
///
/// # Errors
/// Says which part is missing: this build's support, the driver library, a GPU, NVRTC or its headers.
pub fn detect_cuda() -> Result<usize, String> {
    if !cfg!(feature = "cuda") {
        return Err("this program was built without CUDA; build distill with `--features cuda`".to_owned());
    }
    let count = driver_devices(&DRIVER_NAMES)?;
    if count == 0 {
        return Err("the NVIDIA driver is installed but sees no GPU".to_owned());
    }
    find_compiler(&COMPILER_NAMES)?;
    find_headers(&include_folders(std::env::var_os("CUDA_PATH").map(PathBuf::from)))?;
    Ok(count)
}

fn open_first(names: &[&str]) -> Option<libloading::Library> {
    names.iter().find_map(|name| {
        // SAFETY: loading these NVIDIA libraries runs their initializers only; they are the ones that the CUDA backend
        // loads itself a moment later.
        unsafe { libloading::Library::new(*name) }.ok()
    })
}

/// Asks the driver how many devices it has.
fn driver_devices(names: &[&str]) -> Result<usize, String> {
    let library =
        open_first(names).ok_or_else(|| format!("no NVIDIA driver: none of {} can be loaded", names.join(", ")))?;
    // SAFETY: the signatures are those of the CUDA driver API, stable since its first version; `count` outlives the call.
    unsafe {
        let init: libloading::Symbol<unsafe extern "C" fn(u32) -> i32> =
            library.get(b"cuInit\0").map_err(|error| format!("the NVIDIA driver library lacks cuInit: {error}"))?;
        let device_count: libloading::Symbol<unsafe extern "C" fn(*mut i32) -> i32> = library
            .get(b"cuDeviceGetCount\0")
            .map_err(|error| format!("the NVIDIA driver library lacks cuDeviceGetCount: {error}"))?;
        let status = init(0);
        if status != 0 {
            return Err(format!("the NVIDIA driver does not start: cuInit returned {status}"));
        }
        let mut count = 0i32;
        let status = device_count(&mut count);
        if status != 0 {
            return Err(format!("the NVIDIA driver does not list its devices: cuDeviceGetCount returned {status}"));
        }
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

fn find_compiler(names: &[&str]) -> Result<(), String> {
    open_first(names).map(drop).ok_or_else(|| {
        format!(
            "a GPU is present, but CUDA's run-time compiler is not: none of {} can be loaded; install the CUDA toolkit",
            names.join(", ")
        )
    })
}

fn include_folders(cuda_path: Option<PathBuf>) -> Vec<PathBuf> {
    cuda_path
        .into_iter()
        .chain([PathBuf::from("/usr/local/cuda"), PathBuf::from("/opt/cuda")])
        .map(|root| root.join("include"))
        .collect()
}

fn find_headers(folders: &[PathBuf]) -> Result<(), String> {
    let complete = |folder: &Path| folder.join("cuda_runtime.h").is_file() && folder.join(LAST_HEADER).is_file();
    if folders.iter().any(|folder| complete(folder)) {
        return Ok(());
    }
    let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Err(format!(
        "a GPU is present, but CUDA's headers (cuda_runtime.h, {LAST_HEADER}) are not in {}; install the CUDA toolkit \
         or set CUDA_PATH",
        looked.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_is_named_and_never_panics() {
        let message = driver_devices(&["libcask-no-such-driver.so"]).unwrap_err();
        assert!(message.contains("libcask-no-such-driver.so"), "{message}");
        let message = find_compiler(&["libcask-no-such-compiler.so"]).unwrap_err();
        assert!(message.contains("CUDA toolkit"), "{message}");
    }

    #[test]
    fn a_library_that_is_no_driver_is_named() {
        // The C library can always be loaded and has no cuInit.
        let message = driver_devices(&["libc.so.6", "libSystem.dylib"]).unwrap_err();
        assert!(message.contains("cuInit") || message.contains("no NVIDIA driver"), "{message}");
    }

    #[test]
    fn headers_are_looked_for_under_the_named_folder_first() {
        let folders = include_folders(Some(PathBuf::from("/somewhere/cuda")));
        assert_eq!(folders[0], PathBuf::from("/somewhere/cuda/include"));
        let message = find_headers(&folders[..1]).unwrap_err();
        assert!(message.contains("/somewhere/cuda/include") && message.contains(LAST_HEADER), "{message}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so() {
        assert!(detect_cuda().unwrap_err().contains("--features cuda"));
    }
}
