//! Real peers: programs that others wrote, which the tests talk to.
//!
//! `.ci/run` installs them. Elsewhere a test whose peer is missing says so on standard error, with the count of
//! such tests so far, and returns; under `CI=true` a missing peer fails the test.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The interpreter that has the packages of `tests/peers/requirements.txt`.
const PYTHON_ENV: &str = "CASK_TEST_PYTHON";

/// The longest that a peer may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// Says that `test` is skipped because of `reason`; a failure where nothing may be skipped.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {reason}, and CI=true allows no skipped test");
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // Written past the test harness's capture, so that it is seen when the test passes.
    let _ = writeln!(std::io::stderr(), "skipped ({count} so far): {test}: {reason}");
}

/// The Python interpreter with the peers' packages, or a skip.
pub fn python(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os(PYTHON_ENV).map(PathBuf::from);
    if found.is_none() {
        skip(test, "no Python peers: set CASK_TEST_PYTHON to an interpreter with tests/peers/requirements.txt");
    }
    found
}

/// Runs a script of `tests/peers` and returns its output; panics with its errors unless it ends with 0.
pub fn run_python(python: &Path, script: &str, arguments: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script);
    let output = Command::new(python).arg(&path).args(arguments).output().expect("the interpreter starts");
    assert!(
        output.status.success(),
        "{script} {arguments:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Where the peers' `onnxruntime` keeps its shared library.
const FIND_ONNXRUNTIME: &str = "import onnxruntime, pathlib; \
    print(*(pathlib.Path(onnxruntime.__file__).parent / 'capi').glob('libonnxruntime.so*'), sep='\\n')";

/// The interpreter and ONNX Runtime's shared library, or a skip.
pub fn onnxruntime(test: &str) -> Option<(PathBuf, PathBuf)> {
    let python = python(test)?;
    let output = Command::new(&python).args(["-c", FIND_ONNXRUNTIME]).output().expect("the interpreter starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(library) = text.lines().next().filter(|line| !line.is_empty()) else {
        let why = String::from_utf8_lossy(&output.stderr);
        skip(test, &format!("onnxruntime's library is not beside {}: {}", python.display(), why.trim()));
        return None;
    };
    Some((python, PathBuf::from(library)))
}

/// A mosquitto on one loopback port that can be killed and started again; it ends when dropped.
#[derive(Debug)]
pub struct Mosquitto {
    program: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
    folder: tempfile::TempDir,
}

impl Mosquitto {
    /// A broker that does not run yet; `None` (a skip) where mosquitto is not installed.
    pub fn find(test: &str) -> Option<Self> {
        let Some(program) = mosquitto_program() else {
            skip(test, "mosquitto is not installed");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        Some(Mosquitto { program, address: SocketAddr::from(([127, 0, 0, 1], free_port())), child: None, folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it with the certificates in a folder that `fleet broker certificate` made.
    pub fn start(&mut self, folder: &Path, access: Access) {
        let lines = match access {
            Access::AsGenerated => generated(folder, self.address.port()),
            Access::EverybodyEverything => open_to_all(folder, self.address.port()),
        };
        let mut child = start_broker(&self.program, self.folder.path(), lines);
        wait_for_listener(self.address, &mut child);
        self.child = Some(child);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both calls fail only when it has already ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

fn mosquitto_program() -> Option<PathBuf> {
    let in_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    in_path.chain(["/usr/sbin".into()]).map(|folder: PathBuf| folder.join("mosquitto")).find(|file| file.is_file())
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// Who may use which topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The configuration and the access rules that `fleet` wrote; only the port is another.
    AsGenerated,
    /// Every client with a certificate may do everything, as on a broker that was taken over.
    EverybodyEverything,
}

fn generated(folder: &Path, port: u16) -> String {
    let text = std::fs::read_to_string(folder.join("mosquitto.conf")).expect("a generated configuration");
    assert!(text.contains("listener 8883\n"), "no listener in {text}");
    text.replace("listener 8883\n", &format!("listener {port} 127.0.0.1\n"))
}

fn open_to_all(folder: &Path, port: u16) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\nallow_anonymous true\n",
        file("ca.pem"),
        file("broker.pem"),
        file("broker.key")
    )
}

fn start_broker(program: &Path, folder: &Path, mut lines: String) -> Child {
    // Started as root, mosquitto would become a user that cannot read the key.
    if rustix::process::geteuid().is_root() {
        lines.push_str("user root\n");
    }
    let configuration = folder.join("mosquitto.conf");
    std::fs::write(&configuration, lines).expect("a file in a temporary folder");
    let log = std::fs::File::create(folder.join("log")).expect("a file in a temporary folder");
    Command::new(program)
        .arg("-c")
        .arg(&configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("mosquitto starts")
}

fn wait_for_listener(address: SocketAddr, child: &mut Child) {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(child.try_wait().expect("a child can be asked").is_none(), "mosquitto ended at once");
        assert!(start.elapsed() < START_LIMIT, "mosquitto does not listen on {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
