//! The focus of conferences (MRFC): dialogs, seals, roster, policy, sans-IO.
