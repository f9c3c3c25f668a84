//! The admin socket's requests.

use std::sync::Arc;

use runtime_console::{ExitCode, Failure};
use runtime_inference::Inference;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::Message;
use crate::admin::{AdminService, DescribeReply, Request};
use crate::executor::Shared;
use crate::machine::Order;
use crate::outcome::{install_reply, value};
use crate::status::Status;

/// Answers from the director, and from the models themselves.
pub(crate) struct Service {
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inference: Inference,
    pub(crate) http: Option<String>,
}

impl Service {
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Failure> {
        let stopping = || Failure::new(ExitCode::Unreachable, "the agent is stopping");
        let (sender, receiver) = oneshot::channel();
        self.inbox.send(message(sender)).await.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())
    }

    async fn order(&self, order: Order) -> Result<Value, Failure> {
        let answer = self.ask(|reply| Message::Order { order, reply }).await?;
        value(&install_reply(answer)?)
    }
}

impl AdminService for Service {
    async fn answer(&self, request: Request) -> Result<Value, Failure> {
        match request {
            Request::Status {} => {
                let http = self.http.clone();
                let status: Status = self.ask(|reply| Message::Status { http, reply }).await?;
                value(&status)
            }
            Request::Install { path } if !path.is_absolute() => {
                Err(Failure::usage(format!("{} is no absolute path", path.display())))
            }
            Request::Install { path } => self.order(Order::Sideload { path }).await,
            Request::Rollback { model } => self.order(Order::Rollback { model }).await,
            Request::Describe { model } => {
                let (name, described) = self.shared.describe(model.as_deref()).map_err(Failure::usage)?;
                value(&DescribeReply { name, contract: described.contract.clone() })
            }
            Request::Infer { model, inputs, strict } => {
                let tensors: Result<Vec<_>, String> = inputs.iter().map(crate::admin::WireTensor::tensor).collect();
                let tensors = tensors.map_err(Failure::usage)?;
                let inference = self.inference.clone();
                let answered =
                    tokio::task::spawn_blocking(move || crate::local::infer(&inference, model, tensors, strict));
                let bug = |error| Failure::new(ExitCode::Bug, format!("the inference ended early: {error}"));
                value(&answered.await.map_err(bug)??)
            }
        }
    }
}
