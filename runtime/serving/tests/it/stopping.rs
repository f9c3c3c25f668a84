//! Queues, deadlines, panics in engines, and the end.

use std::io::Write;
use std::net::TcpStream;

use runtime_serving::ServingLimits;
use serde_json::json;

use crate::answers::affine_json;
use crate::client::{connect, get, post, post_head, read_answer, try_read_answer};
use crate::host::Host;

const AFFINE: &str = "/v2/models/affine/infer";

fn send(host: &Host) -> TcpStream {
    let mut client = connect(host.address);
    let body = affine_json().to_string();
    client.write_all(format!("{}{body}", post_head(AFFINE, "", body.len())).as_bytes()).unwrap();
    client
}

#[test]
fn a_full_queue_is_503_and_blocks_no_other_question() {
    let host = Host::with_all(ServingLimits::default(), None, 1);
    host.faults.gate().close();
    let mut running = send(&host);
    host.faults.gate().wait_for(1);
    let mut queued = send(&host);
    let mut other = connect(host.address);
    // The queued request is in the queue when statistics say so.
    while host.inference.statistics("affine").unwrap().queued == 0 {
        assert_eq!(get(&mut other, "/v2/health/live").status, 200);
    }
    let refused = post(&mut other, AFFINE, "", affine_json().to_string().as_bytes());
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.json()["code"], "busy");
    host.faults.gate().open();
    assert_eq!(read_answer(&mut running).status, 200);
    assert_eq!(read_answer(&mut queued).status, 200);
}

#[test]
fn a_timeout_of_the_client_is_kept() {
    let host = Host::start();
    host.faults.gate().close();
    let mut running = send(&host);
    host.faults.gate().wait_for(1);
    let mut request = affine_json();
    request["parameters"] = json!({ "timeout": 1 });
    let mut client = connect(host.address);
    let body = request.to_string();
    client.write_all(format!("{}{body}", post_head(AFFINE, "", body.len())).as_bytes()).unwrap();
    while host.inference.statistics("affine").unwrap().queued == 0
        && host.inference.statistics("affine").unwrap().deadline == 0
    {
        std::thread::yield_now();
    }
    host.faults.gate().open();
    assert_eq!(read_answer(&mut running).status, 200);
    let answer = read_answer(&mut client);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (504, Some("deadline")));
}

#[test]
fn an_engine_that_panics_costs_its_request_only() {
    let host = Host::start();
    let mut client = connect(host.address);
    host.faults.panic_runs(1);
    let answer = post(&mut client, AFFINE, "", affine_json().to_string().as_bytes());
    assert_eq!(answer.status, 503, "{}", answer.text());
    let answer = post(&mut client, AFFINE, "", affine_json().to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn stopping_answers_what_runs_and_takes_nothing_new() {
    let mut host = Host::start();
    host.faults.gate().close();
    let mut running = send(&host);
    let mut idle = connect(host.address);
    assert_eq!(get(&mut idle, "/v2/health/live").status, 200);
    host.faults.gate().wait_for(1);
    host.stop.send_replace(true);
    assert!(try_read_answer(&mut idle).is_none(), "an idle connection is closed");
    host.faults.gate().open();
    let answer = read_answer(&mut running);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    host.runtime.block_on(host.serving.take().unwrap().stopped());
    assert!(TcpStream::connect(host.address).is_err());
}

#[test]
fn a_server_whose_owner_is_gone_stops() {
    let Host { stop, runtime, serving, .. } = Host::start();
    drop(stop);
    runtime.block_on(serving.unwrap().stopped());
}
