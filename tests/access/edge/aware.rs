//! MSRP whose paths are rewritten.
