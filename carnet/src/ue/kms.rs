//! Questions to the key server: which URL, and what a failure means to a call.

use std::time::Duration;

use carnet_client::{FetchError, FetchPurpose};

use super::UeError;
use super::config::KmsAccount;
use crate::kms::client::{self, KmsClient, ServerTrust};

/// A little more than the machine waits, so that it is the machine that gives up.
const PATIENCE: Duration = Duration::from_secs(6);

/// The way to a key server.
#[derive(Clone)]
pub(super) struct KmsLink {
    base: String,
    client: KmsClient,
}

impl KmsLink {
    pub(super) fn new(account: &KmsAccount) -> Result<Self, UeError> {
        client::check_url(&account.url).map_err(|error| UeError::Setup(error.to_string()))?;
        let trust = account.ca_file.clone().map_or(ServerTrust::System, ServerTrust::File);
        let client = KmsClient::new(trust, PATIENCE).map_err(|error| UeError::Setup(error.to_string()))?;
        Ok(Self { base: account.url.trim_end_matches('/').to_owned(), client })
    }

    pub(super) async fn ask(&self, purpose: FetchPurpose, octets: Vec<u8>) -> Result<Vec<u8>, FetchError> {
        let url = format!("{}/keymanagement?requesttype={}", self.base, purpose.request_type());
        self.client.fetch(&url, octets).await.map_err(|error| {
            tracing::warn!(%error, url, "no answer from the key server");
            match error {
                client::FetchError::Timeout => FetchError::TimedOut,
                client::FetchError::Status(status) => FetchError::Status(status),
                _ => FetchError::Unreachable,
            }
        })
    }
}
