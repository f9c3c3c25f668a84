//! Asking engines: one case on one engine, and all cases on two threads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, mpsc};
use std::time::{Duration, Instant};

use runtime_engine::{Coverage, Engine, EngineError, LoadOptions};
use runtime_graph::{Model, ReadLimits};
use runtime_tensor::NamedTensor;

use super::Question;

/// Cases that run at one time.
const THREADS: usize = 2;
/// The longest that one case may take; far above the slowest, so that only a hang meets it.
const CASE_LIMIT: Duration = Duration::from_secs(120);
/// Deep graphs recurse in a debug build.
const STACK_BYTES: usize = 16 << 20;
/// Threads of this name panic without a word: what they say is in the verdict.
const THREAD_NAME: &str = "conformance-case";

/// A question with its name; it is made when it is asked, so that not all of them lie in memory.
#[derive(Clone)]
pub struct Case {
    /// `GROUP/NAME`, as it stands in gap lists.
    pub name: String,
    /// Makes the question; the error says why this suite cannot pose it.
    pub make: Arc<dyn Fn() -> Result<Question, String> + Send + Sync>,
}

/// Why a case did not pass; `Ok` where it did.
pub type Verdict = Result<(), String>;

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whether the answer was right.
    pub verdict: Verdict,
    /// What the engine said about the model that answered; nothing where none was loaded.
    pub coverage: Option<Coverage>,
}

/// Asks every case of `engine`, two at a time, and returns what came of each by name.
///
/// A panic is the verdict of its case; so is a hang, whose thread is left behind.
pub fn ask_all(engine: &Arc<dyn Engine>, cases: &[Case]) -> BTreeMap<String, Answered> {
    ask_all_within(engine, cases, CASE_LIMIT)
}

fn ask_all_within(engine: &Arc<dyn Engine>, cases: &[Case], limit: Duration) -> BTreeMap<String, Answered> {
    silence_cases();
    let next = AtomicUsize::new(0);
    let answered = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = ask_apart(engine, case, limit);
                    answered.lock().unwrap_or_else(PoisonError::into_inner).insert(case.name.clone(), one);
                }
            });
        }
    });
    answered.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Asks in a thread of its own, which a hang costs.
fn ask_apart(engine: &Arc<dyn Engine>, case: &Case, limit: Duration) -> Answered {
    let failed = |why: String| Answered { verdict: Err(why), coverage: None };
    let (sender, receiver) = mpsc::channel();
    let (engine, make) = (Arc::clone(engine), Arc::clone(&case.make));
    let work = move || {
        let asked = catch_unwind(AssertUnwindSafe(|| match make() {
            Ok(question) => ask(engine.as_ref(), &question),
            Err(why) => failed(why),
        }));
        // The receiver is gone when the limit passed.
        let _ = sender.send(asked.unwrap_or_else(|panic| failed(format!("panic: {}", panic_text(panic.as_ref())))));
    };
    let thread = std::thread::Builder::new().name(THREAD_NAME.into()).stack_size(STACK_BYTES).spawn(work);
    if let Err(error) = thread {
        return failed(format!("no thread for it: {error}"));
    }
    let none = |_| failed(format!("no answer within {limit:?}"));
    receiver.recv_timeout(limit).unwrap_or_else(none)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Engines catch panics, but the hook that prints them runs before.
fn silence_cases() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() != Some(THREAD_NAME) {
                usual(info);
            }
        }));
    });
}

/// Asks one question: with the inputs as they are, and where the engine does not support that, with every input but
/// the first one frozen into an initializer, as exporters write weights, scales, axes and shapes.
pub fn ask(engine: &dyn Engine, question: &Question) -> Answered {
    let mut coverage = None;
    let asked = answer(engine, &question.model, &question.inputs, question, &mut coverage);
    let verdict = match asked {
        Err(Refusal::Unsupported(reason)) if question.inputs.len() > 1 => {
            frozen(&question.model, &question.inputs[1..]).and_then(|frozen| {
                let asked = answer(engine, &frozen, &question.inputs[..1], question, &mut coverage);
                asked.map_err(|refusal| match refusal {
                    Refusal::Unsupported(_) => reason,
                    Refusal::Other(other) => other,
                })
            })
        }
        other => other.map_err(Refusal::text),
    };
    Answered { verdict, coverage }
}

enum Refusal {
    Unsupported(String),
    Other(String),
}

impl Refusal {
    fn text(self) -> String {
        match self {
            Self::Unsupported(text) | Self::Other(text) => text,
        }
    }
}

fn answer(
    engine: &dyn Engine,
    model: &[u8],
    inputs: &[NamedTensor],
    question: &Question,
    coverage: &mut Option<Coverage>,
) -> Result<(), Refusal> {
    let refusal = |error: EngineError| match error {
        EngineError::Unsupported { .. } => Refusal::Unsupported(format!("failed to {error}")),
        _ => Refusal::Other(format!("failed to {error}")),
    };
    let mut session = engine.load(model, &LoadOptions::default()).map_err(refusal)?;
    *coverage = Some(session.coverage().clone());
    let found = session.run(inputs, &[], Some(Instant::now() + CASE_LIMIT)).map_err(refusal)?;
    if found.len() != question.expected.len() {
        return Err(Refusal::Other(format!("found {} outputs, expected {}", found.len(), question.expected.len())));
    }
    for ((name, tensor), expected) in found.iter().zip(&question.expected) {
        expected.judge(tensor).map_err(|difference| Refusal::Other(format!("{name}: {difference}")))?;
    }
    Ok(())
}

/// The model with `inputs` as initializers.
fn frozen(model: &[u8], inputs: &[NamedTensor]) -> Result<Vec<u8>, String> {
    let mut model = Model::read(model, &ReadLimits::default()).map_err(|error| format!("failed to {error}"))?;
    let graph = model.graph_mut();
    graph.inputs.retain(|spec| inputs.iter().all(|(name, _)| *name != spec.name));
    graph.initializers.extend(inputs.iter().cloned());
    Ok(model.write())
}

#[cfg(test)]
mod tests {
    use runtime_engine::{NumericsClass, Session};
    use runtime_graph::{Graph, Node};
    use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

    use super::*;
    use crate::conformance::Expected;

    /// An engine that does what the operator of the model's only node says.
    struct Fickle;

    struct Fixed(Vec<TensorSpec>, Coverage);

    impl Engine for Fickle {
        fn name(&self) -> &'static str {
            "fickle"
        }

        fn build(&self) -> String {
            "fickle 1".into()
        }

        fn load(&self, model: &[u8], _: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
            let model = Model::read(model, &ReadLimits::default()).expect("a model of this test");
            match model.graph().nodes[0].operator.as_str() {
                "Panics" => panic!("as it was told"),
                "Hangs" => loop {
                    std::thread::park();
                },
                "WantsConstant" if model.inputs().len() > 1 => {
                    Err(EngineError::Unsupported { engine: "fickle".into(), reason: "right is no constant".into() })
                }
                _ => Ok(Box::new(Fixed(model.inputs(), Coverage::default()))),
            }
        }
    }

    impl Session for Fixed {
        fn inputs(&self) -> &[TensorSpec] {
            &self.0
        }

        fn outputs(&self) -> &[TensorSpec] {
            &[]
        }

        fn run(
            &mut self,
            inputs: &[NamedTensor],
            _: &[String],
            _: Option<Instant>,
        ) -> Result<Vec<NamedTensor>, EngineError> {
            Ok(inputs[..1].to_vec())
        }

        fn reset(&mut self) -> Result<(), EngineError> {
            Ok(())
        }

        fn resident_bytes(&self) -> u64 {
            0
        }

        fn coverage(&self) -> &Coverage {
            &self.1
        }

        fn numerics(&self) -> NumericsClass {
            NumericsClass::Exact
        }

        fn isa(&self) -> &str {
            "none"
        }
    }

    fn number(value: f32) -> Tensor {
        Tensor::from_f32(vec![1], vec![value]).expect("one value")
    }

    /// A case whose right answer is its first input, 1, plus `off`.
    fn case(operator: &str, off: f32) -> Case {
        let spec =
            |name: &str| TensorSpec { name: name.into(), element: ElementType::F32, shape: vec![Dimension::Fixed(1)] };
        let graph = Graph {
            inputs: vec![spec("left"), spec("right")],
            outputs: vec![spec("y")],
            nodes: vec![Node::new(operator, &["left", "right"], &["y"])],
            ..Graph::default()
        };
        let question = Question {
            model: Model::from_graph(graph, 17).write(),
            inputs: vec![("left".into(), number(1.0)), ("right".into(), number(2.0))],
            expected: vec![Expected::of(number(1.0 + off))],
        };
        Case { name: format!("test/{operator}{off}"), make: Arc::new(move || Ok(question.clone())) }
    }

    #[test]
    fn each_case_has_its_own_verdict() {
        let engine: Arc<dyn Engine> = Arc::new(Fickle);
        let mut cases = vec![case("Panics", 0.0), case("Answers", 0.0), case("Answers", 1.0)];
        cases.push(case("WantsConstant", 0.0));
        cases.push(Case { name: "test/impossible".into(), make: Arc::new(|| Err("no such data".into())) });
        let answered = ask_all(&engine, &cases);
        let verdict = |name: &str| answered[name].verdict.clone();
        assert_eq!(verdict("test/Panics0"), Err("panic: as it was told".into()));
        assert_eq!(verdict("test/Answers0"), Ok(()));
        assert!(verdict("test/Answers1").unwrap_err().contains("found 1, expected 2"));
        assert_eq!(verdict("test/WantsConstant0"), Ok(()), "the second input was frozen");
        assert_eq!(verdict("test/impossible"), Err("no such data".into()));
        assert_eq!(answered["test/Panics0"].coverage, None);
    }

    #[test]
    fn a_hang_costs_its_own_case() {
        let engine: Arc<dyn Engine> = Arc::new(Fickle);
        let answered = ask_all_within(&engine, &[case("Hangs", 0.0)], Duration::from_millis(50));
        assert_eq!(answered["test/Hangs0"].verdict, Err("no answer within 50ms".into()));
    }
}
