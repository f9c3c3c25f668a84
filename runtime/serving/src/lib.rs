//! The local API: Open Inference Protocol v2 over HTTP/1.1, on a loopback address and on a Unix socket.
//!
//! A request travels through one module each: [`listen`] accepts connections and bounds them, `timed_io` cuts slow
//! ones, `service` checks the host and finds the `route`, `body` reads and unpacks within limits, `request` and
//! `tensor_json` turn JSON and raw bytes into tensors, `infer` asks `runtime-inference` and waits without holding a
//! thread, `reply` writes. Nothing here changes which model is active, and nothing a client sends can make the
//! process allocate more than its limits, panic, or stop answering others.
//!
//! gRPC, batching and metrics belong into modules of their own beside `service`; they need `request` and `infer`
//! only.
//!
//! [`listen`]: serve

mod body;
mod error;
mod infer;
mod limits;
mod listen;
mod metadata;
mod reply;
mod request;
mod route;
mod service;
mod settings;
mod tensor_json;
mod timed_io;

pub use limits::ServingLimits;
pub use listen::{Serving, serve};
pub use settings::{ServingError, ServingSettings};
