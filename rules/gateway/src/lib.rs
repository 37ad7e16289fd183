//! IMS-AGW and TrGW: contexts, terminations and streams, as commands to a media engine.

pub mod media;
pub mod witness;
