//! Configuration with errors that point, logs.
