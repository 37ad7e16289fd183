//! What the routes of our APIs have in common: how a request is read, how pages are cut, how a refusal is told.

use super::Caller;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::FORWARDED;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// Entries of a page.
pub const MOST: usize = 1_000;
/// Entries of a page for who does not say how many.
const USUAL: usize = 100;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// In words.
    pub error: String,
}

/// A status and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub StatusCode, pub String);

impl Failure {
    /// What was asked cannot be.
    pub fn bad(why: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, why.into())
    }

    /// There is no such thing.
    pub fn missing(why: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, why.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

/// What a route answers.
pub type Answer<T> = Result<T, Failure>;

/// How many entries a page is to have.
///
/// # Errors
/// As many cannot be.
pub fn limit(wanted: Option<usize>) -> Answer<usize> {
    match wanted.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(Failure::bad(format!("limit is 1 to {MOST}"))),
    }
}

/// The largest whole number that every reader of JSON keeps (RFC 8259 §6).
const LARGEST: u64 = (1 << 53) - 1;

/// A number of a list.
///
/// # Errors
/// No list has as large a one.
pub fn number(name: &str, wanted: Option<u64>) -> Answer<Option<u64>> {
    match wanted {
        Some(number) if number > LARGEST => Err(Failure::bad(format!("{name} is at most {LARGEST}"))),
        _ => Ok(wanted),
    }
}

/// Parameters of a query, with our own way to refuse them.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|e| Failure::bad(e.body_text()))
    }
}

/// Names in the path, with our own way to refuse them.
pub struct Named<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(named)| Self(named)).map_err(|e| Failure(e.status(), e.body_text()))
    }
}

/// The JSON of a body, with our own way to refuse it. What cannot be read is not repeated: there may be a key in it.
pub struct Given<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Answer<Self> {
        let kind =
            request.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            return Err(Failure(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body has to be application/json".into(),
            ));
        }
        let body = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await;
        let body = body
            .map_err(|_| Failure(StatusCode::REQUEST_TIMEOUT, "the body did not come".into()))?
            .map_err(|e| Failure(e.status(), e.body_text()))?;
        // A list of members in their order would be read as an object too.
        let read = match body.trim_ascii_start().first() {
            Some(b'[') => {
                Err(Failure(StatusCode::UNPROCESSABLE_ENTITY, "the body has to be an object".into()))
            }
            _ => serde_json::from_slice(&body).map(Self).map_err(|e| refused(&e)),
        };
        // It may have a key in it. What the kernel and the reader of the connection have had of it is theirs.
        if let Ok(mut octets) = body.try_into_mut() {
            zeroize::Zeroize::zeroize(&mut octets[..]);
        }
        read
    }
}

/// Where it is wrong, and how; the words of a value that does not fit are not told.
fn refused(error: &serde_json::Error) -> Failure {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => {
            let why = error.to_string();
            // "missing field `level`" names us; "invalid type: string \"…\", expected …" would name what was sent.
            let why = match why.split_once(" at line ") {
                Some((why, _)) if why.starts_with("missing field") || why.starts_with("duplicate field") => {
                    why
                }
                _ => "a value is not what it has to be",
            };
            Failure(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("{why}, at line {line} column {column} of the body"),
            )
        }
        _ => Failure::bad(format!("the body is no JSON, at line {line} column {column}")),
    }
}

/// Writes down who changes what. What is read is not worth a line.
pub async fn note_changes(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let who = request.extensions().get::<Caller>().map(ToString::to_string).unwrap_or_default();
    let forwarded = forwarded(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::info!(%who, forwarded, %method, path = path.escape_debug().to_string(), status = response.status().as_u16(), "administration");
    response
}

/// In whose name it is asked, as who asks says it: what stands behind `for=`, and nothing that a log could not show (RFC 7239 §4).
pub fn forwarded(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(FORWARDED)?.to_str().ok()?;
    let (name, value) = said.split([',', ';']).next()?.split_once('=')?;
    let value = value.trim().trim_matches('"');
    let can_be = |c: char| c.is_ascii_alphanumeric() || "._-:[]".contains(c);
    let is_one = name.trim().eq_ignore_ascii_case("for") && !value.is_empty() && value.chars().all(can_be);
    is_one.then(|| value.chars().take(64).collect())
}

/// How what a body says is refused ([`Given`]), for the document.
pub struct OfBody;

impl IntoResponses for OfBody {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            (400, "The body or a name in the path cannot be read, or is not what can be"),
            (413, "The body is too large"),
            (415, "The body is not JSON"),
            (422, "The body is not what it has to be"),
        ])
    }
}

/// How a role of the process refuses: what is named is not there, or the role does not answer.
pub struct OfRole;

impl IntoResponses for OfRole {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            (400, "A name in the path cannot be read"),
            (404, "There is no such thing here"),
            (503, "It does not answer"),
        ])
    }
}

/// How another process of the network refuses, or this one for it.
pub struct OfPeer;

impl IntoResponses for OfPeer {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            (400, "A name in the path or a parameter cannot be"),
            (404, "There is no such process, or no such thing there"),
            (409, "It cannot be done there, or the process does not let this one do so"),
            (503, "It does not answer"),
        ])
    }
}

/// Refusals of a route, by their status.
pub fn problems(all: &[(u16, &str)]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let problem = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response =
        |why: &str| ResponseBuilder::new().description(why).content("application/json", problem()).build();
    all.iter().map(|(status, why)| (status.to_string(), response(why).into())).collect()
}

/// A number without a fraction, however it is written: to JSON Schema 5.0 is one.
///
/// # Errors
/// It has a fraction, or is too great.
pub fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    let number = serde_json::Number::deserialize(from)?;
    #[allow(clippy::cast_precision_loss, reason = "it is the largest that has none")]
    let exact = number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=LARGEST as f64).contains(n));
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and within bounds"
    )]
    let whole = number.as_u64().or(exact.map(|n| n as u64));
    let whole = whole.and_then(|whole| T::try_from(whole).ok());
    whole.ok_or_else(|| serde::de::Error::custom("no whole number that can be here"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn in_whose_name_it_is_asked_is_one_word() {
        let said = |value: &str| {
            let mut headers = axum::http::HeaderMap::new();
            headers.insert("forwarded", value.parse().unwrap());
            super::forwarded(&headers)
        };
        assert_eq!(said("for=\"[2001:db8::1]:4711\";by=x").as_deref(), Some("[2001:db8::1]:4711"));
        assert_eq!(said("For=_uid-0, for=192.0.2.1").as_deref(), Some("_uid-0"));
        for none in ["", "by=x", "for=", "for=\"a b\"", "for=<img>"] {
            assert_eq!(said(none), None, "{none}");
        }
        assert_eq!(said(&format!("for={}", "a".repeat(500))).map(|word| word.len()), Some(64));
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        fn read<T: TryFrom<u64>>(text: &str) -> Option<T> {
            super::whole(&mut serde_json::Deserializer::from_str(text)).ok()
        }
        assert_eq!((read("5"), read("5.0"), read("3e2")), (Some(5_u64), Some(5), Some(300)));
        for bad in ["5.5", "-1", "-1.0", "1e300", "9007199254740993.0", "\"5\"", "null"] {
            assert_eq!(read::<u64>(bad), None, "{bad}");
        }
        assert_eq!(
            (read("65535.0"), read::<u16>("65536"), read::<u16>("65536.0")),
            (Some(u16::MAX), None, None)
        );
    }
}
