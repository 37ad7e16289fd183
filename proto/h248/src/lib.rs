//! H.248 (Megaco): one model, its text encoding and the transaction layer, sans-IO.
