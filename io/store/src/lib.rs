//! Durable state: redb tables for keys, users and audit records.
