//! Traces of what roles show, without a network.
