//! Offers, answers and deletes per second of one core, beside rtpengine.

fn main() {}
