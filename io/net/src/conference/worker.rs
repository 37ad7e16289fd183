//! One event loop: its conferences, their endpoints, its timetable.

use std::io;
use std::sync::Arc;

use carnet_gateway::media::Command;
use carnet_tls::PskContext;
use tokio::sync::mpsc;

use super::ConferenceConfig;
use crate::media::ports::Ports;
use crate::media::post::{Bell, Reports};

pub(super) struct Worker {
    config: Arc<ConferenceConfig>,
    ports: Arc<Ports>,
    tls: PskContext,
    bell: Arc<Bell>,
    commands: mpsc::Receiver<Command>,
    reports: Reports,
}

impl Worker {
    pub(super) fn new(
        config: Arc<ConferenceConfig>,
        ports: Arc<Ports>,
        tls: PskContext,
        bell: Arc<Bell>,
        commands: mpsc::Receiver<Command>,
        reports: Reports,
    ) -> io::Result<Self> {
        Ok(Self { config, ports, tls, bell, commands, reports })
    }

    pub(super) fn run(self) {
        let Self { config, ports, tls, bell, mut commands, reports } = self;
        while commands.blocking_recv().is_some() {}
        drop((config, ports, tls, bell, reports));
    }
}
