//! Key management service: who may have which ticket, and who may open it.
