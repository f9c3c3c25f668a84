//! From a request's head to its reply.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, StatusCode, Uri};
use runtime_inference::Inference;

use crate::body::{self, Budget};
use crate::error::ApiError;
use crate::limits::ServingLimits;
use crate::reply::{self, ApiResponse};
use crate::route::{self, ModelQuestion, Route};
use crate::{infer, metadata};

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) inference: Arc<Inference>,
    pub(crate) limits: ServingLimits,
    pub(crate) budget: Budget,
}

/// How a client reached the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Over TCP, where a web page can make a browser call: the host must be this machine.
    Tcp,
    /// Over a Unix socket, whose file mode says who may.
    Unix,
}

pub(crate) async fn answer(app: &App, reached: Reached, request: Request<Incoming>) -> ApiResponse {
    let (head, incoming) = request.into_parts();
    let route = match reached {
        Reached::Tcp => check_host(&head.headers, &head.uri),
        Reached::Unix => Ok(()),
    };
    let route = route.and_then(|()| route::find(&head.method, head.uri.path()));
    let inference = &app.inference;
    let answered = match route {
        Ok(Route::Model(ModelQuestion::Infer, model, number)) => {
            infer::answer(app, model, number, &head.headers, incoming).await
        }
        other => {
            // No other question has a body worth reading.
            body::discard(incoming);
            other.and_then(|route| match route {
                Route::Live => Ok(metadata::live()),
                Route::Ready => Ok(metadata::ready(inference)),
                Route::Server => Ok(metadata::server()),
                Route::Model(ModelQuestion::Ready, model, number) => metadata::model_ready(inference, &model, number),
                Route::Model(ModelQuestion::Config, model, number) => metadata::config(inference, &model, number),
                Route::Model(_, model, number) => metadata::model(inference, &model, number),
            })
        }
    };
    answered.unwrap_or_else(|error| {
        tracing::debug!(path = %head.uri.path(), status = error.status.as_u16(), message = %error.message, "refused");
        reply::error(&error)
    })
}

/// A web page can point a name of its own at 127.0.0.1 and then talk to this server with the user's browser (DNS
/// rebinding). The `Host` header gives such a page away.
fn check_host(headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return Err(ApiError::bad("the Host header is missing").closing());
    };
    let in_uri = uri.authority().is_none_or(|authority| is_this_machine(authority.as_str()));
    if in_uri && hosts.next().is_none() && host.to_str().is_ok_and(is_this_machine) {
        return Ok(());
    }
    let message = "the Host header names another machine; call this API as localhost, 127.0.0.1 or [::1]";
    Err(ApiError::new(StatusCode::FORBIDDEN, "foreign-host", message).closing())
}

/// Whether `host[:port]` is `localhost` or a loopback address. No name is looked up.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let port = &host[host.rfind(':').map_or(host.len(), |colon| colon + 1)..];
    let port_is_number = host.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit());
    let is_address = name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    port_is_number && (is_address || name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_a_host() {
        let mut failed = Vec::new();
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:8000", true),
            ("127.0.0.1", true),
            ("127.0.0.1:8000", true),
            ("127.8.9.1:1", true),
            ("[::1]", true),
            ("[::1]:8000", true),
            ("", false),
            ("example.org", false),
            ("example.org:8000", false),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org", false),
            ("127.0.0.1:8000.example.org", false),
            ("10.0.0.1:8000", false),
            ("[::2]:8000", false),
            ("[::1]x", false),
            ("[::1", false),
            ("user@localhost", false),
        ] {
            if is_this_machine(host) != expected {
                failed.push(host);
            }
        }
        assert!(failed.is_empty(), "{failed:?}");
    }
}
