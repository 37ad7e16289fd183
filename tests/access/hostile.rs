//! What a hostile network does, and that sessions go on meanwhile.
