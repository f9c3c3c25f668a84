//! Requests, rungs, swaps, queues. Gates and counters stand where other tests would sleep.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runtime_engine::testing::{Faults, TestEngine, TestModel};
use runtime_inference::{
    Absence, ActiveModel, Engines, InferError, InferReply, InferRequest, Inference, InferenceOptions, ModelState, Reply,
};

use crate::model::{accumulate, affine, floats, on, request};

struct Served {
    inference: Inference,
    a: Arc<Faults>,
    b: Arc<Faults>,
}

/// Engines a and b, one worker a model, two places in the queue.
fn served() -> Served {
    let (a, b) = (TestEngine::new("a"), TestEngine::new("b"));
    let (a_faults, b_faults) = (a.faults(), b.faults());
    let engines = Engines::default().with(Arc::new(a)).with(Arc::new(b));
    let options = InferenceOptions { queue_max: 2, engines, ..InferenceOptions::default() };
    Served { inference: Inference::new(options), a: a_faults, b: b_faults }
}

fn chain(number: u64) -> ActiveModel {
    let last_good = (number > 1).then(|| on(affine(number - 1), &["b"]));
    ActiveModel { primary: on(affine(number), &["a", "b"]), last_good }
}

type Answer = Result<InferReply, InferError>;

fn submit(inference: &Inference, request: InferRequest) -> Receiver<Answer> {
    let (sender, receiver) = channel();
    inference.submit(request, Reply::new(move |answer| drop(sender.send(answer))));
    receiver
}

/// A request that runs until the gate of engine a is opened, and one behind it.
fn running_and_queued(served: &Served) -> [Receiver<Answer>; 2] {
    served.a.gate().close();
    let running = submit(&served.inference, request("digits"));
    served.a.gate().wait_for(1);
    [running, submit(&served.inference, request("digits"))]
}

#[test]
fn an_answer_says_what_gave_it() {
    let served = served();
    let activation = served.inference.activate("digits", chain(1)).unwrap();
    assert_eq!((activation.rung, activation.engine.as_str(), activation.passed_over.len()), (1, "a", 0));
    let reply = served.inference.infer(request("digits")).unwrap();
    assert_eq!(reply.outputs, [floats("y", &[1, 4], &[1.0, 3.0, 5.0, 7.0])]);
    assert_eq!((reply.identity.number, reply.engine.as_str(), reply.rung), (1, "a", 1));
    let metadata = served.inference.metadata("digits", None).unwrap();
    assert!(metadata.ready);
    assert_eq!((metadata.inputs[0].to_string(), metadata.engine.as_str()), ("x: f32[1, 4]".into(), "a"));
    assert_eq!(served.inference.metadata("digits", Some(2)), None);
    assert_eq!(served.inference.names(), ["digits"]);
    assert_eq!(served.inference.state("digits"), ModelState::Ready);
}

#[test]
fn a_failing_engine_is_one_rung_down_and_a_failing_artifact_two() {
    let served = served();
    served.inference.activate("digits", chain(2)).unwrap();
    let rung = || {
        let reply = served.inference.infer(request("digits")).unwrap();
        (reply.rung, reply.engine, reply.identity.number)
    };
    served.a.fail_runs(1);
    assert_eq!(rung(), (2, "b".into(), 2));
    served.a.panic_runs(1);
    served.b.fail_runs(1);
    assert_eq!(rung(), (3, "b".into(), 1));
    // The engine is loaded anew and the best rung answers again.
    assert_eq!(rung(), (1, "a".into(), 2));
    let statistics = served.inference.statistics("digits").unwrap();
    assert_eq!(statistics.answered_by_rung, [1, 1, 1, 0, 0, 0]);
    served.a.fail_runs(1);
    served.b.fail_runs(2);
    let failed = served.inference.infer(request("digits")).unwrap_err();
    assert!(failed.is_temporary());
    assert!(failed.to_string().contains("rung 3 (digits 1.0.0 on b)"), "{failed}");
    assert_eq!(served.inference.statistics("digits").unwrap().failed, 1);
}

#[test]
fn strict_and_a_version_turn_the_chain_off() {
    let served = served();
    served.inference.activate("digits", chain(2)).unwrap();
    served.a.fail_runs(1);
    let strict = InferRequest { strict: true, ..request("digits") };
    assert!(matches!(served.inference.infer(strict), Err(InferError::Failed { .. })));
    served.a.fail_runs(1);
    served.b.fail_runs(1);
    let pinned = InferRequest { number: Some(2), ..request("digits") };
    assert!(matches!(served.inference.infer(pinned), Err(InferError::Failed { .. })));
    let old = InferRequest { number: Some(1), ..request("digits") };
    assert_eq!(
        served.inference.infer(old).unwrap_err(),
        InferError::UnknownVersion { model: "digits".into(), asked: 1, active: 2 }
    );
}

#[test]
fn an_activation_takes_the_best_rung_that_loads_and_none_changes_nothing() {
    let served = served();
    served.a.fail_loads(1);
    let activation = served.inference.activate("digits", chain(2)).unwrap();
    assert_eq!((activation.rung, activation.engine.as_str()), (2, "b"));
    assert!(activation.passed_over[0].contains("told to fail this load"));
    served.a.fail_loads(1);
    served.b.fail_loads(2);
    assert!(matches!(served.inference.activate("digits", chain(3)), Err(InferError::Failed { .. })));
    assert_eq!(served.inference.metadata("digits", None).unwrap().identity.number, 2);
    let nobody = ActiveModel { primary: on(affine(1), &["unknown"]), last_good: None };
    let refused = served.inference.activate("digits", nobody).unwrap_err();
    assert!(refused.to_string().contains("no engine of this build is allowed"), "{refused}");
}

#[test]
fn models_activate_together_or_not_at_all() {
    let served = served();
    let mut broken = affine(1);
    broken.model = vec![0];
    let broken = ActiveModel { primary: on(broken, &["a"]), last_good: None };
    let both = vec![("one".to_owned(), chain(1)), ("two".to_owned(), broken)];
    assert!(served.inference.activate_together(both).is_err());
    assert!(served.inference.names().is_empty());
    let both = vec![("one".to_owned(), chain(1)), ("two".to_owned(), chain(1))];
    assert_eq!(served.inference.activate_together(both).unwrap().len(), 2);
    assert_eq!(served.inference.names(), ["one", "two"]);
}

#[test]
fn bad_requests_never_reach_the_queue() {
    let served = served();
    served.inference.activate("digits", chain(1)).unwrap();
    let with = |inputs| InferRequest { inputs, ..request("digits") };
    let rows = [
        with(vec![]),
        with(vec![floats("z", &[1, 4], &[0.0; 4])]),
        with(vec![floats("x", &[2, 4], &[0.0; 8])]),
        InferRequest { wanted: vec!["no such output".into()], ..request("digits") },
    ];
    let count = rows.len() as u64;
    for row in rows {
        assert!(matches!(served.inference.infer(row.clone()), Err(InferError::BadInput { .. })), "{row:?}");
    }
    assert_eq!(served.a.runs(), 0);
    assert_eq!(served.inference.statistics("digits").unwrap().bad_input, count);
    let unknown = served.inference.infer(request("letters")).unwrap_err();
    assert_eq!(unknown.to_string(), "find model \"letters\": this device serves digits");
}

#[test]
fn a_full_queue_is_busy_and_everything_queued_is_answered() {
    let served = served();
    served.inference.activate("digits", chain(1)).unwrap();
    served.a.gate().close();
    let running = submit(&served.inference, request("digits"));
    served.a.gate().wait_for(1);
    let waiting = [submit(&served.inference, request("digits")), submit(&served.inference, request("digits"))];
    assert_eq!(served.inference.statistics("digits").unwrap().queued, 2);
    let refused = submit(&served.inference, request("digits")).recv().unwrap();
    assert_eq!(refused, Err(InferError::Busy { model: "digits".into(), queued: 2 }));
    served.a.gate().open();
    for answer in [running].into_iter().chain(waiting) {
        assert_eq!(answer.recv().unwrap().unwrap().rung, 1);
    }
    assert_eq!(served.inference.statistics("digits").unwrap().busy, 1);
}

#[test]
fn a_deadline_ends_the_wait_and_the_next_request_is_answered() {
    let served = served();
    served.inference.activate("digits", chain(1)).unwrap();
    let past = InferRequest { deadline: Some(Instant::now()), ..request("digits") };
    assert_eq!(served.inference.infer(past), Err(InferError::Deadline));
    served.a.gate().close();
    let soon = Instant::now() + Duration::from_millis(5);
    let late = InferRequest { deadline: Some(soon), ..request("digits") };
    assert_eq!(served.inference.infer(late), Err(InferError::Deadline));
    served.a.gate().open();
    assert_eq!(served.inference.infer(request("digits")).unwrap().rung, 1);
    assert!(served.inference.statistics("digits").unwrap().deadline >= 1);
}

#[test]
fn a_swap_drains_the_old_model_and_loses_nothing() {
    let served = served();
    served.inference.activate("digits", chain(1)).unwrap();
    let [running, queued] = running_and_queued(&served);
    served.inference.activate("digits", chain(2)).unwrap();
    served.a.gate().open();
    assert_eq!(running.recv().unwrap().unwrap().identity.number, 1);
    assert_eq!(queued.recv().unwrap().unwrap().identity.number, 1);
    assert_eq!(served.inference.infer(request("digits")).unwrap().identity.number, 2);
    assert_eq!(served.inference.statistics("digits").unwrap().answered, 3);
}

#[test]
fn requests_during_many_swaps_are_all_answered() {
    let served = served();
    served.inference.activate("digits", chain(1)).unwrap();
    let answered = Mutex::new(0);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let reply = served.inference.infer(request("digits")).unwrap();
                        assert_eq!(reply.outputs[0].1.as_f32().unwrap(), [1.0, 3.0, 5.0, 7.0]);
                        *answered.lock().unwrap() += 1;
                    }
                })
            })
            .collect();
        for number in 2..30 {
            served.inference.activate("digits", chain(number)).unwrap();
        }
        asking.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(*answered.lock().unwrap(), 400);
}

#[test]
fn a_denied_model_answers_nothing_any_more() {
    let served = served();
    served.inference.activate("digits", chain(1)).unwrap();
    let [running, queued] = running_and_queued(&served);
    served.inference.deactivate("digits", Absence::Denied);
    served.a.gate().open();
    let denied = InferError::Denied { model: "digits".into() };
    assert_eq!(running.recv().unwrap(), Err(denied.clone()));
    assert_eq!(queued.recv().unwrap(), Err(denied.clone()));
    assert_eq!(served.inference.infer(request("digits")), Err(denied));
    assert_eq!(served.inference.state("digits"), ModelState::Absent(Absence::Denied));
    assert!(!served.inference.metadata("digits", None).unwrap().ready);
    // A version that is not denied answers under the same name again.
    served.inference.activate("digits", chain(2)).unwrap();
    assert_eq!(served.inference.infer(request("digits")).unwrap().identity.number, 2);
}

#[test]
fn a_known_model_that_is_not_ready_says_why() {
    let served = served();
    served.inference.deactivate("digits", Absence::NotReady("nothing was deployed yet".into()));
    let error = served.inference.infer(request("digits")).unwrap_err();
    assert_eq!(error.to_string(), "answer with model \"digits\": nothing was deployed yet");
    assert!(error.is_temporary());
    assert_eq!(served.inference.metadata("digits", None), None);
    assert_eq!(served.inference.names(), ["digits"]);
    served.inference.forget("digits");
    assert_eq!(served.inference.state("digits"), ModelState::Unknown);
}

#[test]
fn a_shutdown_answers_what_is_queued_and_refuses_the_rest() {
    let served = served();
    served.inference.activate("digits", chain(1)).unwrap();
    let [running, queued] = running_and_queued(&served);
    served.a.gate().open();
    served.inference.shutdown();
    assert!(running.recv().unwrap().is_ok());
    assert!(queued.recv().unwrap().is_ok());
    assert!(served.inference.infer(request("digits")).is_err());
}

#[test]
fn state_is_kept_between_requests_on_one_worker() {
    let served = served();
    let stateful = ActiveModel { primary: on(accumulate(), &["a"]), last_good: None };
    served.inference.activate("stream", stateful).unwrap();
    let metadata = served.inference.metadata("stream", None).unwrap();
    assert_eq!(metadata.inputs.len(), 1, "the state is no input of a request");
    let ask = || {
        let inputs = vec![floats("x", &[1, 2], &[1.0, 2.0])];
        let request = InferRequest { model: "stream".into(), inputs, ..InferRequest::default() };
        served.inference.infer(request).unwrap().outputs[0].1.as_f32().unwrap().to_vec()
    };
    assert_eq!([ask(), ask(), ask()], [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]);
}

#[test]
fn several_workers_answer_at_the_same_time() {
    let engine = TestEngine::new("a");
    let faults = engine.faults();
    let engines = Engines::default().with(Arc::new(engine));
    let inference = Inference::new(InferenceOptions { threads: 3, engines, ..InferenceOptions::default() });
    let mut sums = affine(1);
    sums.model = TestModel::RowSum.bytes();
    inference.activate("sums", ActiveModel { primary: on(sums, &["a"]), last_good: None }).unwrap();
    assert_eq!(faults.loads(), 3);
    faults.gate().close();
    let ask = || InferRequest {
        model: "sums".into(),
        inputs: vec![floats("x", &[1, 4], &[1.0; 4])],
        ..InferRequest::default()
    };
    let answers = [submit(&inference, ask()), submit(&inference, ask()), submit(&inference, ask())];
    faults.gate().wait_for(3);
    faults.gate().open();
    for answer in answers {
        assert_eq!(answer.recv().unwrap().unwrap().outputs, [floats("y", &[1], &[4.0])]);
    }
}
