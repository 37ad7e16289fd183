//! Questions of a client's machine to the key server: one POST each, `application/mikey` both ways.

use std::time::Duration;

use carnet_client::{FetchError, FetchPurpose};

use super::UeError;
use super::config::KmsAccount;
use super::interop::Interop;
use crate::kms::client::{self, KmsClient, ServerTrust, check_url};

/// A little more than the machine waits, so that it is the machine that gives up.
const PATIENCE: Duration = Duration::from_secs(6);

/// The way to a key server.
#[derive(Clone)]
pub(crate) struct KmsLink {
    url: String,
    request_path: String,
    resolve_path: String,
    client: KmsClient,
}

impl KmsLink {
    pub(super) fn new(account: &KmsAccount, interop: &Interop) -> Result<Self, UeError> {
        Self::to(&account.url, &interop.request_path, &interop.resolve_path, account.trust.clone())
            .map_err(UeError::Setup)
    }

    /// The way to the server at a URL, by the paths of its two services.
    ///
    /// # Errors
    /// What is wrong with the URL or with what it is trusted by.
    pub(crate) fn to(
        url: &str,
        request_path: &str,
        resolve_path: &str,
        trust: ServerTrust,
    ) -> Result<Self, String> {
        check_url(url).map_err(|error| error.to_string())?;
        let client = KmsClient::new(trust, PATIENCE).map_err(|error| error.to_string())?;
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            request_path: request_path.to_owned(),
            resolve_path: resolve_path.to_owned(),
            client,
        })
    }

    /// Asks once. An error comes with its cause in words.
    pub(crate) async fn ask(
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
