//! End-to-end key exchange of a session: tickets, offers and answers, sans-IO.
