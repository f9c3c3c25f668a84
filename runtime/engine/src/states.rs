//! State for models that keep it in an output feeding an input.
//!
//! Any engine runs such a model as a plain function; [`with_states`] closes the loop around it, so callers see
//! neither the state's input nor its output.

use std::collections::BTreeMap;
use std::time::Instant;

use runtime_tensor::{NamedTensor, Tensor, TensorSpec};

use crate::{Coverage, EngineError, NumericsClass, Session, check_inputs, check_wanted};

/// An output that is the input of the same name's next run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLink {
    /// Name of the input that takes the state; zeros at first and after a reset.
    pub input: String,
    /// Name of the output that gives the next state; same type and shape as the input.
    pub output: String,
}

/// Wraps `inner` so that each of `links` is kept inside the session.
///
/// The state's sizes come from the first run after a reset; a run with other sizes is then
/// [`EngineError::BadInput`] until the next reset. A run that gives a state's input itself uses that instead of
/// what was kept, and one that names a state's output among the wanted ones gets it: so a golden case can be
/// one call that depends on nothing before it.
pub fn with_states(inner: Box<dyn Session>, links: &[StateLink]) -> Result<Box<dyn Session>, EngineError> {
    if links.is_empty() {
        return Ok(inner);
    }
    for (position, link) in links.iter().enumerate() {
        check_link(inner.as_ref(), link)?;
        if links[..position].iter().any(|other| other.input == link.input || other.output == link.output) {
            return Err(EngineError::BadModel {
                reason: format!("state {} -> {} shares a tensor with another state", link.output, link.input),
            });
        }
    }
    let states = links.iter().filter_map(|link| inner.inputs().iter().find(|spec| spec.name == link.input).cloned());
    let visible = |specs: &[TensorSpec], hidden: fn(&StateLink) -> &String| {
        specs.iter().filter(|spec| links.iter().all(|link| *hidden(link) != spec.name)).cloned().collect::<Vec<_>>()
    };
    Ok(Box::new(StatefulSession {
        states: states.collect(),
        inputs: visible(inner.inputs(), |link| &link.input),
        outputs: visible(inner.outputs(), |link| &link.output),
        links: links.to_vec(),
        kept: None,
        inner,
    }))
}

fn check_link(session: &dyn Session, link: &StateLink) -> Result<(), EngineError> {
    let wrong =
        |what: String| EngineError::BadModel { reason: format!("state {} -> {}: {what}", link.output, link.input) };
    let input = session.inputs().iter().find(|spec| spec.name == link.input);
    let output = session.outputs().iter().find(|spec| spec.name == link.output);
    match (input, output) {
        (None, _) => Err(wrong("the model has no such input".into())),
        (_, None) => Err(wrong("the model has no such output".into())),
        (Some(input), Some(output)) if input.element != output.element || input.shape.len() != output.shape.len() => {
            Err(wrong(format!("{output} cannot become {input}")))
        }
        _ => Ok(()),
    }
}

struct StatefulSession {
    inner: Box<dyn Session>,
    links: Vec<StateLink>,
    /// Specifications of the states' inputs, in the order of `links`.
    states: Vec<TensorSpec>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    /// One tensor a link; `None` before the first run and after a reset.
    kept: Option<Vec<Tensor>>,
}

impl StatefulSession {
    /// The tensors to feed: those given, those kept, or zeros of the sizes that this run's inputs imply.
    fn fed(&self, given: &[&NamedTensor], bindings: &mut BTreeMap<String, u64>) -> Result<Vec<Tensor>, EngineError> {
        for (position, (name, _)) in given.iter().enumerate() {
            if given[..position].iter().any(|(earlier, _)| earlier == name) {
                return Err(EngineError::BadInput {
                    tensor: name.clone(),
                    found: "the same input twice".into(),
                    expected: "each input once".into(),
                });
            }
        }
        let mut fed = Vec::with_capacity(self.states.len());
        for (position, spec) in self.states.iter().enumerate() {
            if let Some((_, tensor)) = given.iter().find(|(name, _)| *name == spec.name) {
                spec.check(tensor, bindings)?;
                fed.push(tensor.clone());
                continue;
            }
            let shape = spec.bound_shape(bindings).ok_or_else(|| EngineError::BadInput {
                tensor: spec.name.clone(),
                found: "a state whose size no input of the request tells".into(),
                expected: spec.to_string(),
            })?;
            fed.push(match self.kept.as_ref().map(|kept| &kept[position]) {
                None => Tensor::zeros(spec.element, shape)?,
                Some(state) if state.shape() == shape => state.clone(),
                Some(state) => {
                    return Err(EngineError::BadInput {
                        tensor: spec.name.clone(),
                        found: format!("a request for state of shape {shape:?}"),
                        expected: format!("{:?}, as since the last reset", state.shape()),
                    });
                }
            });
        }
        Ok(fed)
    }

    /// The outputs to ask the inner session for: those wanted, then every state.
    fn asked(&self, wanted: &[String]) -> Result<(Vec<String>, usize), EngineError> {
        let mut asked: Vec<String> = if wanted.is_empty() {
            self.outputs.iter().map(|spec| spec.name.clone()).collect()
        } else {
            check_wanted(self.inner.outputs(), wanted)?;
            wanted.to_vec()
        };
        let visible = asked.len();
        asked.extend(self.links.iter().map(|link| link.output.clone()));
        Ok((asked, visible))
    }
}

impl Session for StatefulSession {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn run(
        &mut self,
        inputs: &[NamedTensor],
        wanted: &[String],
        deadline: Option<Instant>,
    ) -> Result<Vec<NamedTensor>, EngineError> {
        let is_state = |name: &String| self.links.iter().any(|link| link.input == *name);
        let plain: Vec<NamedTensor> = inputs.iter().filter(|(name, _)| !is_state(name)).cloned().collect();
        let states: Vec<&NamedTensor> = inputs.iter().filter(|(name, _)| is_state(name)).collect();
        let (_, mut bindings) = check_inputs(&self.inputs, &plain)?;
        let (asked, visible) = self.asked(wanted)?;
        let fed = self.fed(&states, &mut bindings)?;
        let names = self.links.iter().map(|link| link.input.clone());
        let all: Vec<NamedTensor> = plain.into_iter().chain(names.zip(fed)).collect();
        let mut outputs = self.inner.run(&all, &asked, deadline)?;
        // Only a finished run moves the state: a failed one may be tried again.
        self.kept = Some(outputs.drain(visible..).map(|(_, tensor)| tensor).collect());
        Ok(outputs)
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.inner.reset()?;
        self.kept = None;
        Ok(())
    }

    fn resident_bytes(&self) -> u64 {
        let kept: usize = self.kept.iter().flatten().map(|tensor| tensor.bytes().len()).sum();
        self.inner.resident_bytes() + kept as u64
    }

    fn coverage(&self) -> &Coverage {
        self.inner.coverage()
    }

    fn numerics(&self) -> NumericsClass {
        self.inner.numerics()
    }

    fn isa(&self) -> &str {
        self.inner.isa()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestEngine, TestModel};
    use crate::{Engine, LoadOptions};

    fn link(input: &str, output: &str) -> StateLink {
        StateLink { input: input.into(), output: output.into() }
    }

    fn loaded(links: &[StateLink]) -> Result<Box<dyn Session>, EngineError> {
        let plain = TestEngine::new("test").load(&TestModel::Accumulate.bytes(), &LoadOptions::default())?;
        with_states(plain, links)
    }

    fn step(session: &mut dyn Session, values: &[f32]) -> Result<Vec<f32>, EngineError> {
        let x = Tensor::from_f32(vec![values.len() / 2, 2], values.to_vec()).unwrap();
        let outputs = session.run(&[("x".into(), x)], &[], None)?;
        assert_eq!(outputs.len(), 1);
        Ok(outputs[0].1.as_f32().unwrap().to_vec())
    }

    #[test]
    fn state_is_hidden_carried_and_forgotten_at_reset() {
        let mut session = loaded(&[link("state_in", "state_out")]).unwrap();
        let names = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>();
        assert_eq!((names(session.inputs()), names(session.outputs())), (vec!["x".to_owned()], vec!["y".to_owned()]));
        assert_eq!(step(session.as_mut(), &[1.0, 2.0]).unwrap(), [1.0, 2.0]);
        assert_eq!(step(session.as_mut(), &[1.0, 2.0]).unwrap(), [2.0, 4.0]);
        session.reset().unwrap();
        assert_eq!(step(session.as_mut(), &[1.0, 2.0]).unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn another_batch_needs_a_reset_and_leaves_the_state_alone() {
        let mut session = loaded(&[link("state_in", "state_out")]).unwrap();
        step(session.as_mut(), &[1.0, 2.0]).unwrap();
        assert!(matches!(step(session.as_mut(), &[0.0; 4]), Err(EngineError::BadInput { .. })));
        assert_eq!(step(session.as_mut(), &[0.0, 0.0]).unwrap(), [1.0, 2.0]);
        session.reset().unwrap();
        assert_eq!(step(session.as_mut(), &[0.0; 4]).unwrap(), [0.0; 4]);
    }

    #[test]
    fn a_call_may_bring_and_take_the_state_itself() {
        let mut session = loaded(&[link("state_in", "state_out")]).unwrap();
        step(session.as_mut(), &[1.0, 2.0]).unwrap();
        let pair = |values: [f32; 2]| Tensor::from_f32(vec![1, 2], values.to_vec()).unwrap();
        let inputs = [("x".to_owned(), pair([1.0, 1.0])), ("state_in".to_owned(), pair([10.0, 20.0]))];
        let outputs = session.run(&inputs, &["state_out".into(), "y".into()], None).unwrap();
        assert_eq!(outputs, [("state_out".to_owned(), pair([11.0, 21.0])), ("y".to_owned(), pair([11.0, 21.0]))]);
        assert_eq!(step(session.as_mut(), &[0.0, 0.0]).unwrap(), [11.0, 21.0]);
    }

    #[test]
    fn links_that_do_not_fit_are_refused() {
        for links in [
            vec![link("state_in", "nothing")],
            vec![link("nothing", "state_out")],
            vec![link("state_in", "state_out"), link("state_in", "y")],
        ] {
            assert!(matches!(loaded(&links), Err(EngineError::BadModel { .. })), "{links:?}");
        }
    }
}
