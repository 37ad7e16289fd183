//! Questions of a client's machine to the key server: one POST each, `application/mikey` both ways.

use std::time::Duration;

use carnet_client::{FetchError, FetchPurpose};

use super::UeError;
use super::config::KmsAccount;
use super::interop::Interop;
use crate::kms::client::{self, KmsClient, check_url};

/// A little more than the machine waits, so that it is the machine that gives up.
const PATIENCE: Duration = Duration::from_secs(6);

/// The way to a key server.
#[derive(Clone)]
pub(super) struct KmsLink {
    url: String,
    request_path: String,
    resolve_path: String,
    client: KmsClient,
}

impl KmsLink {
    pub(super) fn new(account: &KmsAccount, interop: &Interop) -> Result<Self, UeError> {
        let setup = |error: &dyn std::fmt::Display| UeError::Setup(error.to_string());
        check_url(&account.url).map_err(|error| setup(&error))?;
        let client = KmsClient::new(account.trust.clone(), PATIENCE).map_err(|error| setup(&error))?;
        Ok(Self {
            url: account.url.trim_end_matches('/').to_owned(),
            request_path: interop.request_path.clone(),
            resolve_path: interop.resolve_path.clone(),
            client,
        })
    }

    /// Asks once. An error comes with its cause in words.
    pub(super) async fn ask(
        &self,
        purpose: FetchPurpose,
        octets: Vec<u8>,
    ) -> Result<Vec<u8>, (FetchError, String)> {
        let path = match purpose {
            FetchPurpose::Ticket => &self.request_path,
            FetchPurpose::Resolve => &self.resolve_path,
        };
        let url = format!("{}{path}", self.url);
        self.client.fetch(&url, octets).await.map_err(|error| {
            tracing::debug!(url = %self.url, %error, "no answer from the key server");
            match error {
                client::FetchError::Timeout => (FetchError::TimedOut, error.to_string()),
                client::FetchError::Status(status) => {
                    (FetchError::Status(status), format!("it answered with HTTP status {status}"))
                }
                client::FetchError::Unreachable(cause) | client::FetchError::Url(cause) => {
                    (FetchError::Unreachable, cause)
                }
            }
        })
    }
}
