//! Which question a method and a path ask.

use hyper::{Method, StatusCode};

use crate::error::ApiError;

/// A question of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Live,
    Ready,
    Server,
    Model(ModelQuestion, String, Option<u64>),
}

/// A question about one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelQuestion {
    Metadata,
    Ready,
    Config,
    Infer,
}

/// Characters of a path that an error repeats.
const PATH_CHARACTERS_MAX: usize = 200;

/// Finds the route of a request.
pub(crate) fn find(method: &Method, path: &str) -> Result<Route, ApiError> {
    let shown: String = path.chars().take(PATH_CHARACTERS_MAX).collect();
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "unknown-path", format!("there is nothing at {shown}"));
    let path = path.strip_suffix('/').unwrap_or(path);
    let levels: Vec<&str> = path.split('/').skip(1).collect();
    let route = match levels.as_slice() {
        ["v2"] => Route::Server,
        ["v2", "health", "live"] => Route::Live,
        ["v2", "health", "ready"] => Route::Ready,
        ["v2", "models", model, rest @ ..] if !model.is_empty() => {
            let (number, rest) = match rest {
                ["versions", number, rest @ ..] => (Some(version(number)?), rest),
                rest => (None, rest),
            };
            let question = match rest {
                [] => ModelQuestion::Metadata,
                ["ready"] => ModelQuestion::Ready,
                ["config"] => ModelQuestion::Config,
                ["infer"] => ModelQuestion::Infer,
                _ => return Err(unknown()),
            };
            Route::Model(question, (*model).to_owned(), number)
        }
        _ => return Err(unknown()),
    };
    let allowed: &[Method] = match route {
        Route::Model(ModelQuestion::Infer, ..) => &[Method::POST],
        _ => &[Method::GET, Method::HEAD],
    };
    if !allowed.contains(method) {
        let message = format!("{shown} takes {}, not {method}", allowed[0]);
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", message));
    }
    Ok(route)
}

fn version(text: &str) -> Result<u64, ApiError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        let text: String = text.chars().take(PATH_CHARACTERS_MAX).collect();
        ApiError::bad(format!("the version {text:?} is no integer; use the number from the model's metadata"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, path: &str) -> Result<Route, u16> {
        find(method, path).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn paths_of_the_protocol() {
        let model = |question, number| Ok(Route::Model(question, "digits".to_owned(), number));
        let (get, post) = (Method::GET, Method::POST);
        let mut failed = Vec::new();
        for (method, path, expected) in [
            (&get, "/v2", Ok(Route::Server)),
            (&get, "/v2/", Ok(Route::Server)),
            (&Method::HEAD, "/v2", Ok(Route::Server)),
            (&get, "/v2/health/live", Ok(Route::Live)),
            (&get, "/v2/health/ready", Ok(Route::Ready)),
            (&get, "/v2/models/digits", model(ModelQuestion::Metadata, None)),
            (&get, "/v2/models/digits/versions/7", model(ModelQuestion::Metadata, Some(7))),
            (&get, "/v2/models/digits/ready", model(ModelQuestion::Ready, None)),
            (&get, "/v2/models/digits/versions/7/config", model(ModelQuestion::Config, Some(7))),
            (&post, "/v2/models/digits/infer", model(ModelQuestion::Infer, None)),
            (&post, "/v2/models/digits/versions/7/infer", model(ModelQuestion::Infer, Some(7))),
            (&get, "/v2/models/digits/infer", Err(405)),
            (&post, "/v2/models/digits", Err(405)),
            (&Method::DELETE, "/v2", Err(405)),
            (&get, "/", Err(404)),
            (&get, "", Err(404)),
            (&get, "/v1", Err(404)),
            (&get, "/v2/models", Err(404)),
            (&get, "/v2/models//ready", Err(404)),
            (&get, "/v2/models/digits/other", Err(404)),
            (&get, "/v2/models/digits/infer/more", Err(404)),
            (&get, "/v2/models/digits/versions/1.2.3", Err(400)),
            (&get, "/v2/models/digits/versions/+1", Err(400)),
            (&get, "/v2/models/digits/versions/99999999999999999999", Err(400)),
            (&get, "/v2/models/digits/versions", Err(404)),
        ] {
            let found = check(method, path);
            if found != expected {
                failed.push(format!("{method} {path}: found {found:?}, expected {expected:?}"));
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
    }
}
