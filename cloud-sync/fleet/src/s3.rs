//! The artifact store in an S3-compatible service (feature `s3`): `s3://bucket/prefix`.
//!
//! Credentials, region and endpoint come from the usual `AWS_*` variables (`AWS_ENDPOINT`, `AWS_ALLOW_HTTP=true` for a
//! service on a private network). `object_store`'s own HTTP client would bring a second crypto library built from C;
//! here requests go through `ureq` with rustls on ring, like every other connection of Cask.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme};

/// The longest response that is read, in bytes: a page of a listing is the largest.
const RESPONSE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Opens the store of a URL; the reason as text when it cannot be.
pub(crate) fn open(url: &str) -> Result<Arc<dyn ObjectStore>, String> {
    let parsed = url::Url::parse(url).map_err(|error| error.to_string())?;
    match ObjectStoreScheme::parse(&parsed) {
        Ok((ObjectStoreScheme::AmazonS3, prefix)) => open_bucket(&parsed, &prefix),
        _ => Err("expected a folder or s3://bucket/prefix".to_owned()),
    }
}

fn open_bucket(url: &url::Url, prefix: &Key) -> Result<Arc<dyn ObjectStore>, String> {
    let bucket = url.host_str().unwrap_or_default();
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_http_connector(UreqConnector)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(match prefix.as_ref().is_empty() {
        true => Arc::new(store),
        false => Arc::new(PrefixStore::new(store, prefix.clone())),
    })
}

/// Makes HTTP clients that use `ureq`.
#[derive(Debug)]
struct UreqConnector;

impl HttpConnector for UreqConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ureq::tls::TlsConfig::builder().unversioned_rustls_crypto_provider(crypto).build();
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST_TIMEOUT))
            // `object_store` judges statuses itself.
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        Ok(HttpClient::new(UreqService { agent: config.into() }))
    }
}

#[derive(Debug, Clone)]
struct UreqService {
    agent: ureq::Agent,
}

type Called<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for UreqService {
    // What `#[async_trait]` makes of `async fn call`.
    fn call<'service, 'call>(&'service self, request: HttpRequest) -> Called<'call>
    where
        'service: 'call,
        Self: 'call,
    {
        let agent = self.agent.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let request = ureq::http::Request::from_parts(parts, body.to_vec());
            let run = tokio::task::spawn_blocking(move || send(&agent, request));
            run.await.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?
        })
    }
}

fn send(agent: &ureq::Agent, request: ureq::http::Request<Vec<u8>>) -> Result<HttpResponse, HttpError> {
    let (parts, body) = request.into_parts();
    // An empty body would put a length of zero into a GET, which some services refuse.
    let bodiless =
        body.is_empty() && parts.method != ureq::http::Method::PUT && parts.method != ureq::http::Method::POST;
    let response = match bodiless {
        true => agent.run(ureq::http::Request::from_parts(parts, ())),
        false => agent.run(ureq::http::Request::from_parts(parts, body)),
    };
    let (parts, mut body) = response.map_err(failed)?.into_parts();
    let bytes = body.with_config().limit(RESPONSE_BYTES_MAX).read_to_vec().map_err(failed)?;
    Ok(HttpResponse::from_parts(parts, bytes.into()))
}

/// The kind decides whether `object_store` tries again.
fn failed(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => HttpErrorKind::Connect,
        ureq::Error::Io(_) => HttpErrorKind::Interrupted,
        ureq::Error::BodyExceedsLimit(_) => HttpErrorKind::Decode,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
