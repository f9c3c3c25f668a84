//! The Unix socket and where the API may listen.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use runtime_inference::{Inference, InferenceOptions};
use runtime_serving::{Serving, ServingError, ServingLimits, ServingSettings, serve};
use serde_json::json;
use tokio::sync::watch;

use crate::answers::affine_json;
use crate::client::{get, post, read_answer};
use crate::host::Host;

fn try_serve(settings: ServingSettings) -> Result<Serving, ServingError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    serve(settings, Arc::new(Inference::new(InferenceOptions::default())), watch::channel(false).1)
}

#[test]
fn the_socket_answers_without_a_host_check_and_has_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let mut host = Host::with_all(ServingLimits::default(), Some(path.clone()), 64);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is left beside it");
    let mut client = UnixStream::connect(&path).unwrap();
    assert_eq!(get(&mut client, "/v2/health/live").status, 200);
    client.write_all(b"GET /v2 HTTP/1.1\r\nhost: anything\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut client).status, 200);
    let answer = post(&mut client, "/v2/models/affine/infer", "", affine_json().to_string().as_bytes());
    assert_eq!(answer.json()["outputs"][0]["data"], json!([3.0, 5.0, 7.0, 10.0]));
    drop(client);
    host.stop.send_replace(true);
    host.runtime.block_on(host.serving.take().unwrap().stopped());
    assert!(!path.exists(), "the socket goes with the server");
}

#[test]
fn a_socket_left_behind_is_replaced_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let settings = |name: &str| ServingSettings { unix: Some(folder.path().join(name)), ..ServingSettings::default() };
    drop(UnixListener::bind(folder.path().join("left")).unwrap());
    assert!(try_serve(settings("left")).is_ok());
    let _listening = UnixListener::bind(folder.path().join("used")).unwrap();
    assert!(matches!(try_serve(settings("used")), Err(ServingError::InUse { .. })));
    std::fs::write(folder.path().join("file"), "precious").unwrap();
    assert!(matches!(try_serve(settings("file")), Err(ServingError::NoSocket { .. })));
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"precious");
    assert!(matches!(try_serve(settings("missing/api.sock")), Err(ServingError::Socket { .. })));
    let long = "x".repeat(120);
    assert!(matches!(try_serve(settings(&long)), Err(ServingError::Socket { .. })));
}

#[test]
fn addresses_that_others_can_reach_are_refused() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let settings = ServingSettings { http: Some(address.parse().unwrap()), ..ServingSettings::default() };
        let error = try_serve(settings).unwrap_err();
        assert!(matches!(error, ServingError::NotLoopback { .. }), "{error}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = ServingSettings { http: Some(taken.local_addr().unwrap()), ..ServingSettings::default() };
    let error = try_serve(settings).unwrap_err();
    assert!(matches!(error, ServingError::Address { .. }) && error.to_string().contains("port 0"), "{error}");
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let settings = ServingSettings { http: Some("127.0.0.1:0".parse().unwrap()), ..ServingSettings::default() };
    let inference = Arc::new(Inference::new(InferenceOptions::default()));
    assert!(matches!(serve(settings, inference, watch::channel(false).1), Err(ServingError::NoRuntime)));
}
