//! The user equipment: registration, sealed offers and answers, key exchange.
