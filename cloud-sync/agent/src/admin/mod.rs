//! The admin socket: how a person's commands reach the agent that runs in a folder.
//!
//! One connection asks one thing: a line of JSON there, a line of JSON back. The socket has mode 0600, and the
//! peer must be the agent's own user (or root).

mod client;
mod message;
mod server;

pub(crate) use client::AdminClient;
pub(crate) use message::{Activated, DescribeReply, InferReplyBody, InstallReply, Request, WireTensor};
pub(crate) use server::{AdminService, serve};
