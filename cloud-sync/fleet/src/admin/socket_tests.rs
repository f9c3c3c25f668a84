#![allow(clippy::disallowed_methods)]
use super::*;
use cloud_sync_protocol::{ChannelId, DeviceId};
use std::os::unix::fs::PermissionsExt;

async fn raw(folder: &FleetFolder, bytes: &[u8]) -> String {
    let mut stream = connect(folder).await.expect("no error").expect("a running serve");
    stream.write_all(bytes).await.expect("written");
    stream.shutdown().await.expect("ended");
    let mut reply = Vec::new();
    let _ = BufReader::new(stream).take(REPLY_BYTES_MAX).read_until(b'\n', &mut reply).await.expect("a line");
    String::from_utf8(reply).expect("UTF-8")
}

/// Answers every call with its own request, or with an error for `DeviceShow`.
fn echo(mut calls: mpsc::Receiver<AdminCall>) {
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            let reply = match &call.request {
                Request::DeviceShow { .. } => Err(Failure::new(ExitCode::NotTrusted, "never").with_hint("ask again")),
                request => Ok(serde_json::to_value(request).expect("JSON")),
            };
            let _ = call.reply.send(reply);
        }
    });
}

#[tokio::test]
async fn a_request_gets_its_reply_or_its_error() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = FleetFolder::new(temporary.path());
    assert!(connect(&folder).await.expect("no error").is_none(), "nobody serves yet");
    let (socket, calls) = AdminSocket::listen(&folder).expect("a socket");
    echo(calls);
    let mode = std::fs::metadata(folder.socket()).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let request = Request::RolloutStatus { channel: ChannelId::parse("stable").expect("a name") };
    let stream = connect(&folder).await.expect("no error").expect("a running serve");
    assert_eq!(call::<Request>(stream, &request).await, Ok(request));
    let stream = connect(&folder).await.expect("no error").expect("a running serve");
    let request = Request::DeviceShow { device: DeviceId::parse("camera-1").expect("a name") };
    let expected = Failure::new(ExitCode::NotTrusted, "never").with_hint("ask again");
    assert_eq!(call::<Request>(stream, &request).await, Err(expected));
    drop(socket);
    assert!(connect(&folder).await.expect("no error").is_none(), "the socket went with its server");
}

#[tokio::test]
async fn hostile_lines_get_an_error_and_harm_nobody() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = FleetFolder::new(temporary.path());
    let (_socket, calls) = AdminSocket::listen(&folder).expect("a socket");
    echo(calls);
    let long = vec![b'x'; REQUEST_BYTES_MAX as usize];
    let rows: [(&str, &[u8], &str); 6] = [
        ("nothing", b"", "the connection ended before the line"),
        ("half a line", b"{\"schema\":1", "the connection ended before the line"),
        ("no JSON", b"hello\n", "expected value"),
        ("newer", b"{\"schema\":2,\"request\":{}}\n", "schema 2, this build speaks 1"),
        ("unknown", b"{\"schema\":1,\"request\":{\"do\":\"format-disk\"}}\n", "unknown variant `format-disk`"),
        ("long", &long, "a line of more than 524288 bytes"),
    ];
    for (name, bytes, expected) in rows {
        let reply = raw(&folder, bytes).await;
        assert!(reply.contains(expected), "{name}: {reply}");
    }
    let reply = raw(&folder, b"{\"schema\":1,\"request\":{\"do\":\"device-list\"}}\n").await;
    assert_eq!(reply, "{\"schema\":1,\"reply\":{\"do\":\"device-list\"}}\n");
}

#[tokio::test]
async fn a_leftover_socket_is_no_server_and_no_obstacle() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = FleetFolder::new(temporary.path());
    drop(std::os::unix::net::UnixListener::bind(folder.socket()).expect("a socket"));
    assert!(folder.socket().exists(), "as kill -9 leaves it");
    assert!(connect(&folder).await.expect("no error").is_none());
    AdminSocket::listen(&folder).expect("it is replaced");
}
