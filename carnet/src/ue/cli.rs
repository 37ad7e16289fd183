//! `carnet ue …`: arguments.

// The command line shows these texts as they are written.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::config::Settings;

/// Call, chat and send files, sealed end to end
#[derive(Debug, Args)]
pub struct UeArgs {
    /// Configuration file with a [ue] table
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// One JSON object a line instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// The settings that a file may also hold.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What the client is to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Wait for calls and print what is said; lines typed go to the latest call
    Listen,
    /// Call somebody and exchange lines of text
    Chat {
        /// Whom: sip:bob@example.com
        uri: String,
    },
    /// Send a file
    Send {
        /// To whom: sip:bob@example.com
        uri: String,
        /// The file
        file: PathBuf,
    },
    /// Wait for files and keep them
    Receive {
        /// Where to
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// Leave after this many files; with status 1 if one of them broke off
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
}
