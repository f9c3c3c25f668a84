//! Samples in batches, and the classes that models choose for them.

use distill_quantize::Batches;
use runtime_engine::{Engine, LoadOptions};
use runtime_tensor::{NamedTensor, Tensor};

use crate::Result;
use crate::peer::Peer;

pub(crate) const THREADS: usize = 2;

pub(crate) fn tensor(named: &[NamedTensor], name: &str) -> Result<Tensor> {
    let found = named.iter().find(|(other, _)| other == name).ok_or("find the samples")?;
    Ok(found.1.clone())
}

/// `x` in batches for the input of this name; of elements of four bytes.
pub(crate) fn batches<'a>(x: &'a Tensor, input: &'a str, size: usize) -> Batches<'a> {
    let (count, width) = (x.shape()[0], x.len() / x.shape()[0]);
    Box::new((0..count).step_by(size).map(move |start| {
        let rows = size.min(count - start);
        let bytes = &x.bytes()[4 * start * width..][..4 * rows * width];
        let mut shape = x.shape().to_vec();
        shape[0] = rows;
        let tensor = Tensor::new(x.element(), shape, bytes).map_err(|error| error.to_string())?;
        Ok(vec![(input.to_owned(), tensor)])
    }))
}

pub(crate) fn classes(peer: &Peer, model: &[u8], batches: Batches<'_>) -> Result<Vec<usize>> {
    let mut session = peer.load(model, &LoadOptions { threads: THREADS, ..LoadOptions::default() })?;
    let mut found = Vec::new();
    for batch in batches {
        let answers = session.run(&batch?, &[], None)?;
        found.extend(answers[0].1.argmax_last()?);
    }
    Ok(found)
}

pub(crate) fn equal(found: &[usize], expected: &[usize]) -> usize {
    found.iter().zip(expected).filter(|(found, expected)| found == expected).count()
}
