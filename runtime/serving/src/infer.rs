//! One inference: read, ask, wait without holding a thread, write.

use std::time::Instant;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use runtime_inference::{InferError, InferRequest, ModelState, Reply};
use tokio::sync::oneshot;

use crate::body::{self, HeldBody};
use crate::error::ApiError;
use crate::limits::INLINE_BYTES_MAX;
use crate::metadata;
use crate::reply::{self, ApiResponse};
use crate::request::{self, Asked};
use crate::service::App;

pub(crate) async fn answer(
    app: &App,
    model: String,
    number: Option<u64>,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<ApiResponse, ApiError> {
    let started = Instant::now();
    // What the head alone shows is refused before the body is read.
    let head = || {
        if app.inference.state(&model) == ModelState::Unknown {
            metadata::find(&app.inference, &model, number)?;
        }
        Ok((body::encoding(headers)?, request::json_length(headers)?))
    };
    let (encoding, json_length) = match head() {
        Ok(head) => head,
        Err(error) => {
            body::discard(incoming);
            return Err(error);
        }
    };
    let held = body::read(incoming, &app.limits, &app.budget).await?;
    let known = app.inference.metadata(&model, number);
    let bytes_max = app.limits.body_bytes_max;
    let heavy = held.bytes.len() > INLINE_BYTES_MAX || encoding != body::Encoding::Plain;
    let (asked, held) = on_a_thread(heavy, move || {
        let held = body::unpack(held, encoding, bytes_max)?;
        let asked = request::parse(&held.bytes, json_length, known.as_ref())?;
        Ok::<_, ApiError>((asked, held))
    })
    .await??;
    let (asked, reply) = infer(app, &model, number, asked, held, started).await?;
    let packing = reply::packing(headers);
    let output_bytes: usize = reply.outputs.iter().map(|(_, tensor)| tensor.bytes().len()).sum();
    on_a_thread(output_bytes > INLINE_BYTES_MAX, move || reply::inferred(&model, &asked, &reply, packing)).await?
}

async fn infer(
    app: &App,
    model: &str,
    number: Option<u64>,
    mut asked: Asked,
    held: HeldBody,
    started: Instant,
) -> Result<(Asked, runtime_inference::InferReply), ApiError> {
    let request = InferRequest {
        model: model.to_owned(),
        number,
        inputs: std::mem::take(&mut asked.inputs),
        wanted: asked.outputs.iter().map(|(name, _)| name.clone()).collect(),
        deadline: asked.timeout.and_then(|timeout| started.checked_add(timeout)),
        strict: asked.strict,
    };
    let (sender, receiver) = oneshot::channel();
    // A client that went away needs no answer.
    app.inference.submit(request, Reply::new(move |answer| drop(sender.send(answer))));
    let reply = receiver.await.unwrap_or(Err(InferError::Closed))?;
    // The inputs were copied out of the body, but as many bytes were with the model until now.
    drop(held);
    Ok((asked, reply))
}

/// Runs short work here and long work on a thread that may block, so that no other request waits for it.
async fn on_a_thread<T: Send + 'static>(heavy: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    if !heavy {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        let message = "the request could not be worked on";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    })
}
