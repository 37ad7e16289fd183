//! SDP as a lossless document with edits held aside and typed views.
