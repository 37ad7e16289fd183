//! SIP messages, transactions, dialogs and server location, sans-IO.
