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
    /// Join a conference: on a terminal with a screen, else line by line; /help says what can be typed
    Join {
        /// Which: sip:room@example.com; without one, wait to be called in
        uri: Option<String>,
        /// The name to go by in it
        #[arg(long, value_name = "NAME")]
        nick: Option<String>,
        /// Do not take part in floor control
        #[arg(long)]
        no_floors: bool,
        /// Where files that are sent to the conference go; without it they are not taken
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Line by line on a terminal too
        #[arg(long)]
        lines: bool,
    },
    /// Do one thing about a conference's floors, and leave
    Floor {
        /// What to do.
        #[command(subcommand)]
        what: FloorAction,
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

/// What is done about floors.
#[derive(Debug, Subcommand)]
pub enum FloorAction {
    /// Ask for a floor and hold it; ends with status 1 if it is not given, or taken away
    Request {
        /// Of which conference: sip:room@example.com
        uri: String,
        /// Which floor [default: the first]
        #[arg(long, value_name = "N")]
        floor: Option<u16>,
        /// How urgent: 0 (lowest) to 4 (highest)
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=4))]
        priority: Option<u8>,
        /// Why, for the chair
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// How long to hold it [default: until told to go]
        #[arg(long, value_name = "SECONDS")]
        hold: Option<u64>,
        /// How long to wait for it [default: as long as it takes]
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
    },
    /// Give back what this user has or wants, if the conference knows it by its number still
    Release {
        /// Of which conference: sip:room@example.com
        uri: String,
        /// Which floor [default: whichever]
        #[arg(long, value_name = "N")]
        floor: Option<u16>,
    },
    /// As the chair, give a floor to somebody who has asked for it
    Grant {
        /// Of which conference: sip:room@example.com
        uri: String,
        /// To whom: an address, a name, or the number of the user
        who: String,
        /// Which floor [default: the one asked for]
        #[arg(long, value_name = "N")]
        floor: Option<u16>,
        /// How long to wait until it is asked for
        #[arg(long, value_name = "SECONDS", default_value_t = 10)]
        wait: u64,
    },
    /// Say who has which floor and who waits
    Status {
        /// Of which conference: sip:room@example.com
        uri: String,
    },
}

impl FloorAction {
    /// Which conference it is about.
    pub fn uri(&self) -> &str {
        match self {
            Self::Request { uri, .. }
            | Self::Release { uri, .. }
            | Self::Grant { uri, .. }
            | Self::Status { uri } => uri,
        }
    }
}
