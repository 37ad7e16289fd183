//! The console: a page for people, made of the files in `console/`, which are part of the program. It asks the API like anybody else,
//! so it may do what the API lets its user do, and needs the token where there is one. The files are no secret and need none.
//!
//! Its policy lets nothing run that is not in these files, and nothing be asked but this process.

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;

/// Nothing from elsewhere, no script or style in the page itself, nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../../console/", $name)))),*]
    };
}

/// Each file by its name under `/console/`.
const FILES: &[(&str, &[u8])] = files![
    "index.html",
    "style.css",
    "icon.svg",
    "app.js",
    "api.js",
    "store.js",
    "keys.js",
    "words.js",
    "parts.js",
    "ladder.js",
    "map.js",
    "path.js",
    "pages/network.js",
    "pages/sessions.js",
    "pages/session.js",
    "pages/rooms.js",
    "pages/kms.js",
    "pages/charts.js",
    "pages/process.js",
    "vendor/htm-preact.js",
    "vendor/uPlot.iife.min.js",
    "vendor/uPlot.min.css",
    "vendor/LICENSE-htm",
    "vendor/LICENSE-preact",
    "vendor/LICENSE-uplot",
];

/// A file as it is sent.
struct Asset {
    kind: &'static str,
    /// Of the content, so that a newer program is a newer page.
    tag: HeaderValue,
    plain: &'static [u8],
    packed: Option<Bytes>,
}

impl Asset {
    fn of(name: &str, plain: &'static [u8]) -> Self {
        let kind = match name.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        let digest = carnet_wire::hex::encode(&Sha256::digest(plain)[..16]);
        let tag = HeaderValue::from_str(&format!("\"{}\"", digest.as_str()));
        Self { kind, tag: tag.unwrap_or(HeaderValue::from_static("\"\"")), plain, packed: packed(plain) }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let has = |name: HeaderName, word: &str| {
            asked.get(name).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains(word))
        };
        let common = [
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            // Asked for each time, and answered in a word when it is the same.
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (VARY, HeaderValue::from_static("accept-encoding")),
            (ETAG, self.tag.clone()),
        ];
        if self.tag.to_str().is_ok_and(|tag| has(IF_NONE_MATCH, tag)) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let kind = [(CONTENT_TYPE, HeaderValue::from_static(self.kind))];
        match &self.packed {
            Some(packed) if has(ACCEPT_ENCODING, "gzip") => {
                (common, kind, [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))], packed.clone())
                    .into_response()
            }
            _ => (common, kind, self.plain).into_response(),
        }
    }
}

/// Smaller by gzip; nothing where it is not.
fn packed(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < plain.len()).then(|| packed.into())
}

/// `/` and what it needs.
pub(super) fn routes() -> Router {
    let assets: HashMap<&'static str, Asset> =
        FILES.iter().map(|(name, octets)| (*name, Asset::of(name, octets))).collect();
    let assets = Arc::new(assets);
    let page = assets.clone();
    let answer = |assets: &HashMap<&'static str, Asset>, name: &str, asked: &HeaderMap| match assets.get(name)
    {
        Some(asset) => asset.answer(asked),
        None => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
    };
    Router::new()
        .route("/", get(move |asked: HeaderMap| async move { answer(&page, "index.html", &asked) }))
        .route(
            "/console/{*name}",
            get(move |Path(name): Path<String>, asked: HeaderMap| async move { answer(&assets, &name, &asked) }),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> &'static [u8] {
        FILES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} is not sent")).1
    }

    #[test]
    fn what_others_wrote_is_as_they_published_it() {
        let sums = include_str!("../../../../console/vendor/SHA256SUMS");
        assert_eq!(sums.lines().count(), 6);
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            let octets = file(&format!("vendor/{name}"));
            assert_eq!(carnet_wire::hex::encode(&Sha256::digest(octets)).as_str(), sum, "{name}");
        }
    }

    #[test]
    fn every_file_that_is_named_is_there_and_the_policy_can_be_kept() {
        for (name, octets) in FILES.iter().filter(|(name, _)| !name.starts_with("vendor/")) {
            let text = std::str::from_utf8(octets).unwrap();
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            for import in text.split(" from \"").skip(1).filter(|rest| rest.starts_with('.')) {
                let path = import.split('"').next().unwrap();
                let target = match path.strip_prefix("../") {
                    Some(rest) => rest.to_owned(),
                    None => format!("{folder}/{}", &path[2..]).trim_start_matches('/').to_owned(),
                };
                file(&target);
            }
            for link in text.split("\"/console/").skip(1) {
                file(link.split('"').next().unwrap());
            }
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "dangerously",
                "document.write",
                "eval(",
                " style=\"",
            ] {
                assert!(!text.contains(forbidden), "{forbidden} in {name}");
            }
        }
        let page = std::str::from_utf8(file("index.html")).unwrap();
        assert!(!page.contains("<style") && !page.contains("onload="));
    }

    #[test]
    fn a_file_is_sent_once() {
        let asset = Asset::of("app.js", file("app.js"));
        let ask = |name: HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            asset.answer(&headers)
        };
        let whole = ask(ACCEPT_ENCODING, "gzip, br");
        assert_eq!(
            (whole.status(), &whole.headers()[CONTENT_ENCODING]),
            (StatusCode::OK, &HeaderValue::from_static("gzip"))
        );
        assert!(ask(ACCEPT_ENCODING, "br").headers().get(CONTENT_ENCODING).is_none());
        let tag = whole.headers()[ETAG].to_str().unwrap().to_owned();
        assert_eq!(ask(IF_NONE_MATCH, &tag).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(IF_NONE_MATCH, "\"older\"").status(), StatusCode::OK);
    }
}
